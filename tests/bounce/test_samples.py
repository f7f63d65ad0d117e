"""What is read of bounces in the shapes that mail servers write."""

import pytest

from gateway.bounce.read import read_report
from gateway.bounce.report import Feedback, Form
from gateway.bounce.status import Trouble
from gateway.entry.entry import DeliveryReason
from tests.bounce.samples import NO_REPORTS, NOTIFICATIONS, OTHERS, TOKEN, Sample, feedback

SAMPLES = [
    *((one, Form.NOTIFICATION) for one in NOTIFICATIONS),
    *((one, Form.OTHER) for one in OTHERS),
    *((one, Form.NONE) for one in NO_REPORTS),
]


@pytest.mark.parametrize(("sample", "form"), SAMPLES, ids=[one.name for one, _ in SAMPLES])
@pytest.mark.parametrize("newline", [b"\r\n", b"\n"], ids=["crlf", "lf"])
def test_what_a_server_says_is_read(sample: Sample, form: Form, newline: bytes) -> None:
    report = read_report(sample.octets.replace(b"\r\n", newline))
    assert report.form is form
    assert {one.recipient: one.status for one in report.failures} == sample.hard
    written_to = {one.recipient: one.written_to for one in report.failures if one.written_to}
    assert written_to == sample.written_to
    assert report.spared == sample.spared
    assert report.message_id == sample.message_id
    assert report.complaint is None


def test_a_failure_tells_its_reason_and_the_codes_subject() -> None:
    [failure] = read_report(NOTIFICATIONS[0].octets).failures
    assert failure.reason is DeliveryReason.HARD_BOUNCE
    assert failure.trouble is Trouble.ADDRESS


@pytest.mark.parametrize("kind", ["abuse", "fraud", "virus", "other", "Abuse"])
def test_a_complaint_names_who_complained(kind: str) -> None:
    report = read_report(feedback(kind, "Original-Rcpt-To: <matti@asiakas.example>"))
    complaint = report.complaint
    assert report.form is Form.FEEDBACK
    assert complaint is not None
    assert complaint.feedback is Feedback(kind.lower())
    assert complaint.recipients == ("matti@asiakas.example",)
    assert complaint.reason is DeliveryReason.COMPLAINT
    assert not complaint.objects
    assert report.failures == ()


def test_a_complaint_without_the_recipient_still_has_the_links_token() -> None:
    complaint = read_report(feedback("abuse")).complaint
    assert complaint is not None
    assert complaint.recipients == ()
    assert complaint.tokens == (TOKEN,)


def test_microsofts_field_names_the_recipient() -> None:
    report = read_report(feedback("abuse", more="X-HmXmrOriginalRecipient: matti@live.example\n"))
    assert report.complaint is not None
    assert report.complaint.recipients == ("matti@live.example",)


TWO = [f"{one}\nFeedback-Type: not-spam" for one in ("abuse", "fraud", "virus", "other")]


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "dmarc", "", *TWO])
def test_what_is_no_complaint_gives_no_reason(kind: str) -> None:
    complaint = read_report(feedback(kind, "Original-Rcpt-To: matti@asiakas.example")).complaint
    assert complaint is not None
    assert complaint.reason is None
    assert not complaint.objects


@pytest.mark.parametrize("kind", ["opt-out", "opt-out-list"])
def test_an_opt_out_is_an_objection(kind: str) -> None:
    complaint = read_report(feedback(kind, "Original-Rcpt-To: matti@asiakas.example")).complaint
    assert complaint is not None
    assert complaint.objects
    assert complaint.reason is None


def test_a_report_inside_a_returned_message_is_not_believed() -> None:
    inner = NOTIFICATIONS[0].octets
    outer = (
        b"From: matti@asiakas.example\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/plain\r\n\r\nsee below\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
    )
    report = read_report(outer)
    assert report.form is not Form.NOTIFICATION
    inside = read_report(feedback("abuse", more=inner.decode().replace("\r\n", "\n")))
    assert inside.failures == ()
