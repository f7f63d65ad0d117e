"""JSON Web Tokens with HMAC-SHA-256 (RFC 7519, RFC 7515), as providers sign webhooks.

One algorithm and nothing else: a token that names another, or none, is not good,
whatever it says.
"""

from __future__ import annotations

import base64
from typing import Any, Final

import orjson

from gateway.hook.hook import TOLERANCE
from gateway.provider.signature import hmac_base64, same

_ALGORITHM: Final = "HS256"
_PARTS: Final = 3
_LONGEST: Final = 16_384


def claims_of(token: str, secret: str) -> dict[str, Any] | None:
    """The claims of a token signed with this secret; None where it is not."""
    parts = token.split(".")
    if not secret or len(token) > _LONGEST or len(parts) != _PARTS:
        return None
    # Compared as text: the last sign of base 64 has bits that no octet needs.
    if not same(parts[2], _signature(f"{parts[0]}.{parts[1]}", secret)):
        return None
    try:
        header, claims = (orjson.loads(_decoded(part)) for part in parts[:2])
    except ValueError:
        return None
    if not isinstance(header, dict) or header.get("alg") != _ALGORITHM or "crit" in header:
        return None
    return claims if isinstance(claims, dict) else None


def timely(claims: dict[str, Any], now: int) -> bool:
    """Whether now is within the times that the claims name, give or take the tolerance.

    ``iat`` (issued at) must be about now, ``nbf`` not after it, ``exp`` not before it.
    """
    times: dict[str, float] = {}
    for name in ("iat", "nbf", "exp"):
        if name not in claims:
            continue
        time = claims[name]
        if isinstance(time, bool) or not isinstance(time, int | float):
            return False
        times[name] = time
    return (
        abs(times.get("iat", now / 1000) * 1000 - now) <= TOLERANCE
        and times.get("nbf", 0) * 1000 <= now + TOLERANCE
        and times.get("exp", now / 1000) * 1000 >= now - TOLERANCE
    )


def written(claims: dict[str, Any], secret: str) -> str:
    """A token of these claims."""
    header = _encoded(orjson.dumps({"alg": _ALGORITHM, "typ": "JWT"}))
    text = f"{header}.{_encoded(orjson.dumps(claims))}"
    return f"{text}.{_signature(text, secret)}"


def _signature(text: str, secret: str) -> str:
    standard = hmac_base64(secret, text.encode(), "sha256")
    return standard.rstrip("=").replace("+", "-").replace("/", "_")


def _encoded(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).decode().rstrip("=")


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
