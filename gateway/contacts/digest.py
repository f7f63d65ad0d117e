"""Keyed digests: what the register, the logs and the URLs carry instead of a contact.

A plain hash of a telephone number is undone by trying every number, so digests are
keyed BLAKE2b (RFC 7693) of 128 bits under a key that lives outside the register.
Several keys are live at once: a tombstone keeps only its digest and cannot be
digested again under a new key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from operator import add
from pathlib import Path
from typing import Self

from gateway.contacts.contact import Channel, Contact
from gateway.failure import InputError
from gateway.keyfile import KEY_OCTETS, create_keys, is_key_id, read_keys

DIGEST_OCTETS = 16
_hex = re.compile(rf"[0-9a-f]{{{2 * DIGEST_OCTETS}}}").fullmatch


@dataclass(frozen=True, slots=True)
class Digest:
    """The digest of one subject under one key; ``str`` gives ``key_id:hex``."""

    key_id: str
    value: bytes

    def __str__(self) -> str:
        return f"{self.key_id}:{self.value.hex()}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The digest that ``str`` wrote.

        Raises:
            InputError: the text is not ``key_id:`` and 32 lower-case hex digits.
        """
        key_id, _, value = text.partition(":")
        if not (is_key_id(key_id) and _hex(value)):
            raise InputError("a digest is written as key id, colon and 32 hex digits")
        return cls(key_id, bytes.fromhex(value))


class KeyRing:
    """The live keys by id; ``current`` is the one that new entries are kept under."""

    __slots__ = ("_digesters", "_keys", "current")

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        """Take the keys, each of 32 octets.

        Raises:
            InputError: a key's length or id is wrong, or ``current`` is not among them.
        """
        if current not in keys:
            raise InputError("the key ring's current key is not among its keys")
        for key_id, key in keys.items():
            if not is_key_id(key_id):
                raise InputError("a key id is 1 to 16 characters of a-z and 0-9")
            if len(key) != KEY_OCTETS:
                raise InputError(f"key {key_id} of the key ring is not {KEY_OCTETS} octets long")
        self.current = current
        order = [current, *(key_id for key_id in keys if key_id != current)]
        self._keys = {key_id: bytes(keys[key_id]) for key_id in order}
        # Keyed once and copied for each subject: the key's own block is then hashed already.
        self._digesters = tuple(
            (key_id, blake2b(key=key, digest_size=DIGEST_OCTETS))
            for key_id, key in self._keys.items()
        )

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the live keys, the current one first."""
        return tuple(self._keys)

    @property
    def keyed(self) -> tuple[tuple[str, blake2b], ...]:
        """The live keys' ids and hashers, the current one first.

        A hasher is copied for each subject, and the copy fed with the subject in UTF-8.
        """
        return self._digesters

    def __repr__(self) -> str:
        return f"KeyRing(current={self.current!r}, keys={len(self._keys)})"

    def digest(self, subject: str) -> Digest:
        """The digest under the current key of a subject (see :func:`subject_of`)."""
        return _digest(*self._digesters[0], subject)

    def text(self, subject: str) -> str:
        """:meth:`digest` as text, ``key_id:hex``, as records keep it."""
        key_id, keyed = self._digesters[0]
        hasher = keyed.copy()
        hasher.update(subject.encode())
        return f"{key_id}:{hasher.hexdigest()}"

    def digests(self, subject: str) -> tuple[Digest, ...]:
        """The digests under every live key, the current one first."""
        return tuple(_digest(key_id, keyed, subject) for key_id, keyed in self._digesters)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the key file that :meth:`create` wrote.

        Raises:
            InputError: the file is missing, readable by others, or malformed.
        """
        keys = read_keys(path)
        try:
            return cls(keys.by_id, keys.current)
        except (InputError, TypeError) as error:
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make a ring of one random key and write it to ``path``, mode 0600.

        Raises:
            InputError: the file exists already (a key in use is never overwritten)
                or cannot be written.
        """
        create_keys(path, "k1")
        return cls.load(path)


def subject_of(contact: Contact) -> str:
    """What is digested for a contact itself: ``e:local@domain`` or ``p:+358…``."""
    if contact[0] is _EMAIL:
        return "e:" + contact[1]
    return _PREFIX[contact.channel] + contact.canonical


def subjects_of(channels: Sequence[Channel], canonicals: Sequence[str]) -> list[str]:
    """:func:`subject_of` for many contacts, given their channels and canonical forms."""
    if channels.count(_EMAIL) == len(channels):
        return list(map("e:".__add__, canonicals))
    prefixes = map(_PREFIX.__getitem__, channels)
    return list(map(add, prefixes, canonicals))


def base_subject(contact: Contact) -> str:
    """What is digested for the wider spelling, in the namespace of :func:`subject_of`."""
    return _PREFIX[contact.channel] + contact.base


def organisation_subject(domain: str) -> str:
    """What is digested for an organisation's canonical domain: ``d:domain``."""
    return "d:" + domain


# The subjects of addresses, numbers and domains can never be equal.
_PREFIX = {Channel.EMAIL: "e:", Channel.SMS: "p:"}
_EMAIL = Channel.EMAIL


def _digest(key_id: str, keyed: blake2b, subject: str) -> Digest:
    hasher = keyed.copy()
    hasher.update(subject.encode())
    return Digest(key_id, hasher.digest())
