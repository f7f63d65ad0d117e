"""Signatures that providers put under what they send to a tool.

Each is made and checked by the same function, in constant time.
"""

from __future__ import annotations

import base64
import hashlib
import hmac

from gateway.provider.request import Pairs


def hmac_base64(secret: str, text: bytes, digest: str) -> str:
    """A keyed hash in base 64; ``digest`` is ``sha1``, ``sha256``…"""
    return base64.b64encode(hmac.digest(secret.encode(), text, digest)).decode()


def same(one: str, other: str) -> bool:
    """Whether two signatures are the same, in a time that does not depend on them."""
    return hmac.compare_digest(one.encode(), other.encode())


def twilio(token: str, url: str, pairs: Pairs) -> str:
    """``X-Twilio-Signature`` of a form: the URL and its fields, sorted, without anything between.

    https://www.twilio.com/docs/usage/security
    """
    text = url + "".join(name + value for name, value in sorted(set(pairs)))
    return hmac_base64(token, text.encode(), "sha1")


def sha256_hex(text: bytes) -> str:
    """SHA-256 in hex."""
    return hashlib.sha256(text).hexdigest()
