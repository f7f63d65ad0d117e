"""What is known of a message from its MAIL on: who sends it, and how it came."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from gateway.clock import now_ms
from gateway.records.identifier import new_id
from gateway.settings.smtp import SmtpClient
from gateway.wire.path import MailArguments


class Peer(NamedTuple):
    """The client's side of a connection, as the trace field tells it."""

    address: str
    helo: str
    extended: bool
    secure: bool
    login: bool


class Draft:
    """What is known of a message from its MAIL on."""

    __slots__ = ("client", "id", "mail", "peer", "received")

    def __init__(
        self,
        client: SmtpClient,
        peer: Peer,
        mail: MailArguments,
        id: str = "",
        received: int = 0,
    ) -> None:
        """``id`` empty: a new one; ``received`` 0: now, in ms since the epoch."""
        self.client = client
        self.peer = peer
        self.mail = mail
        self.id = id or new_id()
        self.received = received or now_ms()


@lru_cache(maxsize=1024)
def origin(peer: Peer, hostname: str, international: bool) -> bytes:
    """A Received field as far as its id (RFC 5321 section 4.4).

    Its protocol names are those of RFC 3848 and RFC 6531.
    """
    protocol = "SMTP"
    if peer.extended:
        protocol = "UTF8SMTP" if international else "ESMTP"
        protocol += "S" * peer.secure + "A" * peer.login
    literal = f"IPv6:{peer.address}" if ":" in peer.address else peer.address
    return (
        f"Received: from {peer.helo} ([{literal}])\r\n\tby {hostname} with {protocol} id "
    ).encode("ascii", "replace")
