"""How a hand-over fails, and what is known of the message then."""

from __future__ import annotations

from enum import Enum

from gateway.failure import UpstreamUnavailable
from gateway.wire.reply import Reply


class ConnectionFailed(UpstreamUnavailable):
    """A connection could not be made, fell silent, hung up or broke the protocol."""

    def __init__(
        self, cause: str, replies: tuple[Reply, ...] = (), *, silent: bool = False
    ) -> None:
        """``replies`` are those of the failed exchange that did come; ``silent`` is a time-out."""
        super().__init__(cause)
        self.replies = replies
        self.silent = silent


class Stage(Enum):
    """How far the hand-over of a body had come when it failed."""

    BEFORE_BODY = "before any octet of the body: safe to run again"
    BEFORE_END = "before the final dot: the upstream has nothing"
    AFTER_END = "after the final dot: the upstream may have the message"


class HandOverFailed(UpstreamUnavailable):
    """The body was not handed over, or nobody knows; see :attr:`stage`."""

    def __init__(self, stage: Stage, cause: str) -> None:
        """``cause`` is for the log."""
        super().__init__(f"{cause} ({stage.value})")
        self.stage = stage
