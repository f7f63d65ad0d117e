"""What is stored of a submission beside its records: texts, and what waits.

A message waits for a person (held) or for the end of quiet hours (kept).  Its copy is
prepared before the record is written, kept before the hand-over to the others, and
committed once the tool has its answer, as it is for mail.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

import structlog

from gateway.failure import GatewayError
from gateway.provider.request import Request
from gateway.provider.submission import Submission
from gateway.sms.evidence import Recorded
from gateway.sms.route import Route
from gateway.sms.site import Site

log = structlog.get_logger(__name__)


class Keeping:
    """What is stored of one submission; of most it is nothing."""

    def __init__(self, site: Site, route: Route, submission: Submission) -> None:
        self._site = site
        self._route = route
        self._submission = submission
        self._contents: list[str] = []
        self._held: list[str] = []

    def skip(self) -> None:
        """The request was said before: what waits of it, waits already."""

    async def store(self, original: Request, records: Sequence[Recorded]) -> None:
        """Store texts that are kept and copies of what waits.

        Raises:
            RecordsUnavailable: :meth:`undo` what has been stored so far.

        """
        for one in records:
            if one.written is not None and one.written.content is not None:
                await self._site.contents.put(one.id, _pieces(one.judged.message.text or ""))
                self._contents.append(one.id)

    async def keep(self) -> None:
        """Keep the copies, whatever comes of the message for the others."""
        for held_id in self._held:
            await self._site.held.keep(held_id)

    async def commit(self) -> None:
        """Let the copies be acted on."""
        for held_id in self._held:
            await self._site.held.commit(held_id)

    async def commit_in_time(self) -> None:
        """:meth:`commit`, or leave it to the sweep: the copies are ours and on the disk."""
        try:
            await self.commit()
        except GatewayError as error:
            log.error("held_not_shown_yet", cause=str(error))

    async def undo(self) -> bool:
        """Take back what waits of a request that the tool will say again.

        Returns whether anything did.
        """
        try:
            for held_id in self._held:
                await self._site.held.revoke(held_id)
        except GatewayError as error:
            log.warning("undo_failed", cause=str(error))
        return bool(self._held)


async def _pieces(text: str) -> AsyncIterator[bytes]:
    yield text.encode()
