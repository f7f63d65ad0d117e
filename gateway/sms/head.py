"""The head of a request or an answer: which headers go on, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache

OF_CONNECTION = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-encoding",
        "host",
        "accept-encoding",
        "expect",
        # Not of the connection, but none of what a provider is asked by: the method is the
        # one that was looked at.
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    )
)
"""Names of headers that speak of one connection and go no further."""
_NEEDED = frozenset(("authorization", "content-type"))
"""Never taken out because a tool calls them the connection's."""
_CONTROL = "x-gateway-"
_CACHED = 2048
"""Characters of header names that are worth remembering."""

Pairs = Sequence[tuple[str, str]]


def head_of(lines: Sequence[str]) -> bytes:
    """The lines of a head, the last of which holds its end; raises ValueError.

    No line may hold the end of another: it could begin a second request.
    """
    text = "\r\n".join(lines)
    ends = len(lines) + 1
    if text.count("\r") != ends or text.count("\n") != ends or "\0" in text:
        raise ValueError("a header with a line end or NUL in it")
    return text.encode()


def passed_on(headers: Pairs) -> Pairs:
    """The headers that go on: none of the connection's, none that speak to the gateway.

    The last two are the host, which must be among ``headers``, and what encodings of the
    answer are wanted: none.
    """
    names = tuple([name for name, _ in headers])
    at = _places if sum(map(len, names)) <= _CACHED else _places.__wrapped__
    kept, host, connections = at(names)
    if connections:
        # What ``Connection`` names is of this one connection as well (RFC 9110, 7.6.1).
        named = {
            one.strip().lower() for place in connections for one in headers[place][1].split(",")
        } - _NEEDED
        kept = tuple([place for place in kept if names[place].lower() not in named])
    pairs = [headers[place] for place in kept]
    pairs.append(("Host", headers[host][1] if host >= 0 else ""))
    pairs.append(("Accept-Encoding", "identity"))
    return pairs


# A tool's requests have the same few headers again and again.
@lru_cache(maxsize=256)
def _places(names: tuple[str, ...]) -> tuple[tuple[int, ...], int, tuple[int, ...]]:
    """Where those stand that may go on; the host, or -1; and what the connection's are named in."""
    lower = [name.lower() for name in names]
    kept = [
        place
        for place, name in enumerate(lower)
        if name not in OF_CONNECTION and not name.startswith(_CONTROL)
    ]
    host = lower.index("host") if "host" in lower else -1
    return tuple(kept), host, tuple(n for n, name in enumerate(lower) if name == "connection")


def passing_headers(headers: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """A provider's headers that go back to the tool."""
    return tuple(
        [
            (name, value)
            for name, value in headers
            if (lower := name.lower()) not in OF_CONNECTION and lower != "content-type"
        ]
    )
