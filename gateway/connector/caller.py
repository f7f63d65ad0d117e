"""Who calls a webhook, of tools that sign nothing: by a secret that both sides know.

The tool is told the secret once, when the webhook is made: as a password in the URL
(Basic, RFC 7617), as a bearer token (RFC 6750), as a header of its own, or in the URL's
query.  Whoever has it may say anything, and what was said once may be said again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Iterable
from contextlib import suppress
from urllib.parse import parse_qsl

from gateway.connector.connector import HookRefused
from gateway.provider.request import Request

HEADER = "X-Gateway-Secret"
"""The header of our own in which the secret may come."""
QUERY = "key"
"""The field of the query in which it may come, of a tool that can do nothing better."""


def known(request: Request, secret: str, *, query: bool = False) -> None:
    """Let only the tool pass; raises HookRefused (401)."""
    if not secret:
        raise HookRefused("no webhook_secret_file is set, so nobody is known", http=401)
    wanted = secret.encode()
    # All are compared, so that the time tells nothing of which was right.
    if sum([hmac.compare_digest(one, wanted) for one in _shown(request, query=query)]) == 0:
        raise HookRefused("the caller does not show the webhook's secret", http=401)


def _shown(request: Request, *, query: bool) -> Iterable[bytes]:
    yield request.header(HEADER.lower()).encode(errors="surrogateescape")
    scheme, _, value = request.header("authorization").partition(" ")
    value = value.strip()
    if scheme.lower() == "bearer":
        yield value.encode(errors="surrogateescape")
    elif scheme.lower() == "basic":
        try:
            yield base64.b64decode(value, validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return
    if query:
        with suppress(ValueError):
            for name, one in parse_qsl(request.query, max_num_fields=100):
                if name == QUERY:
                    yield one.encode(errors="surrogateescape")


def told(secret: str, at: int | None, *parts: object) -> str:
    """What tells one event from another: a keyed hash of what does, so that it is no address.

    "" where it says no time, for another of the same kind would look the same.
    """
    if at is None:
        return ""
    text = "\n".join(str(part) for part in (at, *parts))
    return hmac.digest(secret.encode(), text.encode(errors="replace"), "sha256").hex()[:32]
