"""Hashes of addresses and numbers, as lists are exchanged without showing anybody.

A partner's list says how each of its values was made: an algorithm, a *declared
normalisation* of the address, and often a salt.  Together they are a :class:`Scheme`.
Whoever knows an address can make its hash under a scheme and look for it; nobody
learns an address from a list that they cannot guess.  An unsalted hash of an address
or number can be guessed: it hides little.

A scheme's hash is a subject of the register of its own (:meth:`Scheme.subject`), so
that the register keeps it as a keyed digest like any other.

Our own spelling is the canonical one (:mod:`gateway.contacts.email`): folded, NFC,
A-labels.  A list hashed with the letter case kept cannot be found from it and has no
normalisation here.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Self

import email_validator

from gateway.contacts.contact import Channel, Contact
from gateway.contacts.digest import HASHED
from gateway.failure import InputError


class Algorithm(StrEnum):
    """What made the hashes.  MD5 and SHA-1 are here because lists use them."""

    MD5 = "md5"
    SHA1 = "sha1"
    SHA256 = "sha256"
    SHA512 = "sha512"

    @property
    def octets(self) -> int:
        """The length of a hash."""
        return _OCTETS[self]


_OCTETS = {Algorithm.MD5: 16, Algorithm.SHA1: 20, Algorithm.SHA256: 32, Algorithm.SHA512: 64}


class Normalisation(StrEnum):
    """What was hashed of an address or number; UTF-8 in every case."""

    TRIM_LOWER = "trim-lower"
    """The address without surrounding blanks, in lower case (Meta, Mailchimp, OPTIZMO)."""
    TRIM_UPPER = "trim-upper"
    """The same in upper case."""
    GOOGLE = "google"
    """Lower case; at gmail.com and googlemail.com without the dots before the @."""
    UID2 = "uid2"
    """Lower case; at gmail.com without dots and plus tag."""
    E164 = "e164"
    """The number as ``+358401234567`` (Google, TikTok)."""
    E164_NO_PLUS = "e164-no-plus"
    """``358401234567`` (Meta)."""
    E164_ZEROS = "e164-00"
    """``00358401234567``."""

    @property
    def channel(self) -> Channel:
        """Whose contacts it normalises."""
        return Channel.SMS if self.value.startswith("e164") else Channel.EMAIL


ALIASES = {"lower": Normalisation.TRIM_LOWER, "upper": Normalisation.TRIM_UPPER}
"""Other names: our spelling has no blanks around it, so there is nothing to trim."""


class Salting(StrEnum):
    """How a salt goes into the hash."""

    HMAC = "hmac"
    """RFC 2104, with the salt as key."""
    PREFIX = "prefix"
    """The hash of the salt's octets and then the text's."""
    SUFFIX = "suffix"
    """The hash of the text's octets and then the salt's."""


_UNKNOWN = "not a hashing scheme that this version knows"
_salt_id = re.compile("[0-9a-f]{8}").fullmatch


@dataclass(frozen=True, slots=True)
class Scheme:
    """How a list's hashes were made.

    ``salt`` is secret; ``salt_id`` (eight hex digits, chosen at random) names it.
    """

    algorithm: Algorithm
    normalisation: Normalisation
    salting: Salting | None = None
    salt: bytes = field(default=b"", repr=False)
    salt_id: str = ""

    @property
    def name(self) -> str:
        """``sha256:trim-lower`` or ``sha256:trim-lower:hmac-1a2b3c4d``; no secret in it."""
        plain = f"{self.algorithm}:{self.normalisation}"
        return plain if self.salting is None else f"{plain}:{self.salting}-{self.salt_id}"

    @classmethod
    def named(cls, name: str, salt: bytes = b"") -> Self:
        """The scheme of a :attr:`name`, with its salt.

        Raises:
            InputError: no scheme that this program knows has such a name.
        """
        try:
            algorithm, normalisation, *salted = name.split(":")
            plain = cls(Algorithm(algorithm), Normalisation(normalisation))
            if not salted:
                return plain
            (told,) = salted
            salting, _, salt_id = told.partition("-")
            salted_so = Salting(salting)
        except ValueError:
            raise InputError(_UNKNOWN) from None
        if not _salt_id(salt_id):
            raise InputError(_UNKNOWN)
        return cls(plain.algorithm, plain.normalisation, salted_so, salt, salt_id)

    @property
    def channel(self) -> Channel:
        """Whose contacts it hashes."""
        return self.normalisation.channel

    def same_but_id(self, other: Scheme) -> bool:
        """Whether it hashes as another does, under whatever id of the salt."""
        return (self.algorithm, self.normalisation, self.salting, self.salt) == (
            other.algorithm,
            other.normalisation,
            other.salting,
            other.salt,
        )

    def hash(self, text: str) -> bytes:
        """The hash of a text that is normalised already."""
        octets = text.encode()
        if self.salting is Salting.HMAC:
            return hmac.digest(self.salt, octets, self.algorithm.value)
        if self.salting is Salting.PREFIX:
            octets = self.salt + octets
        elif self.salting is Salting.SUFFIX:
            octets += self.salt
        return hashlib.new(self.algorithm.value, octets, usedforsecurity=False).digest()

    def hashes(self, contact: Contact) -> tuple[bytes, ...]:
        """The hashes that a list may have of a contact; none of another channel's.

        Asked are the contact's own spelling and its base, each with the domain in
        A-labels and in the letters of its script.
        """
        return tuple(map(self.hash, spellings(contact, self.normalisation)))

    def subject(self, value: bytes) -> str:
        """What the register digests for a hash: ``h:`` name ``:`` hex."""
        return f"{HASHED}{self.name}:{value.hex()}"


def normalisation_of(text: str) -> Normalisation:
    """The normalisation of a name or an alias.

    Raises:
        InputError: naming those there are.
    """
    name = text.strip().casefold()
    try:
        return ALIASES.get(name) or Normalisation(name)
    except ValueError:
        known = ", ".join([*Normalisation, *ALIASES])
        raise InputError(f"the normalisation is one of {known}") from None


def spellings(contact: Contact, normalisation: Normalisation) -> tuple[str, ...]:
    """The texts that a list may have hashed for a contact, each once, its own first."""
    if contact.channel is not normalisation.channel:
        return ()
    normalise = _NORMALISE[normalisation]
    texts = []
    for address in dict.fromkeys((contact.canonical, contact.base)):
        texts.append(normalise(address))
        local, _, domain = address.rpartition("@")
        if "xn--" in domain:
            texts.append(normalise(f"{local}@{_in_letters(domain)}"))
    return tuple(dict.fromkeys(texts))


@lru_cache(maxsize=4096)
def _in_letters(domain: str) -> str:
    """A domain of A-labels as it is written (U-labels)."""
    try:
        found = email_validator.validate_email(f"a@{domain}", check_deliverability=False)
    except email_validator.EmailNotValidError:
        return domain
    return str(found.domain)


def _google(address: str) -> str:
    local, at, domain = address.lower().rpartition("@")
    if domain in ("gmail.com", "googlemail.com"):
        local = local.replace(".", "")
    return local + at + domain


def _uid2(address: str) -> str:
    local, at, domain = address.lower().rpartition("@")
    if domain == "gmail.com":
        local = local.replace(".", "").partition("+")[0]
    return local + at + domain


_NORMALISE: dict[Normalisation, Callable[[str], str]] = {
    Normalisation.TRIM_LOWER: str.lower,
    Normalisation.TRIM_UPPER: str.upper,
    Normalisation.GOOGLE: _google,
    Normalisation.UID2: _uid2,
    Normalisation.E164: str,
    Normalisation.E164_NO_PLUS: lambda number: number[1:],
    Normalisation.E164_ZEROS: lambda number: "00" + number[1:],
}


def read_hash(text: str, octets: int) -> bytes | None:
    """A hash of so many octets, written in hex or base64 (RFC 4648, both alphabets).

    None where the text is no such hash.  The lengths of the two notations differ for
    every algorithm, so that nothing is read in two ways.
    """
    try:
        if len(text) == 2 * octets:
            return bytes.fromhex(text)
        bare = text.rstrip("=")
        if len(bare) != (4 * octets + 2) // 3:
            return None
        value = base64.b64decode(
            bare.replace("-", "+").replace("_", "/") + "=" * (-len(bare) % 4), validate=True
        )
    except (ValueError, binascii.Error):
        return None
    return value if len(value) == octets else None
