"""Sends the message that asks for a confirmation: once, and for some days not again.

Whoever holds a link may ask, also somebody to whom a mail was passed on; so an address
gets one such message a week for each consent at the most.  That it was sent is noted in
the register's server.  A register made anew has lost the notes, and may let one more pass.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from typing import Final

import structlog

from gateway.clock import now_ms
from gateway.contacts.contact import Contact
from gateway.failure import GatewayError, RegisterUnavailable, UpstreamUnavailable
from gateway.message.signature import SigningKey, signed_message
from gateway.page.confirmation import PAUSE_DAYS
from gateway.register.register import Register
from gateway.smtp.notice import NoticeRefused, NoticeUnanswered, Post, send_notice

log = structlog.get_logger(__name__)

_WITHIN: Final = 2.0
_SENDING: Final = 20.0
"""Seconds for the upstream, below the public server's own."""
_UNSURE: Final = 3_600
"""Seconds until one that may not have been sent is sent again."""
_PAUSE: Final = PAUSE_DAYS * 86_400
_CLAIMED, _SENT = b"1", b"2"
"""What a note says."""


class Fate(Enum):
    """What became of the message that asks for a consent."""

    NONE = "none"
    """There was none lately."""
    UNSURE = "unsure"
    """It is being sent, or nobody knows whether it was."""
    SENT = "sent"


@dataclass(frozen=True, slots=True)
class Postage:
    """From whom, by which upstream; ``post`` as the settings of the moment have it.

    With a ``key`` for the sender's domain the message is signed.
    """

    post: Callable[[], Post]
    sender: str
    upstream: str
    key: SigningKey | None


class Asking:
    """The notes of what was sent, and the sending."""

    def __init__(self, register: Register, postage: Postage) -> None:
        self._register = register
        self._postage = postage
        self.sender = postage.sender

    async def claim(self, contact: Contact, topic: str) -> str | None:
        """Claim the sending; None: it was sent lately.  Raises RegisterUnavailable."""
        claim = self._note(contact, topic)
        reply = await self._command(
            b"SET", claim.encode(), _CLAIMED, b"NX", b"EX", str(_UNSURE).encode()
        )
        return None if reply is None else claim

    async def fate(self, contact: Contact, topic: str) -> Fate:
        """What became of the latest message; raises RegisterUnavailable."""
        note = await self._command(b"GET", self._note(contact, topic).encode())
        if note is None:
            return Fate.NONE
        return Fate.SENT if note == _SENT else Fate.UNSURE

    def _note(self, contact: Contact, topic: str) -> str:
        said = f"{self._register.subject(contact)}\0{topic}".encode()
        return "gw:page:asked:" + hashlib.blake2b(said, digest_size=16).hexdigest()

    async def release(self, claim: str) -> None:
        """Nothing was sent: whoever asks next may."""
        await self._command(b"DEL", claim.encode())

    async def send(self, claim: str, message: bytes, contact: Contact) -> None:
        """Sign and send it.  When its fate is not known, it counts as sent for an hour.

        Raises GatewayError: it was not sent, or perhaps not.
        """
        if self._postage.key is not None:
            message = signed_message(self._postage.key, message, now_ms() // 1000)
        try:
            async with asyncio.timeout(_SENDING):
                await send_notice(
                    self._postage.post(),
                    message,
                    sender=self._postage.sender,
                    recipient=contact.canonical,
                    upstream=self._postage.upstream,
                )
        except TimeoutError:
            raise UpstreamUnavailable("the upstream takes too long for a confirmation") from None
        except (NoticeUnanswered, NoticeRefused) as error:
            log.warning("confirmation_not_sent", cause=str(error))
            raise
        except GatewayError as error:
            log.warning("confirmation_not_sent", cause=str(error))
            await self.release(claim)
            raise
        with suppress(RegisterUnavailable):  # it is on its way all the same
            await self._command(b"SET", claim.encode(), _SENT, b"EX", str(_PAUSE).encode())

    async def _command(self, *command: bytes) -> object:
        [reply] = await self._register.connections.wire.exchange([command], _WITHIN)
        if isinstance(reply, Exception):
            raise RegisterUnavailable(f"the note of a confirmation: {type(reply).__name__}")
        return reply
