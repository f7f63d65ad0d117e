"""Addresses, header sections and content under a key that no database holds.

AES-256-GCM (NIST SP 800-38D).  Every :class:`Sealer` derives its own key from the
content key and a random salt, and counts its nonces: random nonces under one key
would be exhausted after 2**32 uses, some weeks of a busy gateway.  A sealed text is
version, key fingerprint, salt, counter, then ciphertext and tag.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from contextlib import suppress
from hashlib import blake2b
from itertools import count, islice, repeat
from operator import add
from pathlib import Path
from struct import Struct
from time import monotonic
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.failure import InputError, SealError
from gateway.keyfile import create_keys, read_keys, require_keys

__all__ = ["OVERHEAD", "VERSION", "SealError", "Sealer", "fingerprint"]

VERSION: Final = b"\x01"
"""What every text begins with that lies under a content key."""
_PRINT: Final = 4
_SALT: Final = 16
_COUNTER: Final = 8
_START: Final = len(VERSION) + _PRINT + _SALT
_HEAD: Final = _START + _COUNTER
OVERHEAD: Final = _HEAD + 16
"""How many octets longer a sealed text is."""
_CACHED: Final = 256
_LOOK: Final = 10.0
"""Seconds after which a process that seals looks whether its key file has changed."""

# What seal() puts together octet by octet, for many at once.
_head = Struct(f">{_START}sQ").pack
_nonce = Struct(">4xQ").pack


class Sealer:
    """Seals under the current content key, opens under every live one.

    ``context`` binds a sealed text to where it belongs; it opens with the same
    context only.  An address's context is its person's digest, so that a key per
    person can later be chosen by it.

    One that was read from a file follows the file: it takes what has changed there
    within ten seconds of sealing, and at once where it meets a key that it lacks.  So
    keys are rotated while the gateway runs.

    May be used from several threads, and after a fork.
    """

    __slots__ = ("_current", "_derived", "_fork", "_keys", "_look_at", "_path", "_stamp", "current")

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        """Take the keys, 32 octets each; raises InputError."""
        self._path: Path | None = None
        self._stamp = (0, 0)
        self._look_at = float("inf")
        self._take(keys, current)

    def _take(self, keys: Mapping[str, bytes], current: str) -> None:
        require_keys(keys, current, "content key")
        by_print = {fingerprint(key): bytes(key) for key in keys.values()}
        if len(by_print) != len(keys):
            raise InputError("two content keys are the same")
        self._keys = by_print
        self.current = current
        self._current = bytes(keys[current])
        self._derived: dict[bytes, AESGCM] = {}
        self._fork = self._begin()

    def __repr__(self) -> str:
        return f"Sealer(current={self.current!r}, keys={len(self._keys)})"

    def can_open(self, sealed: bytes) -> bool:
        """Whether it lies under a key that is here; it may have been changed all the same."""
        return sealed[:1] == VERSION and sealed[1 : 1 + _PRINT] in self._keys

    def is_stale(self, sealed: bytes) -> bool:
        """Whether it lies under another key than the current one."""
        return not sealed.startswith(self._fork[1][: 1 + _PRINT])

    def refresh(self) -> bool:
        """Take the keys from the file again, if it has changed since; whether it had.

        Keys that were read from no file stay.  Raises InputError.
        """
        path = self._path
        if path is None:
            return False
        self._look_at = monotonic() + _LOOK
        try:
            stamp = _stamp(path)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}") from None
        if stamp == self._stamp:
            return False
        keys = read_keys(path)
        self._take(keys.by_id, keys.current)
        self._stamp = stamp
        return True

    def _look(self) -> None:
        # What is wrong with the file shows at the next start; until then we have keys.
        with suppress(InputError):
            self.refresh()

    def seal(self, data: bytes, context: bytes) -> bytes:
        """The data encrypted and bound to the context."""
        if monotonic() > self._look_at:
            self._look()
        pid, start, cipher, counter = self._fork
        if pid != os.getpid():
            # A child would count the same nonces under the same key as its parent.
            self._fork = pid, start, cipher, counter = self._begin()
        octets = next(counter).to_bytes(_COUNTER, "big")
        return start + octets + cipher.encrypt(b"\0\0\0\0" + octets, data, context)

    def seal_all(self, data: Sequence[bytes], contexts: Sequence[bytes]) -> list[bytes]:
        """:meth:`seal` of each with the context at its place, at a fraction of the cost.

        Raises ValueError unless there are as many contexts as data.
        """
        if len(data) != len(contexts):
            raise ValueError("every datum has one context")
        if monotonic() > self._look_at:
            self._look()
        pid, start, cipher, counter = self._fork
        if pid != os.getpid():
            self._fork = pid, start, cipher, counter = self._begin()
        numbers = list(islice(counter, len(data)))
        heads = map(_head, repeat(start), numbers)
        return list(map(add, heads, map(cipher.encrypt, map(_nonce, numbers), data, contexts)))

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The data that :meth:`seal` took; raises SealError."""
        if len(sealed) < OVERHEAD or sealed[:1] != VERSION:
            raise SealError("not a sealed text of a known version")
        start = sealed[:_START]
        cipher = self._derived.get(start)
        if cipher is None:
            key = self._keys.get(sealed[1 : 1 + _PRINT])
            if key is None:
                self._look()
                key = self._keys.get(sealed[1 : 1 + _PRINT])
            if key is None:
                raise SealError("sealed under a content key that is not here")
            if len(self._derived) >= _CACHED:
                self._derived.clear()
            cipher = self._derived[start] = _derive(key, start[1 + _PRINT :])
        try:
            return cipher.decrypt(b"\0\0\0\0" + sealed[_START:_HEAD], sealed[_HEAD:], context)
        except InvalidTag:
            raise SealError("the sealed text or its place was changed") from None

    def _begin(self) -> tuple[int, bytes, AESGCM, count[int]]:
        salt = secrets.token_bytes(_SALT)
        start = VERSION + fingerprint(self._current) + salt
        return os.getpid(), start, _derive(self._current, salt), count()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the key file; raises InputError when it is missing, open to others or bad."""
        keys = read_keys(path)
        try:
            self = cls(keys.by_id, keys.current)
        except (InputError, TypeError) as error:
            raise InputError(f"{path}: {error}") from None
        self._path = path
        # The file may have changed since it was read: then it is read again soon.
        self._look_at = 0.0
        return self

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """Read the key file, making one with a random key (mode 0600) where none is.

        Several processes may start at once: all end up with the same key.
        """
        if not path.exists():
            # Another process may be first; its key is then the key.
            with suppress(InputError):
                create_keys(path, "c1")
        return cls.load(path)


def fingerprint(key: bytes) -> bytes:
    """What a sealed text calls the key that it lies under: its octets 1 to 4."""
    return blake2b(key, digest_size=_PRINT, person=b"sg-key-id").digest()


def _stamp(path: Path) -> tuple[int, int]:
    """What changes when the file is written anew."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _derive(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(blake2b(key=key, salt=salt, person=b"sg-seal-1", digest_size=32).digest())
