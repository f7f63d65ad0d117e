"""Signatures that providers put under what they send to a tool.

Each is made and checked by the same function, in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.provider.request import Pairs


def hmac_base64(secret: str, text: bytes, digest: str) -> str:
    """A keyed hash in base 64; ``digest`` is ``sha1``, ``sha256``…"""
    return base64.b64encode(hmac.digest(secret.encode(), text, digest)).decode()


def exact_base64(text: str) -> bytes:
    """The octets of base 64 that is written in the one way there is; raises ValueError.

    The last sign of base 64 may have bits that no octet needs: a signature with another
    of them would be a second one.
    """
    octets = base64.b64decode(text, validate=True)
    if base64.b64encode(octets).decode() != text:
        raise ValueError("base 64 that is written in another way")
    return octets


def same(one: str, other: str) -> bool:
    """Whether two signatures are the same, in a time that does not depend on them."""
    return hmac.compare_digest(one.encode(), other.encode())


def twilio(token: str, url: str, pairs: Pairs, digest: str = "sha1") -> str:
    """``X-Twilio-Signature`` of a form: the URL and its fields, sorted, without anything between.

    ``digest`` is ``sha256`` where a key of its own signs webhooks, not the account's token.
    https://www.twilio.com/docs/usage/security
    """
    text = url + "".join(name + value for name, value in sorted(set(pairs)))
    return hmac_base64(token, text.encode(), digest)


def sinch(secret: str, body: bytes, nonce: str, timestamp: str) -> str:
    """``X-Sinch-Webhook-Signature``: the body, a nonce and a time with full stops between.

    https://developers.sinch.com/docs/sms/api-reference/sms/webhooks
    """
    return hmac_base64(secret, body + f".{nonce}.{timestamp}".encode(), "sha256")


def sha256_hex(text: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text).hexdigest()


def vonage(secret: str, pairs: Pairs, digest: str) -> str:
    """``sig`` of Vonage's SMS API in hex: a keyed hash of the sorted fields but itself.

    https://developer.vonage.com/en/getting-started/concepts/signing-messages
    """
    text = "".join(
        f"&{name}={value.replace('&', '_').replace('=', '_')}"
        for name, value in sorted(pairs)
        if name != "sig"
    )
    return hmac.digest(secret.encode(), text.encode(), digest).hex()


def plivo(token: str, url: str, nonce: str) -> str:
    """``X-Plivo-Signature-V2``: the URL without its query, and the nonce.

    https://docs.plivo.com/docs/messaging/concepts/signature-validation
    """
    return hmac_base64(token, f"{url.partition('?')[0]}{nonce}".encode(), "sha256")


def jwt(secret: str, claims: Mapping[str, Any]) -> str:
    """A JSON Web Token of these claims, HS256 (RFC 7519)."""
    parts = [_base64url(orjson.dumps(part)) for part in ({"typ": "JWT", "alg": "HS256"}, claims)]
    signed = ".".join(parts)
    return f"{signed}.{_base64url(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def _base64url(text: bytes) -> str:
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()
