"""The key that signs where the chain stands: Ed25519 (RFC 8032), in PEM files.

Whoever can write the archive can make a whole new chain.  Whoever cannot read the
signing key cannot sign it.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from gateway.failure import InputError
from gateway.keyfile import read_private


class Signer:
    """One signing key."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        public = key.public_key()
        self.id = key_id(public)
        """By which signatures name the key."""
        self.public_pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def __repr__(self) -> str:
        return f"Signer(id={self.id!r})"

    def sign(self, text: bytes) -> bytes:
        """The signature, 64 octets."""
        return self._key.sign(text)

    @property
    def verifier(self) -> Verifier:
        """What knows this key's signatures."""
        return Verifier([self._key.public_key()])

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the key; raises InputError when it is missing, open to others or none."""
        text = read_private(path, "signing key")
        try:
            key = load_pem_private_key(text, password=None)
        except (ValueError, TypeError):
            # No cause attached: a decoder's error may quote the text.
            raise InputError(f"{path}: not a private key in PEM") from None
        if not isinstance(key, Ed25519PrivateKey):
            raise InputError(f"{path}: not an Ed25519 key")
        return cls(key)

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Read the key, making a random one (mode 0600) where none is; raises InputError.

        Several processes may start at once: all end up with the same key.
        """
        if not path.exists():
            text = Ed25519PrivateKey.generate().private_bytes(
                Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
            )
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _create(path, text)
            except OSError as error:
                raise InputError(
                    f"{path}: the signing key cannot be written ({error.strerror})"
                ) from None
        return cls.load(path)

    def export(self, path: Path) -> None:
        """Write the public key where everybody may read it; raises InputError."""
        try:
            if path.exists() and path.read_bytes() == self.public_pem:
                return
            path.write_bytes(self.public_pem)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None


class Verifier:
    """Public keys by their ids."""

    def __init__(self, keys: Iterable[Ed25519PublicKey]) -> None:
        self._keys: Mapping[str, Ed25519PublicKey] = {key_id(key): key for key in keys}

    @classmethod
    def load(cls, *paths: Path) -> Self:
        """Read public keys in PEM; raises InputError."""
        keys = []
        for path in paths:
            try:
                key = load_pem_public_key(path.read_bytes())
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}") from None
            except ValueError:
                raise InputError(f"{path}: not a public key in PEM") from None
            if not isinstance(key, Ed25519PublicKey):
                raise InputError(f"{path}: not an Ed25519 key")
            keys.append(key)
        return cls(keys)

    def __or__(self, other: Verifier) -> Verifier:
        return Verifier([*self._keys.values(), *other._keys.values()])

    def knows(self, name: str) -> bool:
        """Whether the key of this id is among them."""
        return name in self._keys

    def accepts(self, name: str, text: bytes, signature: bytes) -> bool:
        """Whether the signature is that key's of this text."""
        key = self._keys.get(name)
        if key is None:
            return False
        try:
            key.verify(signature, text)
        except InvalidSignature:
            return False
        return True


def key_id(key: Ed25519PublicKey) -> str:
    """What a key is called: the first 16 hex digits of its SHA-256."""
    return sha256(key.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:16]


def _create(path: Path, text: bytes) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        # Another process may be first; its key is then the key.
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
