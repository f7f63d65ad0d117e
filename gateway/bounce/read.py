"""Reads a message that came back."""

from __future__ import annotations

from gateway.bounce.feedback import read_feedback
from gateway.bounce.notification import read_notification
from gateway.bounce.other import read_other
from gateway.bounce.part import parts_of
from gateway.bounce.report import Form, Report


def read_report(message: bytes) -> Report:
    """What a message says of recipients; never raises, in time bounded by its size.

    A standard form counts before what a search of the text may find.  What a returned
    message holds is never taken for a report itself.
    """
    parts = parts_of(message)
    return (
        read_feedback(parts)
        or read_notification(parts)
        or read_other(message, parts)
        or Report(Form.NONE)
    )
