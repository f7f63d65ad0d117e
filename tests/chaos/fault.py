"""What an upstream can do wrong, and where."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from enum import Enum


class Stage(Enum):
    """A moment of the upstream's dialogue."""

    GREETING = "before the greeting"
    EHLO = "EHLO"
    TLS = "after its 220 to STARTTLS"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "within the body"
    DOT = "after the final dot, the message thrown away"
    STORED = "after the final dot, the message kept"


class Manner(Enum):
    """What happens there in place of the answer."""

    HANG_UP = "hangs up"
    STALL = "falls silent"
    BUSY = "says 421 and hangs up"
    GARBAGE = "says what is no answer"


_GARBAGE = (
    b"\x80\xff\x00\x1f\r\n",
    b"HTTP/1.1 400 Bad Request\r\n\r\n",
    b"25\r\n",
    b"999 What\r\n",
    b"100 Continue\r\n",
    b"250-one\r\n251 two\r\n",
    b"x" * 4096 + b"\r\n",
    b"250-" + b"y" * 100 + b"\r\n" + b"250-more\r\n" * 300,
    b"220",
)
_UNEXPECTED = {
    Stage.MAIL: (b"354 Go ahead\r\n",),
    Stage.RCPT: (b"354 Go ahead\r\n",),
    Stage.DATA: (b"250 2.0.0 Ok\r\n", b"220 Hello\r\n"),
    Stage.DOT: (b"354 Go ahead\r\n",),
    Stage.STORED: (b"354 Go ahead\r\n",),
}
"""Whole replies with a code that nothing at this stage may have."""


@dataclass
class Fault:
    """Plays at every ``every``-th time that its stage is reached, at most ``times``."""

    stage: Stage
    manner: Manner
    every: int = 3
    times: int = 12
    played: int = 0
    reached: int = 0
    dice: random.Random = field(default_factory=lambda: random.Random(7))

    def due(self, stage: Stage) -> bool:
        """Whether it plays now."""
        if stage is not self.stage:
            return False
        self.reached += 1
        if self.reached % self.every or self.played == self.times:
            return False
        self.played += 1
        return True

    def garbage(self) -> bytes:
        """Octets that are no possible answer at this stage."""
        return self.dice.choice((*_GARBAGE, *_UNEXPECTED.get(self.stage, ())))


def faults(manner: Manner) -> list[Fault]:
    """One fault for each stage of a dialogue in the clear.

    A server that has kept a message and says 421 has lied, and nobody can find out;
    so the two do not meet.
    """
    left_out = {Stage.TLS} | ({Stage.STORED} if manner is Manner.BUSY else set())
    return [Fault(stage, manner) for stage in Stage if stage not in left_out]
