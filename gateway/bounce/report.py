"""What a message to the address for bounces amounts to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from gateway.bounce.status import Trouble
from gateway.entry.entry import DeliveryReason


class Form(StrEnum):
    """How it was written."""

    NOTIFICATION = "notification"
    """A delivery status notification (RFC 3464, RFC 6533)."""
    FEEDBACK = "feedback"
    """A complaint (RFC 5965)."""
    OTHER = "other"
    """A bounce in a form of some server's own."""
    NONE = "none"
    """No report: an answer of an absent person, spam."""


class Feedback(StrEnum):
    """What a complaint says (RFC 5965 section 7.3; opt-out by its drafts and by use)."""

    ABUSE = "abuse"
    FRAUD = "fraud"
    VIRUS = "virus"
    OTHER = "other"
    OPT_OUT = "opt-out"
    """The person objects to marketing."""
    NOT_SPAM = "not-spam"
    UNKNOWN = "unknown"
    """Another type, as ``auth-failure`` (RFC 6591): nobody complains."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A recipient whose mailbox is gone."""

    recipient: str
    """The address that failed, as it is told, not in canonical form; "" where none is."""
    reason: DeliveryReason
    status: str
    """By RFC 3463, as ``5.1.1``; "" where none was told."""
    trouble: Trouble
    written_to: str = ""
    """Another address that the message is said to have been written to (ORCPT, RFC 3461).

    Whoever has sent the message could say so of anybody: it proves nothing by itself."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """What somebody said of a message."""

    feedback: Feedback
    recipients: tuple[str, ...] = ()
    """Addresses that the report names as the message's recipients; often none."""
    tokens: tuple[str, ...] = ()
    """What may be the token of a link, in the message's List-Unsubscribe field."""

    @property
    def reason(self) -> DeliveryReason | None:
        """Why mail is given up; None: it is not, or the person objects."""
        return DeliveryReason.COMPLAINT if self.feedback in _COMPLAINS else None

    @property
    def objects(self) -> bool:
        """Whether it is an objection (GDPR 21(2))."""
        return self.feedback is Feedback.OPT_OUT


_COMPLAINS = frozenset({Feedback.ABUSE, Feedback.FRAUD, Feedback.VIRUS, Feedback.OTHER})


@dataclass(frozen=True, slots=True)
class Report:
    """What was read."""

    form: Form
    failures: tuple[Failure, ...] = ()
    spared: int = 0
    """Recipients told of for whom nothing follows: delayed, delivered, full, refused."""
    complaint: Complaint | None = None
    message_id: str = ""
    """Of the message that came back; it may hold an address."""
    tokens: tuple[str, ...] = ()
    """What may be the token of a link, in the List-Unsubscribe field of what came back."""
