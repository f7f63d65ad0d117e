"""Answers that are files of any size, sent piece by piece."""

from __future__ import annotations

import asyncio
import os
from typing import Final

from aiohttp import web

from gateway.api.route import Download

SECURE: Final = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
}
"""Headers of every answer."""
_PIECE: Final = 256 * 1024


class Sending(web.StreamResponse):
    """An answer that is a file, sent piece by piece."""

    def __init__(self, download: Download) -> None:
        super().__init__(
            headers={
                **SECURE,
                "Content-Type": f"{download.content_type}; charset=utf-8",
                "Content-Disposition": f'attachment; filename="{download.name}"',
            }
        )
        self._file = download.file

    async def send(self, request: web.BaseRequest, timeout: float) -> None:
        """Send it; each piece within the time, or the connection is cut."""
        try:
            self.content_length = await asyncio.to_thread(self._file.seek, 0, os.SEEK_END)
            await asyncio.to_thread(self._file.seek, 0)
            async with asyncio.timeout(timeout):
                await self.prepare(request)
            while piece := await asyncio.to_thread(self._file.read, _PIECE):
                async with asyncio.timeout(timeout):
                    await self.write(piece)
            async with asyncio.timeout(timeout):
                await self.write_eof()
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        finally:
            self._file.close()
