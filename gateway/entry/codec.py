"""Entries as compact octets, as the register's hashes hold them.

Version 1, all integers LEB128 (unsigned, seven bits an octet, least first):

- octet 0: version in the high nibble; bit 0 bans follow, bit 1 consents, bit 2
  attributes, bit 3 delivery suppressions;
- a ban: scope (3 bits), channel (2 bits; 0 none), bit 5 a topic follows, bit 6 an
  origin of four octets follows, bit 7 another ban follows; then ``at``, topic,
  origin;
- a consent: bit 0 SMS, bits 1-2 status, bit 3 a topic follows (else ``"*"``), bit
  4 an expiry follows, bit 5 proven, bit 6 lifts, bit 7 another follows; then
  ``at``, expiry, topic;
- attributes: two octets (class, age, guardian, collected, opt-out: two bits each, 0
  unsaid; restricted, tombstone, source known; start, end, groups follow), then the
  days (proleptic ordinal) and the groups (count, strings);
- a delivery suppression: reason (3 bits), bit 3 an expiry follows, bit 7 another
  follows; then ``at``, expiry.

A string is its length and UTF-8 octets.  A plain ban of all marketing takes eight
octets, so that a bucket stays in the server's compact encoding.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from gateway.contacts.contact import Channel
from gateway.decision.facts import Age, Collected, PersonClass
from gateway.entry.entry import (
    ANY_TOPIC,
    ORIGIN_SIZE,
    Ban,
    Consent,
    ConsentStatus,
    DeliveryReason,
    Entry,
    Scope,
    Undeliverable,
)
from gateway.failure import RegisterUnavailable

VERSION = 1

_BANS, _CONSENTS, _ATTRIBUTES, _DELIVERY = 1, 2, 4, 8
_SCOPES = tuple(Scope)
_SCOPE_NUMBERS = {scope: number for number, scope in enumerate(_SCOPES)}
_CHANNELS = (None, Channel.EMAIL, Channel.SMS)
_CHANNEL_NUMBERS = {channel: number for number, channel in enumerate(_CHANNELS)}
_STATUSES = tuple(ConsentStatus)
_STATUS_NUMBERS = {status: number for number, status in enumerate(_STATUSES)}
_CLASSES = (None, *PersonClass)
_AGES = (None, *Age)
_COLLECTED = (None, *Collected)
_REASONS = tuple(DeliveryReason)
_REASON_NUMBERS = {reason: number for number, reason in enumerate(_REASONS)}
_TRUTH = (None, False, True)


class CodecError(RegisterUnavailable):
    """Octets in the register are not an entry that this version can read."""


def _put_number(out: bytearray, number: int) -> None:
    if number < 0:
        raise ValueError("an entry holds no negative number")
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)


def leb128(number: int) -> bytes:
    """Return a number's octets, as times stand in an entry."""
    out = bytearray()
    _put_number(out, number)
    return bytes(out)


def _put_text(out: bytearray, text: str) -> None:
    octets = text.encode()
    _put_number(out, len(octets))
    out += octets


def _put_bans(out: bytearray, bans: tuple[Ban, ...]) -> None:
    last = len(bans) - 1
    for place, ban in enumerate(bans):
        head = _SCOPE_NUMBERS[ban.scope] | _CHANNEL_NUMBERS[ban.channel] << 3
        head |= (ban.topic is not None) << 5 | ban.inherited << 6 | (place < last) << 7
        out.append(head)
        _put_number(out, ban.at)
        if ban.topic is not None:
            _put_text(out, ban.topic)
        if ban.inherited:
            if len(ban.origin) != ORIGIN_SIZE:
                raise ValueError("a ban's origin has four octets")
            out += ban.origin


def _put_consents(out: bytearray, consents: tuple[Consent, ...]) -> None:
    last = len(consents) - 1
    for place, consent in enumerate(consents):
        named = consent.topic != ANY_TOPIC
        head = (consent.channel is Channel.SMS) | _STATUS_NUMBERS[consent.status] << 1
        head |= named << 3 | (consent.expires is not None) << 4 | consent.proven << 5
        head |= consent.lifts << 6 | (place < last) << 7
        out.append(head)
        _put_number(out, consent.at)
        if consent.expires is not None:
            _put_number(out, consent.expires)
        if named:
            _put_text(out, consent.topic)


def _put_delivery(out: bytearray, delivery: tuple[Undeliverable, ...]) -> None:
    last = len(delivery) - 1
    for place, each in enumerate(delivery):
        head = _REASON_NUMBERS[each.reason] | (each.expires is not None) << 3
        out.append(head | (place < last) << 7)
        _put_number(out, each.at)
        if each.expires is not None:
            _put_number(out, each.expires)


def _attribute_bits(entry: Entry) -> int:
    bits = _CLASSES.index(entry.person_class) | _AGES.index(entry.age) << 2
    bits |= _TRUTH.index(entry.guardian_consent) << 4 | _COLLECTED.index(entry.collected) << 6
    bits |= _TRUTH.index(entry.opt_out_offered) << 8
    bits |= entry.restricted << 10 | entry.tombstone << 11 | entry.source_known << 12
    bits |= (entry.relationship_start is not None) << 13
    bits |= (entry.relationship_end is not None) << 14
    return bits | (entry.product_groups is not None) << 15


def encode(entry: Entry) -> bytes:
    """Return the entry's octets; equal entries have equal octets.

    Raises ValueError for an entry no projection makes: a negative time, an origin
    that is not four octets.
    """
    bits = _attribute_bits(entry)
    out = bytearray(1)
    head = VERSION << 4
    if entry.bans:
        head |= _BANS
        _put_bans(out, entry.bans)
    if entry.consents:
        head |= _CONSENTS
        _put_consents(out, entry.consents)
    if bits:
        head |= _ATTRIBUTES
        out += bits.to_bytes(2, "little")
        for day in (entry.relationship_start, entry.relationship_end):
            if day is not None:
                _put_number(out, day.toordinal())
        if entry.product_groups is not None:
            _put_number(out, len(entry.product_groups))
            for group in sorted(entry.product_groups):
                _put_text(out, group)
    if entry.delivery:
        head |= _DELIVERY
        _put_delivery(out, entry.delivery)
    out[0] = head
    return bytes(out)


def _number(octets: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        octet = octets[at]
        at += 1
        number |= (octet & 0x7F) << shift
        if octet < 0x80:
            return number, at
        shift += 7


def _text(octets: bytes, at: int) -> tuple[str, int]:
    size, at = _number(octets, at)
    end = at + size
    if end > len(octets):
        raise IndexError
    return octets[at:end].decode(), end


def _bans(octets: bytes, at: int) -> tuple[tuple[Ban, ...], int]:
    bans = []
    head = 0x80
    while head & 0x80:
        head = octets[at]
        since, at = _number(octets, at + 1)
        topic = None
        origin = b""
        if head & 0x20:
            topic, at = _text(octets, at)
        if head & 0x40:
            origin = octets[at : at + ORIGIN_SIZE]
            at += ORIGIN_SIZE
            if at > len(octets):
                raise IndexError
        bans.append(Ban(_SCOPES[head & 7], since, _CHANNELS[head >> 3 & 3], topic, origin))
    return tuple(bans), at


def _consents(octets: bytes, at: int) -> tuple[tuple[Consent, ...], int]:
    consents = []
    head = 0x80
    while head & 0x80:
        head = octets[at]
        since, at = _number(octets, at + 1)
        expires = None
        topic = ANY_TOPIC
        if head & 0x10:
            expires, at = _number(octets, at)
        if head & 0x08:
            topic, at = _text(octets, at)
        consents.append(
            Consent(
                Channel.SMS if head & 1 else Channel.EMAIL,
                topic,
                _STATUSES[head >> 1 & 3],
                since,
                expires,
                bool(head & 0x20),
                bool(head & 0x40),
            )
        )
    return tuple(consents), at


def _delivery(octets: bytes, at: int) -> tuple[tuple[Undeliverable, ...], int]:
    delivery = []
    head = 0x80
    while head & 0x80:
        head = octets[at]
        if head & 0x70:
            raise ValueError("unknown bits")
        since, at = _number(octets, at + 1)
        expires = None
        if head & 0x08:
            expires, at = _number(octets, at)
        delivery.append(Undeliverable(_REASONS[head & 7], since, expires))
    return tuple(delivery), at


def _with_attributes(
    octets: bytes, at: int, bans: tuple[Ban, ...], consents: tuple[Consent, ...]
) -> tuple[Entry, int]:
    bits = octets[at] | octets[at + 1] << 8
    at += 2
    start = end = None
    groups: frozenset[str] | None = None
    if bits & 1 << 13:
        day, at = _number(octets, at)
        start = date.fromordinal(day)
    if bits & 1 << 14:
        day, at = _number(octets, at)
        end = date.fromordinal(day)
    if bits & 1 << 15:
        count, at = _number(octets, at)
        names = []
        for _ in range(count):
            name, at = _text(octets, at)
            names.append(name)
        groups = frozenset(names)
    entry = Entry(
        bans=bans,
        consents=consents,
        person_class=_CLASSES[bits & 3],
        age=_AGES[bits >> 2 & 3],
        guardian_consent=_TRUTH[bits >> 4 & 3],
        relationship_start=start,
        relationship_end=end,
        collected=_COLLECTED[bits >> 6 & 3],
        opt_out_offered=_TRUTH[bits >> 8 & 3],
        product_groups=groups,
        restricted=bool(bits & 1 << 10),
        tombstone=bool(bits & 1 << 11),
        source_known=bool(bits & 1 << 12),
    )
    return entry, at


def decode(octets: bytes) -> Entry:
    """Return the entry of its octets.

    Raises CodecError for octets of another version and for damaged ones.
    """
    if not octets:
        raise CodecError("an entry in the register is empty")
    head = octets[0]
    if head >> 4 != VERSION:
        raise CodecError(
            f"an entry in the register has version {head >> 4}; this gateway reads {VERSION}: "
            "use the gateway version that wrote it, or a newer one"
        )
    try:
        at = 1
        bans: tuple[Ban, ...] = ()
        consents: tuple[Consent, ...] = ()
        if head & _BANS:
            bans, at = _bans(octets, at)
        if head & _CONSENTS:
            consents, at = _consents(octets, at)
        if head & _ATTRIBUTES:
            entry, at = _with_attributes(octets, at, bans, consents)
        else:
            entry = Entry(bans, consents)
        if head & _DELIVERY:
            delivery, at = _delivery(octets, at)
            entry = replace(entry, delivery=delivery)
    except (IndexError, ValueError, OverflowError) as error:
        raise CodecError("an entry in the register is damaged") from error
    if at != len(octets):
        raise CodecError("an entry in the register is damaged")
    return entry
