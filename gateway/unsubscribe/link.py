"""Links by which a person refuses or confirms: what they stand for, sealed into a short text.

A token is read by whoever has the mail, and by every proxy and log that it passes, so it
shows nothing and cannot be made by anybody else.  All that it means lies inside: nothing is
stored for it, and it is good as long as its key and its days last.

Sealed is by AES-SIV (RFC 5297) without a nonce, so that the same person, topic and day have
one link: a text sent twice is the same text, and a proxy's log tells no more than the mail
does.  The cipher promises no more secrecy than that, and loses nothing by it.

The octets of a token, before base64url (RFC 4648 section 5) without padding:

- 3: the first of BLAKE2b of the key, which find the key and are bound by the seal;
- 16: the synthetic initialisation vector;
- sealed: a head (bits 0-1 the purpose, bit 2 by SMS, bit 3 a topic follows, bit 4 a language
  follows, bits 5-7 the version, 0), the day of issue (two octets, days since 1970), language
  and topic (each its length in two octets, then UTF-8), and the contact: a number's digits as
  an integer, an address in UTF-8.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESSIV

from gateway.contacts.contact import Channel, Contact
from gateway.contacts.email import parse_email
from gateway.failure import GatewayError, InputError
from gateway.keyfile import create_keys, read_keys, require_keys

DAY_MS: Final = 86_400_000
LONGEST: Final = 2048
"""Characters of a token that are looked at; the longest address and topic need half of it."""

_LAST_DAY: Final = 0xFFFF
_MARK: Final = 3
_VECTOR: Final = 16
_PURPOSE, _SMS, _TOPIC, _LANGUAGE, _VERSION = 0b11, 1 << 2, 1 << 3, 1 << 4, 0b111 << 5
_LENGTH: Final = 2
_is_token = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_is_number = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch


class Purpose(StrEnum):
    """What a person does by opening the link."""

    REFUSE = "refuse"
    CONFIRM = "confirm"
    """Says once more what was said for the address before (double opt-in)."""


_NUMBERS = {Purpose.REFUSE: 0, Purpose.CONFIRM: 1}
_PURPOSES = {number: purpose for purpose, number in _NUMBERS.items()}
_PLACES = {Purpose.REFUSE: "u", Purpose.CONFIRM: "c"}


class LinkError(GatewayError):
    """A token is not a link of this gateway, was changed, or is too old (``expired``)."""

    code = 550
    status = "5.1.1"
    line = "Unknown link"

    def __init__(self, cause: str, *, expired: bool = False) -> None:
        """Take the cause and whether the link was good once."""
        super().__init__(cause)
        self.expired = expired


@dataclass(frozen=True, slots=True)
class Link:
    """What a token stands for.

    ``topic`` None, or one of blanks: all marketing on the contact's channel.  ``issued`` is
    in ms since 1970 and made whole days (UTC), the earlier.  ``language`` is that of the
    page, ``""`` where it is not known.
    """

    contact: Contact
    purpose: Purpose
    topic: str | None
    issued: int
    language: str = ""

    def __post_init__(self) -> None:
        """Make the time whole days, and a topic of blanks none.

        Raises:
            ValueError: the day is before 1970 or after 2149.

        """
        day = self.issued // DAY_MS
        if not 0 <= day <= _LAST_DAY:
            raise ValueError("a link is issued between 1970 and 2149")
        object.__setattr__(self, "issued", day * DAY_MS)
        if self.topic is not None and not self.topic.strip():
            object.__setattr__(self, "topic", None)


class Links:
    """Seals links under the current key and opens those of every key."""

    __slots__ = ("_by_mark", "_current", "current")

    def __init__(self, keys: Mapping[str, bytes], current: str) -> None:
        """Take the keys by id, each of 32 octets, and the id of the one that seals.

        Raises:
            InputError: a key's length or id is wrong, or ``current`` is not among them.

        """
        require_keys(keys, current, "link key")
        self.current = current
        # Two keys may have one mark; the seal tells which it is.
        self._by_mark: dict[bytes, list[AESSIV]] = {}
        for key_id, key in keys.items():
            cipher = AESSIV(blake2b(key=key, person=b"link seal").digest())
            self._by_mark.setdefault(_mark(key), []).append(cipher)
            if key_id == current:
                self._current = (_mark(key), cipher)

    def __repr__(self) -> str:
        return f"Links(current={self.current!r})"

    @classmethod
    def load_or_create(cls, path: Path) -> Self:
        """The links of a key file, which is made with one random key if there is none.

        Raises:
            InputError: the file cannot be written, is readable by others, or malformed.

        """
        if not path.exists():
            try:
                create_keys(path, "k1")
            except InputError:
                if not path.exists():
                    raise  # else another process was faster
        keys = read_keys(path)
        try:
            return cls(keys.by_id, keys.current)
        except (InputError, TypeError) as error:
            raise InputError(f"{path}: {error}") from None

    def seal(self, link: Link) -> str:
        """The token of a link: letters, digits, ``-`` and ``_``; the same each time.

        36 characters for a number, 30 and four thirds of the address's length for an
        address; a topic adds four thirds of its length and of two more.

        Raises:
            ValueError: topic or language cannot be written in UTF-8 or is too long.

        """
        mark, cipher = self._current
        sealed = mark + cipher.encrypt(_packed(link), [mark])
        token = urlsafe_b64encode(sealed).rstrip(b"=").decode("ascii")
        if len(token) > LONGEST:
            raise ValueError("the topic is too long for a link")
        return token

    def open(self, token: str, now: int, expire_after_days: int) -> Link:
        """The link that :meth:`seal` took; ``now`` is in ms since 1970.

        It is good on the day of issue and on ``expire_after_days`` days after it.  Whoever
        opens it looks at its purpose.

        Raises:
            LinkError: it was not sealed under one of the keys, or is too old.

        """
        link = _unpacked(self._opened(_octets(token)))
        if now // DAY_MS - link.issued // DAY_MS > expire_after_days:
            raise LinkError("the link is too old", expired=True)
        return link

    def _opened(self, octets: bytes) -> bytes:
        mark, sealed = octets[:_MARK], octets[_MARK:]
        if len(sealed) > _VECTOR:
            for cipher in self._by_mark.get(mark, ()):
                try:
                    return cipher.decrypt(sealed, [mark])
                except InvalidTag:
                    continue
        raise LinkError("the link was not made under a key that is here, or was changed")


def url_of(base: str, purpose: Purpose, token: str) -> str:
    """Where a person opens a token; ``base`` is the setting ``public.url``."""
    return f"{base}/{_PLACES[purpose]}/{token}"


def _mark(key: bytes) -> bytes:
    return blake2b(key=key, digest_size=_MARK, person=b"link mark").digest()


def _octets(token: str) -> bytes:
    """The octets of a token; one sequence of octets has one token only."""
    if len(token) <= LONGEST and _is_token(token) and len(token) % 4 != 1:
        octets = urlsafe_b64decode(token + "=" * (-len(token) % 4))
        # Left over bits of the last character could be anything.
        if urlsafe_b64encode(octets).rstrip(b"=").decode("ascii") == token:
            return octets
    raise LinkError("not a link")


def _packed(link: Link) -> bytes:
    sms = link.contact.channel is Channel.SMS
    head = _NUMBERS[link.purpose]
    head |= _SMS * sms | _TOPIC * (link.topic is not None) | _LANGUAGE * bool(link.language)
    out = bytearray([head])
    out += (link.issued // DAY_MS).to_bytes(2)
    for text in (link.language or None, link.topic):
        if text is not None:
            octets = text.encode()
            if len(octets) > LONGEST:
                raise ValueError("the topic is too long for a link")
            out += len(octets).to_bytes(_LENGTH) + octets
    out += _packed_contact(link.contact)
    return bytes(out)


def _packed_contact(contact: Contact) -> bytes:
    if contact.channel is not Channel.SMS:
        return contact.canonical.encode()
    if not _is_number(contact.canonical):
        raise ValueError("the number is not in E.164 form")
    number = int(contact.canonical[1:])
    return number.to_bytes((number.bit_length() + 7) // 8)


def _unpacked(octets: bytes) -> Link:
    """The link in opened octets; they are ours, but may be those of a later version."""
    head = octets[0]
    purpose = _PURPOSES.get(head & _PURPOSE)
    if head & _VERSION or purpose is None:
        raise LinkError("the link is of a later version")
    issued, place = int.from_bytes(octets[1:3]) * DAY_MS, 3
    texts: list[str | None] = []
    for flag in (_LANGUAGE, _TOPIC):
        text = None
        if head & flag:
            end = place + _LENGTH + int.from_bytes(octets[place : place + _LENGTH])
            text = octets[place + _LENGTH : end].decode()
            place = end
        texts.append(text)
    language, topic = texts
    contact = _unpacked_contact(octets[place:], sms=bool(head & _SMS))
    return Link(contact, purpose, topic, issued, language or "")


def _unpacked_contact(octets: bytes, *, sms: bool) -> Contact:
    if sms:
        canonical = f"+{int.from_bytes(octets)}"
        return Contact(Channel.SMS, canonical, canonical)
    try:
        # What the wider spelling is may have changed since the link was sealed.
        return parse_email(octets.decode())
    except InputError:
        raise LinkError("the link's address is not one any more") from None
