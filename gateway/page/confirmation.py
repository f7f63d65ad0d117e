"""The one message that asks a mailbox to confirm a consent (double opt-in).

Pure.  The template is the gateway's own and holds the wording, the link and nothing that
promotes anything: it is a message that the person has asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from typing import Final

from gateway.page.view import CONFIRM_DAYS, Offer
from gateway.page.wording import say
from gateway.settings.public import Language

PAUSE_DAYS: Final = 7
"""Days before the same is sent to the same address again, whoever asks."""


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What is to be confirmed, where."""

    recipient: str
    offer: Offer
    topic: str
    """The topic's title as people read it."""
    language: Language
    day: str
    """When it was asked for."""
    confirm_url: str
    choices_url: str


def write(
    asked: Confirmation, *, controller: str, contact_email: str, sender: str, at: int, name: str
) -> bytes:
    """The message with CRLF line ends; ``name`` makes its Message-ID, ``at`` is in ms."""
    domain = sender.rpartition("@")[2]
    message = EmailMessage(policy=SMTP)
    message["From"] = Address(controller, addr_spec=sender)
    message["To"] = asked.recipient
    message["Reply-To"] = contact_email
    message["Subject"] = say("mail.subject", asked.language, topic=asked.topic)
    message["Date"] = format_datetime(datetime.fromtimestamp(at / 1000, UTC))
    message["Message-ID"] = f"<consent.{name}@{domain}>"
    message["Auto-Submitted"] = "auto-generated"
    message["Content-Language"] = asked.language
    # Every server can carry it; links are folded by the encoding alone.
    message.set_content(_text(asked, controller, contact_email), cte="quoted-printable")
    return message.as_bytes()


def _text(asked: Confirmation, controller: str, contact_email: str) -> str:
    language = asked.language
    quoted = "\n".join(f"> {line}".rstrip() for line in asked.offer.wording.splitlines())
    version = say("consent.version", language, version=asked.offer.version)
    return "\n\n".join(
        (
            say("mail.asked", language, day=asked.day),
            f"{quoted}\n> ({version})",
            f"{say('mail.confirm', language, days=CONFIRM_DAYS)}\n{asked.confirm_url}",
            say("mail.ignore", language),
            f"{say('mail.choices', language)}\n{asked.choices_url}",
            f"{say('foot.contact', language, controller=controller)} {contact_email}\n",
        )
    )
