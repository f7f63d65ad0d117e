"""The login dialogue: PLAIN (RFC 4616) and LOGIN, over AUTH (RFC 4954)."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Awaitable, Callable

from gateway.failure import GatewayError

Challenge = Callable[[bytes], Awaitable[bytes]]
"""Sends a base64 prompt as a 334 reply and returns the client's next line."""


class AuthAborted(GatewayError):
    """The dialogue ended before there was a login to check."""

    code = 501
    status = "5.5.2"
    line = "Authentication aborted"


class UnknownMechanism(AuthAborted):
    """A mechanism other than PLAIN and LOGIN."""

    code = 504
    status = "5.5.4"
    line = "Authentication mechanism not supported"


async def read_login(argument: bytes, challenge: Challenge) -> tuple[str, str]:
    """The user name and password of an AUTH command and its dialogue.

    Raises:
        AuthAborted: cancelled with ``*``, not base64, not UTF-8, malformed.
        UnknownMechanism: neither PLAIN nor LOGIN.

    """
    mechanism, _, initial = argument.partition(b" ")
    match mechanism.upper():
        case b"PLAIN":
            response = initial.strip() or await challenge(b"")
            parts = _decode(response).split("\0")
            if len(parts) != 3 or parts[0] not in ("", parts[1]):
                raise AuthAborted("PLAIN response not of the form [authzid] NUL authcid NUL passwd")
            return parts[1], parts[2]
        case b"LOGIN":
            name = initial.strip() or await challenge(base64.b64encode(b"Username:"))
            username = _decode(name)
            return username, _decode(await challenge(base64.b64encode(b"Password:")))
        case _:
            raise UnknownMechanism("AUTH mechanism")


def _decode(response: bytes) -> str:
    if response == b"*":
        raise AuthAborted("cancelled by the client")
    if response == b"=":
        return ""
    try:
        return base64.b64decode(response, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise AuthAborted("response not base64 of UTF-8 text") from None
