"""Reading one message, from the 354 to its final dot."""

from __future__ import annotations

import structlog

from gateway.evidence.metric import Metrics
from gateway.smtp import replies
from gateway.smtp.listener import Listener
from gateway.smtp.policy import Policy
from gateway.smtp.spool import Spool, StorageFull
from gateway.wire.body import BodyParser, Normaliser, whole_body

log = structlog.get_logger(__name__)


class Intake:
    """Takes a message off the wire into a spool; made at the 354.

    A message that is refused already is read to its end and thrown away, since the
    client hears the answer only after its final dot.
    """

    refusal: bytes | None = None
    """The reply to the final dot, once it is clear that it is a refusal."""
    ended = False
    """Whether the final dot has come."""
    must_flush = False
    """Whether :meth:`flush` must be awaited before more is fed."""
    _parser: BodyParser | None = None
    _normaliser: Normaliser | None = None

    def __init__(self, policy: Policy, listener: Listener, metrics: Metrics, now: float) -> None:
        """``now`` is the loop time at which it begins."""
        self._policy = policy
        self._metrics = metrics
        self._began = now
        self.spool = Spool(
            listener.budget, listener.spool_folder, policy.message_memory, policy.max_header_size
        )

    def patience_at(self, now: float) -> float:
        """Seconds to wait for the next octets: as a whole it must come in time as well."""
        policy = self._policy
        return max(0.0, min(policy.data_timeout, self._began + policy.message_timeout - now))

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
        if self._policy.normalises:
            self._normaliser = Normaliser()
        return self._parser

    def _keep_whole(self, body: bytes) -> None:
        if len(body) > self._policy.max_message_size:
            self._refuse(replies.TOO_BIG)
            return
        try:
            self.must_flush = self.spool.take_whole(body)
        except StorageFull as error:
            self._disk_failed(error)

    def _keep(self, parser: BodyParser, chunk: bytes) -> None:
        if parser.size > self._policy.max_message_size:
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
