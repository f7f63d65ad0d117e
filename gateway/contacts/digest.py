"""Keyed digests: what the register, the logs and the URLs carry instead of a contact.

A plain hash of a telephone number is undone by trying every number, so digests are
keyed BLAKE2b (RFC 7693) of 128 bits under a key that lives outside the register.
Several keys are live at once: a tombstone keeps only its digest and cannot be
digested again under a new key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Self

from gateway.contacts.contact import Channel, Contact
from gateway.failure import InputError
from gateway.keyfile import KEY_OCTETS, create_keys, is_key_id, read_keys, require_keys

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

    __slots__ = ("_begun", "_keys", "current")

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        """Take the keys, each of 32 octets.

        Raises:
            InputError: a key's length or id is wrong, or ``current`` is not among them.
        """
        require_keys(keys, current, "digest key")
        self.current = current
        order = [current, *(key_id for key_id in keys if key_id != current)]
        self._keys = {key_id: bytes(keys[key_id]) for key_id in order}
        self._begun = tuple((key_id, _begin(key)) for key_id, key in self._keys.items())

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of the live keys, the current one first."""
        return tuple(self._keys)

    def digest(self, subject: str) -> Digest:
        """The digest under the current key of a subject (see :func:`subject_of`)."""
        return _digest(*self._begun[0], subject)

    def text(self, subject: str) -> str:
        """:meth:`digest` as text, ``key_id:hex``, as records keep it."""
        key_id, begun = self._begun[0]
        return f"{key_id}:{_hashed(begun, subject).hexdigest()}"

    def digests(self, subject: str) -> tuple[Digest, ...]:
        """The digests under every live key, the current one first."""
        return tuple(_digest(key_id, begun, subject) for key_id, begun in self._begun)

    def derived(self, key_id: str, purpose: bytes) -> bytes:
        """A key of 32 octets for another purpose (at most 16 octets), made from a live one.

        Raises:
            InputError: the key is not among the ring's.
        """
        if key_id not in self._keys:
            raise InputError(f"the key file lacks key {key_id}; restore the key file")
        return blake2b(key=self._keys[key_id], digest_size=KEY_OCTETS, person=purpose).digest()

    @property
    def begun(self) -> tuple[tuple[str, Mapping[str, blake2b]], ...]:
        """The live keys' ids and hashers, the current one first.

        There is a hasher for each prefix (see :func:`prefix_of`), which it has hashed
        already.  It is copied, and the copy fed with the rest of a subject in UTF-8.
        """
        return self._begun

    def __repr__(self) -> str:
        return f"KeyRing(current={self.current!r}, keys={len(self._keys)})"

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


# The subjects of addresses, numbers and domains can never be equal.
ORGANISATION = "d:"
"""The prefix of organisations' subjects."""
HASHED = "h:"
"""The prefix of the subjects of hashes whose addresses nobody knows."""
_PREFIX = {Channel.EMAIL: "e:", Channel.SMS: "p:"}
_EMAIL = Channel.EMAIL


def prefix_of(channel: Channel) -> str:
    """What the subjects of a channel's contacts begin with."""
    # An enum's hash is a call in Python.
    return "e:" if channel is _EMAIL else _PREFIX[channel]


def subject_of(contact: Contact) -> str:
    """What is digested for a contact itself: ``e:local@domain`` or ``p:+358…``."""
    return prefix_of(contact.channel) + contact.canonical


def base_subject(contact: Contact) -> str:
    """What is digested for the wider spelling, in the namespace of :func:`subject_of`."""
    return prefix_of(contact.channel) + contact.base


def organisation_subject(domain: str) -> str:
    """What is digested for an organisation's canonical domain: ``d:domain``."""
    return ORGANISATION + domain


def _begin(key: bytes) -> dict[str, blake2b]:
    """Return hashers of a key, by the prefix that each has been fed with.

    The key is a block of its own, which is hashed as soon as more comes: for all
    subjects at once, where they begin alike.
    """
    bare = blake2b(key=key, digest_size=DIGEST_OCTETS)
    begun = {"": bare}
    for prefix in (*_PREFIX.values(), ORGANISATION, HASHED):
        begun[prefix] = bare.copy()
        begun[prefix].update(prefix.encode())
    return begun


def _hashed(begun: Mapping[str, blake2b], subject: str) -> blake2b:
    prefix = subject[:2]
    if prefix not in begun:
        prefix = ""
    hasher = begun[prefix].copy()
    hasher.update(subject[len(prefix) :].encode())
    return hasher


def _digest(key_id: str, begun: Mapping[str, blake2b], subject: str) -> Digest:
    return Digest(key_id, _hashed(begun, subject).digest())
