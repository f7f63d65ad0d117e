"""An event loop in a thread of its own, so that the rig never waits for a test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Apart:
    """``with Apart() as apart: apart.run(coroutine)``; in another loop ``await apart.do``."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name="apart", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def run(self, coroutine: Coroutine[Any, Any, T], within: float = 60) -> T:
        """The coroutine's result; waits at most ``within`` seconds, blocking the caller."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(within)

    async def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The coroutine's result, awaited from another loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._loop))

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
            left = asyncio.all_tasks(self._loop)
            for task in left:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self._loop.run_until_complete(asyncio.sleep(0))
        finally:
            self._loop.close()
