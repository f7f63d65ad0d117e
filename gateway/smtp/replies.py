"""The replies that are ours, and the upstream's as the client hears them."""

from __future__ import annotations

from gateway.failure import GatewayError, UpstreamUnavailable
from gateway.wire.reply import Reply

ACCEPTED = b"250 2.1.5 Ok\r\n"
TOO_MANY = b"452 4.5.3 Too many recipients\r\n"
NEEDS_UTF8 = b"553 5.6.7 The address needs SMTPUTF8\r\n"
CHANGED = b"451 4.7.1 The register changed during the transaction; try again\r\n"
HEADER_SIZE = b"552 5.3.4 Header section too large\r\n"
LOOP = b"554 5.4.6 Too many Received fields: mail loop\r\n"
INTERNAL = b"451 4.3.0 Local error; try again later\r\n"


def line(error: GatewayError) -> bytes:
    """A failure's generic reply."""
    return f"{error.reply}\r\n".encode()


def told(reply: Reply) -> bytes:
    """An upstream's reply, word for word, but for its 421.

    That one is about its own connection (RFC 5321 section 3.8), not the client's.
    """
    return line(UpstreamUnavailable("421")) if reply.code == 421 else reply.wire()


def suppressed(rule: str, record_id: str) -> bytes:
    """The refusal of a suppressed recipient: rule and record, nothing of the person."""
    return f"550 5.7.1 Suppressed by {rule} (record {record_id})\r\n".encode()


def summary(message_id: str, forwarded: int, suppressed: int, held: int) -> bytes:
    """The positive reply to a final dot: what became of how many recipients."""
    counts = ((forwarded, "forwarded"), (suppressed, "suppressed"), (held, "held"))
    said = ", ".join(f"{count} {what}" for count, what in counts if count)
    return f"250 2.0.0 Ok {message_id}: {said}\r\n".encode()
