"""Advisory locks between the processes that share an embedded register (flock(2)).

A lock belongs to the open file, not to the process: a child that inherits the file
keeps the lock until it ends too.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from typing import Self

from gateway.failure import InputError

_POLL = 0.02


class FolderLock:
    """One lock file, opened; closing it lets the lock go."""

    def __init__(self, path: Path) -> None:
        """Open the file, making it if missing; raises InputError if that fails."""
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise InputError(f"{path}: cannot be opened ({error.strerror})") from error
        self._open = True

    def fileno(self) -> int:
        """Return the file descriptor, for a child that shall hold the lock too."""
        return self._file

    def try_exclusive(self) -> bool:
        """Take the lock alone, if nobody holds it."""
        return self._try(fcntl.LOCK_EX)

    async def exclusive(self, within: float) -> bool:
        """Take the lock alone, waiting at most ``within`` seconds."""
        return await self._wait(fcntl.LOCK_EX, within)

    async def shared(self, within: float) -> bool:
        """Take the lock beside other sharers, waiting at most ``within`` seconds."""
        return await self._wait(fcntl.LOCK_SH, within)

    def release(self) -> None:
        """Let the lock go and keep the file open."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file; idempotent."""
        if self._open:
            self._open = False
            os.close(self._file)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def _wait(self, how: int, within: float) -> bool:
        loop = asyncio.get_running_loop()
        end = loop.time() + within
        while not self._try(how):
            if loop.time() > end:
                return False
            await asyncio.sleep(_POLL)
        return True

    def _try(self, how: int) -> bool:
        try:
            fcntl.flock(self._file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
