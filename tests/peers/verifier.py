"""A receiver's view of DKIM: dkimpy, which shares no code with the gateway.

Keys are asked of a table in the place of DNS.  For Ed25519 dkimpy wants PyNaCl, of which
it uses one class; that one is made here of the ``cryptography`` library.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dkim
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


class _VerifyKey:
    def __init__(self, key: bytes, encoder: Any) -> None:
        self._key = Ed25519PublicKey.from_public_bytes(b64decode(key))

    def verify(self, text: bytes, signature: bytes) -> None:
        self._key.verify(signature, text)


dkim.nacl = SimpleNamespace(
    signing=SimpleNamespace(VerifyKey=_VerifyKey),
    encoding=SimpleNamespace(Base64Encoder=None),
    exceptions=SimpleNamespace(ValueError=ValueError, BadSignatureError=InvalidSignature),
)

Record = dict[bytes, bytes]
"""TXT records by name."""


class Key:
    """A private key in a file, and its record."""

    def __init__(
        self, folder: Path, domain: str, selector: str, private: RSAPrivateKey | Ed25519PrivateKey
    ) -> None:
        self.pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.path = folder / f"{selector}.pem"
        self.path.write_bytes(self.pem)
        self.table = {"domain": domain, "selector": selector, "key_file": str(self.path)}
        public = private.public_key()
        if isinstance(public, Ed25519PublicKey):
            kind, octets = b"ed25519", public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        else:
            kind = b"rsa"
            octets = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        name = f"{selector}._domainkey.{domain}.".encode()
        self.record: Record = {name: b"v=DKIM1; k=%b; p=%b" % (kind, b64encode(octets))}

    @classmethod
    def rsa(cls, folder: Path, domain: str, selector: str = "rsa", bits: int = 2048) -> Key:
        return cls(folder, domain, selector, generate_private_key(65537, bits))

    @classmethod
    def ed25519(cls, folder: Path, domain: str, selector: str = "ed") -> Key:
        return cls(folder, domain, selector, Ed25519PrivateKey.generate())


def verified(message: bytes, record: Record, number: int = 0) -> bool:
    """Whether the signature of this number (from the top) holds."""
    return bool(
        dkim.DKIM(message).verify(idx=number, dnsfunc=lambda name, timeout=5: record.get(name))
    )


def signed_fields(message: bytes, number: int = 0) -> list[bytes]:
    """The names in ``h=``, lower case, of a signature that can be read."""
    one = dkim.DKIM(message)
    _, names, _ = one.verify_headerprep(number)
    return list(names)
