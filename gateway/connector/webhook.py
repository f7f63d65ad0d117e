"""What a webhook brings, and who calls it: read before anything of it is believed.

Tools that sign nothing are known by a secret that both sides know.  The tool is told it
once, when the webhook is made: as a password in the URL (Basic, RFC 7617), as a bearer
token (RFC 6750), as a header of its own, or in the URL's query.  Whoever has it may say
anything, and what was said once may be said again.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

import orjson

from gateway.connector.connector import TOLERANCE, HookRefused, Place
from gateway.provider.request import Request

HEADER = "X-Gateway-Secret"
"""The header of our own in which the secret may come."""
QUERY = "key"
"""The field of the query in which it may come, of a tool that can do nothing better."""


def secret_of(place: Place) -> str:
    """The secret of the tool's webhooks; raises HookRefused (401) while nobody can be known."""
    if not place.webhook_secret:
        raise HookRefused(f"sync.tools {place.name}: webhook_secret_file is not set", http=401)
    return place.webhook_secret


def known(request: Request, place: Place, *, query: bool = False) -> None:
    """Let only the tool pass; raises HookRefused (401)."""
    wanted = secret_of(place).encode()
    # All are compared, so that the time tells nothing of which was right.
    if sum([hmac.compare_digest(one, wanted) for one in _shown(request, query=query)]) == 0:
        raise HookRefused("the caller does not show the webhook's secret", http=401)


def expect_fresh(seconds: int, now: int) -> None:
    """Raise HookRefused (401) unless a signed time (seconds) is about now (milliseconds)."""
    if abs(seconds * 1000 - now) > TOLERANCE:
        raise HookRefused("a webhook that is stale, or the clocks differ", http=401)


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


def hook_document(body: bytes, http: int = 400) -> Any:  # noqa: ANN401 - JSON
    """The JSON of a webhook; raises HookRefused."""
    try:
        return orjson.loads(body)
    except ValueError:
        raise HookRefused("the body is not JSON", http=http) from None


def hook_list(value: object, most: int = 10_000) -> list[object]:
    """Events, of which there may be many or one; raises HookRefused."""
    events = value if isinstance(value, list) else [value]
    if len(events) > most:
        raise HookRefused(f"more than {most} events")
    return events


def called(request: Request) -> dict[str, Any]:
    """The JSON object that a webhook brings; raises HookRefused.

    A member that stands twice is refused: which of them counts, nobody can say.
    """
    try:
        # The stricter reader first; the other one is there to see what stands twice.
        orjson.loads(request.body)
        document = json.loads(request.body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise HookRefused("the body is no JSON, or has a member twice") from None
    if not isinstance(document, dict):
        raise HookRefused("the body is no JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members
