"""Texts sealed under one key that is theirs alone: a person's, or a message's.

AES-256-GCM (NIST SP 800-38D) with random nonces: a key seals far fewer than 2**32 texts,
since a person gets some thousands of messages and a message has a handful of parts.  A
sealed text is its version, the nonce, then ciphertext and tag.  The version says what
kind of key it lies under, and is bound to it; version 1 is the content key's
(:mod:`gateway.records.seal`).
"""

from __future__ import annotations

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.failure import SealError

KEY_OCTETS: Final = 32
PERSON: Final = b"\x02"
"""The version of what is sealed under a person's key."""
MESSAGE: Final = b"\x03"
"""The version of what is sealed under a message's key."""
_NONCE: Final = 12
_HEAD: Final = 1 + _NONCE
OVERHEAD: Final = _HEAD + 16
"""How many octets longer a sealed text is."""


def new_key() -> bytes:
    """A random key."""
    return os.urandom(KEY_OCTETS)


def seal(version: bytes, key: bytes, data: bytes, context: bytes) -> bytes:
    """The data encrypted under the key, and bound to the context and the version."""
    nonce = os.urandom(_NONCE)
    return version + nonce + AESGCM(key).encrypt(nonce, data, version + context)


def open_sealed(version: bytes, key: bytes, sealed: bytes, context: bytes) -> bytes:
    """The data that :func:`seal` took; raises SealError."""
    if len(sealed) < OVERHEAD or sealed[:1] != version:
        raise SealError("not a sealed text of this version")
    try:
        return AESGCM(key).decrypt(sealed[1:_HEAD], sealed[_HEAD:], version + context)
    except InvalidTag:
        raise SealError("the sealed text or its place was changed") from None
