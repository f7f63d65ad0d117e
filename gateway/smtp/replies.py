"""The replies that are ours, and the upstream's as the client hears them."""

from __future__ import annotations

from gateway.failure import GatewayError, UpstreamUnavailable
from gateway.wire.reply import Reply

OK = b"250 2.0.0 Ok\r\n"
ACCEPTED = b"250 2.1.5 Ok\r\n"
TOO_MANY = b"452 4.5.3 Too many recipients\r\n"
NEEDS_UTF8 = b"553 5.6.7 The address needs SMTPUTF8\r\n"
CHANGED = b"451 4.7.1 The register changed during the transaction; try again\r\n"
HEADER_SIZE = b"552 5.3.4 Header section too large\r\n"
LOOP = b"554 5.4.6 Too many Received fields: mail loop\r\n"
INTERNAL = b"451 4.3.0 Local error; try again later\r\n"
SHUTTING_DOWN = b"421 4.3.2 Shutting down\r\n"
NEED_HELO = b"503 5.5.1 Send HELO or EHLO first\r\n"
NEED_MAIL = b"503 5.5.1 Send MAIL first\r\n"
NEED_RCPT = b"554 5.5.1 No valid recipients\r\n"
NEED_AUTH = b"530 5.7.0 Authentication required\r\n"
NEED_TLS = b"538 5.7.11 Encryption required\r\n"
SYNTAX = b"501 5.5.4 Syntax error in parameters\r\n"
UNKNOWN = b"500 5.5.2 Command not recognised\r\n"
NOT_IMPLEMENTED = b"502 5.5.1 Command not implemented\r\n"
TOO_BIG = b"552 5.3.4 Message too large\r\n"
NUL = b"550 5.6.0 The message has a NUL, which RFC 5322 does not allow\r\n"
BARE_NEWLINE = b"550 5.6.0 The message has a bare CR or LF; end its lines with CRLF\r\n"


def line(error: GatewayError) -> bytes:
    """A failure's generic reply."""
    return f"{error.reply}\r\n".encode()


CLOSING = 421
_OUR_SESSION = frozenset({CLOSING, 503, 530, 534, 535, 538})
"""Codes about our own session with the upstream (RFC 5321 3.8, 4954 6): faults of ours
or of its, and no verdict on a recipient or message."""


def is_temporary(reply: Reply) -> bool:
    """Whether the client is told to try again, as :func:`told` tells it."""
    return reply.temporary or reply.code in _OUR_SESSION


def told(reply: Reply) -> bytes:
    """An upstream's reply, word for word, but for those about our session with it."""
    if reply.code in _OUR_SESSION:
        return line(UpstreamUnavailable(str(reply.code)))
    return reply.wire()


def suppressed(rule: str, record_id: str) -> bytes:
    """The refusal of a suppressed recipient: rule and record, nothing of the person."""
    return f"550 5.7.1 Suppressed by {rule} (record {record_id})\r\n".encode()


def summary(message_id: str, forwarded: int, suppressed: int, held: int) -> bytes:
    """The positive reply to a final dot: what became of how many recipients."""
    if not (suppressed or held):
        return f"250 2.0.0 Ok {message_id}: {forwarded} forwarded\r\n".encode()
    counts = ((forwarded, "forwarded"), (suppressed, "suppressed"), (held, "held"))
    said = ", ".join([f"{count} {what}" for count, what in counts if count])
    return f"250 2.0.0 Ok {message_id}: {said}\r\n".encode()
