"""Complaints: abuse feedback reports (RFC 5965).

Reports often leave the recipient out.  Then the link in the returned message's
List-Unsubscribe field tells who it went to, since each link is sealed for one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from gateway.bounce.address import bare_address
from gateway.bounce.part import Part, split
from gateway.bounce.report import Complaint, Feedback, Form, Report
from gateway.bounce.returned import link_tokens, message_id, returned

TYPE: Final = "message/feedback-report"
MOST: Final = 100
"""Recipients of one report that are looked at."""

_TYPES: Final = {
    **{one.value: one for one in Feedback if one is not Feedback.UNKNOWN},
    "opt-out-list": Feedback.OPT_OUT,
}


def read_feedback(parts: Sequence[Part]) -> Report | None:
    """What a complaint says; None: there is none in the parts."""
    report = next((part for part in parts if part.content_type == TYPE), None)
    if report is None:
        return None
    fields, _ = split(report.body.lstrip(b"\n"))
    kinds = {value.strip().lower() for value in fields.values(b"feedback-type")}
    headers = returned(parts)
    # Microsoft's service names the recipient in a field of the returned message.
    named = [*fields.values(b"original-rcpt-to"), *headers.values(b"x-hmxmroriginalrecipient")]
    recipients = dict.fromkeys(filter(None, map(bare_address, named[:MOST])))
    complaint = Complaint(_feedback(kinds), tuple(recipients), link_tokens(headers))
    return Report(Form.FEEDBACK, complaint=complaint, message_id=message_id(headers))


def _feedback(kinds: set[str]) -> Feedback:
    """What one report says; of one that says two things, nothing is believed."""
    if len(kinds) != 1:
        return Feedback.UNKNOWN
    return _TYPES.get(kinds.pop(), Feedback.UNKNOWN)
