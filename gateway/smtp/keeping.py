"""What is stored of a message beside its record: its content, and its held copy.

A held copy is prepared before the record is written (it cannot be released yet), kept
before the hand-over (nothing but the failure of that takes it away any more), and
committed once the message has its answer (people may act on it).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import structlog

from gateway.failure import GatewayError
from gateway.message.masking import Masking
from gateway.smtp.evidence import Message
from gateway.smtp.site import Site
from gateway.smtp.spool import Spool

log = structlog.get_logger(__name__)


_AT_ONCE = 32 << 10
"""Octets that are read in the loop; of more, it has its turns meanwhile."""


async def _masked(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The content without personal identity codes."""
    masking = Masking()
    octets = 0
    async for piece in pieces:
        octets += len(piece)
        if ready := masking.feed(piece):
            yield ready
    yield masking.end() if octets <= _AT_ONCE else await asyncio.to_thread(masking.end)


class Keeping:
    """The stored content and held copy of one message; most messages have neither."""

    def __init__(self, site: Site, message: Message) -> None:
        self._site = site
        self._message = message
        self._content = False
        """Whether the content has been stored."""
        self._held: str | None = None
        """The held copy's id, once there is one."""

    async def store(self, spool: Spool, hold: Sequence[int]) -> None:
        """Store the content where it is kept, and prepare the copy for those in ``hold``.

        Raises:
            RecordsUnavailable: :meth:`undo` what has been stored so far.

        """
        site, message = self._site, self._message
        if message.written.content is not None:
            # A held copy has to be what came: it is masked when it has ended.
            pieces = spool.plain() if hold else _masked(spool.plain())
            await site.contents.put(message.id, pieces)
            self._content = True
        if hold:
            self._held = await site.held.prepare(site.evidence.held(message, hold))

    async def keep(self) -> None:
        """Keep the held copy, whatever comes of the message for the others.

        Before the hand-over: a copy that could not be kept once the upstream has the
        message would leave no true answer.
        """
        if self._held is not None:
            await self._site.held.keep(self._held)

    async def commit(self) -> None:
        """Show the held copy to people."""
        if self._held is not None:
            await self._site.held.commit(self._held)

    async def commit_in_time(self) -> None:
        """:meth:`commit`, or leave it to the sweep: the copy is ours and on the disk."""
        try:
            await self.commit()
        except GatewayError as error:
            log.error("held_not_shown_yet", held=self._held, cause=str(error))

    async def undo(self, *, keep_content: bool = False) -> None:
        """Take back what was stored for a message that the client will send again.

        Left-overs are mild: a prepared held copy is swept, one that was kept is shown
        to a person in time, content without a record is never shown.
        """
        try:
            if self._held is not None:
                await self._site.held.revoke(self._held)
            if self._content and not keep_content:
                await self._site.contents.delete(self._message.id)
        except GatewayError as error:
            log.warning("undo_failed", cause=str(error))
