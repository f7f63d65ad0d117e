"""Reading one message, from the 354 to its final dot."""

from __future__ import annotations

import structlog

from gateway.settings.model import BareNewlines
from gateway.smtp import replies
from gateway.smtp.site import Site
from gateway.smtp.spool import Spool, StorageFull
from gateway.wire.body import BodyParser, Normaliser

log = structlog.get_logger(__name__)


class Intake:
    """Takes a message off the wire into a spool; made at the 354.

    A message that is refused already is read to its end and thrown away, since the
    client hears the answer only after its final dot.
    """

    def __init__(self, site: Site, spool: Spool, now: float) -> None:
        """``now`` is the loop time at which it begins."""
        smtp = site.settings.smtp
        self._site = site
        self._max_size = smtp.max_message_size
        self._deadline = now + smtp.message_timeout
        self.patience = min(smtp.data_timeout, smtp.message_timeout)
        """Seconds to wait for the next octets, at the beginning."""
        self._parser = BodyParser()
        normalise = smtp.bare_newlines is BareNewlines.NORMALISE
        self._normaliser = Normaliser() if normalise else None
        self.spool = spool
        self.refusal: bytes | None = None
        """The reply to the final dot, once it is clear that it is a refusal."""
        self.ended = False
        """Whether the final dot has come."""
        self.must_flush = False
        """Whether :meth:`flush` must be awaited before more is fed."""

    def patience_at(self, now: float) -> float:
        """Seconds to wait for the next octets: as a whole it must come in time as well."""
        return max(0.0, min(self.patience, self._deadline - now))

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; returns what follows the final dot."""
        chunk, rest = self._parser.feed(data)
        if self.refusal is None:
            self._keep(chunk)
        if rest is None:
            return b""
        self.ended = True
        if self.refusal is None:
            self._finish()
        return rest

    async def flush(self) -> None:
        """Wait until the disk has taken what memory may not keep."""
        self.must_flush = False
        try:
            await self.spool.flush()
        except StorageFull as error:
            self._disk_failed(error)

    def _keep(self, chunk: bytes) -> None:
        if self._parser.size > self._max_size:
            self._refuse(replies.TOO_BIG)
        elif self._parser.bare and self._normaliser is None:
            self._refuse(replies.BARE_NEWLINE)
        elif self._parser.nul:
            # A server that drops NULs would find the end of the message elsewhere.
            self._refuse(replies.NUL)
        else:
            try:
                plain = self._normaliser.feed(chunk) if self._normaliser else chunk
                self.must_flush = self.spool.take(plain)
            except StorageFull as error:
                self._disk_failed(error)

    def _finish(self) -> None:
        try:
            if self._normaliser is not None:
                self.spool.take(self._normaliser.finish())
            self.must_flush = self.spool.finish()
        except StorageFull as error:
            self._disk_failed(error)

    def _refuse(self, reply: bytes) -> None:
        self.refusal = reply
        self.must_flush = False
        self.spool.close()

    def _disk_failed(self, error: StorageFull) -> None:
        log.error("spool_failed", cause=str(error))
        self._site.metrics.fault("disk")
        self._refuse(replies.line(error))
