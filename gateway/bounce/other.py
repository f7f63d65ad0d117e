"""Bounces in the forms of some servers' own, as flufl.bounce knows them.

The library takes the standard library's messages and searches their lines with many
patterns; both take time that the sender chooses.  So it gets the beginning of the message
only, its long lines cut, and none that nests.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from email import message_from_bytes
from typing import Final

from flufl.bounce import all_failures

from gateway.bounce.address import bare_address
from gateway.bounce.part import Part
from gateway.bounce.report import Failure, Form, Report
from gateway.bounce.returned import message_id, returned
from gateway.bounce.status import judge
from gateway.bounce.told import told_of, words_of
from gateway.entry.entry import DeliveryReason

BEGINNING: Final = 32 * 1024
"""Octets of a message that are looked at."""
_LINES: Final = 600
_NESTING: Final = 12
_long_line = re.compile(rb"([^\n]{300})[^\n]+")
_long_field = re.compile(rb"^([!-9;-~]+:(?:[^\n]*\n[ \t]){12})(?:[^\n]*\n[ \t])+", re.MULTILINE)
_nests = re.compile(rb"boundary|message/", re.IGNORECASE)

# It logs what it stumbles over, addresses and all.
logging.getLogger("flufl.bounce").disabled = True


def read_other(message: bytes, parts: Sequence[Part]) -> Report | None:
    """What a bounce of no standard form says; None: it is no bounce.

    An address that the library finds is a failure where code or words say why: its own
    judgement tells permanent and temporary troubles apart, not gone mailboxes and full ones.
    """
    shortened = _shortened(message)
    if len(_nests.findall(shortened)) > _NESTING:
        return None
    try:
        temporary, permanent = all_failures(message_from_bytes(shortened))
    except Exception:
        # Whatever a stranger's message does to it: then it is no bounce that we can read.
        return None
    gone = sorted(filter(None, (bare_address(one.decode("utf-8", "replace")) for one in permanent)))
    if not gone and not temporary:
        return None
    failures, words = [], words_of(parts)
    for recipient in gone:
        verdict = judge("", told_of(words, recipient))
        if not (verdict.hard or verdict.status) and len(gone) == 1:
            verdict = judge("", words)
        if verdict.hard:
            reason = DeliveryReason.HARD_BOUNCE
            failures.append(Failure(recipient, reason, verdict.status, verdict.trouble))
    return Report(
        Form.OTHER,
        tuple(failures),
        len(temporary) + len(gone) - len(failures),
        message_id=message_id(returned(parts)),
    )


def _shortened(message: bytes) -> bytes:
    plain = message[:BEGINNING].replace(b"\r\n", b"\n")
    lines = _long_line.sub(rb"\1", plain).split(b"\n")[:_LINES]
    return _long_field.sub(rb"\1", b"\n".join(lines))
