"""Reading one message, from the 354 to its final dot."""

from __future__ import annotations

import asyncio

import structlog

from gateway.settings.model import BareNewlines
from gateway.smtp import replies
from gateway.smtp.link import Link
from gateway.smtp.site import Site
from gateway.smtp.spool import Spool, StorageFull
from gateway.wire.body import BodyParser, Normaliser
from gateway.wire.lines import CommandParser

log = structlog.get_logger(__name__)


class Intake:
    """Takes a message off the wire into a spool.

    A message that is refused already is read to its end and thrown away, since the
    client hears the answer only after its final dot.
    """

    def __init__(self, site: Site, link: Link, commands: CommandParser) -> None:
        self._site = site
        self._smtp = site.settings.smtp
        self._link = link
        self._commands = commands
        self._parser = BodyParser()
        normalise = self._smtp.bare_newlines is BareNewlines.NORMALISE
        self._normaliser = Normaliser() if normalise else None

    async def receive(self, spool: Spool) -> bytes | None:
        """None when the message lies whole in the spool, else the reply that refuses it.

        What follows the final dot goes back to the command parser.  Raises
        ClientGone or TimeoutError when the message does not come to its end.
        """
        refusal: bytes | None = None
        rest: bytes | None = None
        data = self._commands.take_rest()
        try:
            async with asyncio.timeout(self._smtp.message_timeout):
                while rest is None:
                    if not data:
                        data = await self._link.read(self._smtp.data_timeout)
                    chunk, rest = self._parser.feed(data)
                    data = b""
                    if refusal is None:
                        refusal = await self._keep(chunk, spool)
                        if refusal is not None:
                            spool.close()
        finally:
            self._commands.feed(rest or b"")
        return await self._finish(spool) if refusal is None else refusal

    async def _keep(self, chunk: bytes, spool: Spool) -> bytes | None:
        if self._parser.size > self._smtp.max_message_size:
            return replies.TOO_BIG
        if self._parser.bare and self._normaliser is None:
            return replies.BARE_NEWLINE
        try:
            await spool.write(self._normaliser.feed(chunk) if self._normaliser else chunk)
        except StorageFull as error:
            return self._disk_failed(error)
        return None

    async def _finish(self, spool: Spool) -> bytes | None:
        try:
            if self._normaliser is not None:
                await spool.write(self._normaliser.finish())
            await spool.finish()
        except StorageFull as error:
            return self._disk_failed(error)
        return None

    def _disk_failed(self, error: StorageFull) -> bytes:
        log.error("spool_failed", cause=str(error))
        self._site.metrics.faults.labels("disk").inc()
        return replies.line(error)
