"""Reading one message, from the 354 to its final dot."""

from __future__ import annotations

import structlog

from gateway.smtp import replies
from gateway.smtp.metric import Metrics
from gateway.smtp.policy import Policy
from gateway.smtp.spool import Spool, StorageFull
from gateway.wire.body import BodyParser, Normaliser, whole_body

log = structlog.get_logger(__name__)


class Intake:
    """Takes a message off the wire into a spool; made at the 354.

    A message that is refused already is read to its end and thrown away, since the
    client hears the answer only after its final dot.
    """

    def __init__(self, policy: Policy, spool: Spool, metrics: Metrics, now: float) -> None:
        """``now`` is the loop time at which it begins."""
        self._metrics = metrics
        self._max_size = policy.max_message_size
        self._normalises = policy.normalises
        self._deadline = now + policy.message_timeout
        self.patience = policy.data_timeout
        """Seconds to wait for the next octets, at the beginning."""
        self._parser: BodyParser | None = None
        self._normaliser: Normaliser | None = None
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
        parser = self._parser
        if parser is None:
            body = whole_body(data)
            if body is not None:
                self.ended = True
                self._keep_whole(body)
                return b""
            parser = self._begin()
        chunk, rest = parser.feed(data)
        if self.refusal is None:
            self._keep(parser, chunk)
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

    def _begin(self) -> BodyParser:
        self._parser = BodyParser()
        if self._normalises:
            self._normaliser = Normaliser()
        return self._parser

    def _keep_whole(self, body: bytes) -> None:
        if len(body) > self._max_size:
            self._refuse(replies.TOO_BIG)
            return
        try:
            self.must_flush = self.spool.take_whole(body)
        except StorageFull as error:
            self._disk_failed(error)

    def _keep(self, parser: BodyParser, chunk: bytes) -> None:
        if parser.size > self._max_size:
            self._refuse(replies.TOO_BIG)
        elif parser.bare and self._normaliser is None:
            self._refuse(replies.BARE_NEWLINE)
        elif parser.nul:
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
        self._metrics.fault("disk")
        self._refuse(replies.line(error))
