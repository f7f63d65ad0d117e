"""What the controller's contact is told of held messages: ids, rules, ages, nothing more.

Pure.  Whom a message is for and what it says stays in the archive: a notice is mail, and
goes where mail goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from gateway.held.message import Held

LISTED: Final = 200
"""Messages of each kind that a notice names; it says when there are more."""
DAY: Final = 86_400_000
"""Milliseconds of a day."""


@dataclass(frozen=True, slots=True)
class Digest:
    """What one notice tells of.  Times are milliseconds since the epoch."""

    at: int
    since: int
    """When the notice before was, 0 for the first one; the same until it is sent."""
    waiting: Sequence[Held]
    """What has waited for long, the oldest first; one more than are listed, if there are."""
    expired: Sequence[Held]
    """What expired since then."""
    expire_after: float
    """Days."""

    @property
    def empty(self) -> bool:
        """Whether there is nothing to be told."""
        return not self.waiting and not self.expired


def write(digest: Digest, *, controller: str, sender: str, recipient: str) -> bytes:
    """The notice as a message with CRLF line ends.

    Its Message-ID is the same for each try of one notice, so that one that arrives twice
    can be told.
    """
    waiting, expired = _count(digest.waiting), _count(digest.expired)
    message = EmailMessage(policy=SMTP)
    message["From"] = f"Suppression gateway <{sender}>"
    message["To"] = recipient
    message["Subject"] = f"Held messages: {waiting} waiting, {expired} expired"
    message["Date"] = format_datetime(datetime.fromtimestamp(digest.at / 1000, UTC))
    message["Message-ID"] = f"<held.{digest.since}@{sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content("\n".join(_lines(digest, controller)) + "\n")
    return message.as_bytes()


def _lines(digest: Digest, controller: str) -> list[str]:
    lines = [f"Suppression gateway of {controller}"]
    if digest.waiting:
        lines += ["", f"{_count(digest.waiting)} held messages wait for a person:", ""]
        for held in digest.waiting[:LISTED]:
            ends = held.created + int(digest.expire_after * DAY)
            age = (digest.at - held.created) // DAY
            lines += [_named(held), f"    waits for {age} days, expires {_date(ends)}"]
    if digest.expired:
        lines += [
            "",
            f"{_count(digest.expired)} expired: nobody decided in {digest.expire_after:g} days.",
            "They were not sent:",
            "",
        ]
        for held in digest.expired[:LISTED]:
            lines += [_named(held), f"    expired {_date(held.ended or digest.at)}"]
    return [
        *lines,
        "",
        "`suppression-gateway held show ID` shows one; `held release ID` and",
        "`held discard ID`, with --reason, decide about it.",
    ]


def _named(held: Held) -> str:
    rules = ",".join(sorted({one.rule for one in held.message.recipients}))
    return f"{held.id}  {held.state}  {rules}  {held.message.kind}"


def _count(held: Sequence[Held]) -> str:
    return f"more than {LISTED}" if len(held) > LISTED else str(len(held))


def _date(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).date().isoformat()
