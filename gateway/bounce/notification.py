"""Delivery status notifications (RFC 3464; internationalised, RFC 6533)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gateway.bounce.address import typed_address, without_xtext
from gateway.bounce.part import HEADER, Part
from gateway.bounce.report import Failure, Form, Report
from gateway.bounce.returned import link_tokens, message_id, returned
from gateway.bounce.status import TEXT, judge
from gateway.bounce.told import told_of, words_of
from gateway.entry.entry import DeliveryReason
from gateway.message.headers import HeaderSection

TYPES: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
MOST: Final = 1000
"""Recipients of one notification that are looked at."""

_blank = re.compile(rb"\n[ \t]*\n")
_FAILED: Final = ("fail", "error")
"""How the field Action begins; ``error`` is what OpenSMTPD writes."""


def read_notification(parts: Sequence[Part]) -> Report | None:
    """What a notification says; None: there is none in the parts, or it tells of nobody."""
    statuses = [part for part in parts if part.content_type in TYPES]
    if not statuses:
        return None
    failures: dict[tuple[str, str], Failure] = {}
    words = words_of(parts)
    spared = seen = 0
    for status in statuses:
        for block in _blank.split(status.body, MOST)[:MOST]:
            fields = HeaderSection(block.strip(b"\n")[:HEADER] + b"\n")
            if b"action" not in fields or seen >= MOST:
                continue
            seen += 1
            failure = _failure(fields, words)
            if failure is None:
                spared += 1
            else:
                failures[failure.recipient, failure.written_to] = failure
    if not seen:
        return None
    headers = returned(parts)
    return Report(
        Form.NOTIFICATION,
        tuple(failures.values()),
        spared,
        message_id=message_id(headers),
        tokens=link_tokens(headers),
    )


def _failure(fields: HeaderSection, words: str) -> Failure | None:
    """The failure that a group of fields tells of; None: it is none, or not a hard one.

    ``words`` is the text that is for people.
    """
    if not (fields.first(b"action") or "").strip().lower().startswith(_FAILED):
        return None
    original = typed_address(fields.first(b"original-recipient") or "")
    final = typed_address(fields.first(b"final-recipient") or "")
    if original != final:
        original = without_xtext(original)
    if not (original or final):
        return None
    diagnostic = (fields.first(b"diagnostic-code") or "")[:TEXT].partition(";")
    said = diagnostic[2] or diagnostic[0]
    status = fields.first(b"status") or ""
    verdict = judge(status, said)
    if not verdict.hard and not said:
        # Exim tells of its own refusals in the text for people alone.
        verdict = judge(status, told_of(words, final))
    if not verdict.hard:
        return None
    written_to = "" if original == final else original
    return Failure(
        final, DeliveryReason.HARD_BOUNCE, verdict.status, verdict.trouble, written_to=written_to
    )
