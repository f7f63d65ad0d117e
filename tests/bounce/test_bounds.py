"""Whatever a stranger sends is read without an error, and soon."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.bounce.address import LONGEST, bare_address, typed_address
from gateway.bounce.other import BEGINNING
from gateway.bounce.part import HEADER, MOST, parts_of
from gateway.bounce.read import read_report
from gateway.bounce.report import Form
from gateway.bounce.status import judge
from tests.bounce.samples import NOTIFICATIONS, OTHERS, feedback

MIB = 1024 * 1024
SECONDS = 10
"""Of a processor that no message of some mebibytes may take; the worst takes half a second."""

_WORDS = [
    b"Content-Type: multipart/report; boundary=b\r\n",
    b"Content-Type: message/delivery-status\r\n",
    b"Content-Type: message/feedback-report\r\n",
    b"Content-Transfer-Encoding: base64\r\n",
    b"--b\r\n",
    b"--b--\r\n",
    b"\r\n",
    b"Action: failed\r\n",
    b"Status: 5.1.1\r\n",
    b"Final-Recipient: rfc822; a@b.example\r\n",
    b"Original-Recipient: utf-8; \\x{110000}\\x{D800}@b.example\r\n",
    b"Feedback-Type: abuse\r\n",
    b"X-Failed-Recipients: a@b.example\r\n",
    b"<a@b.example>: 550 5.1.1 unknown\r\n",
    b"\xff\x00\r",
]
_messages = st.one_of(
    st.binary(max_size=2000),
    st.lists(st.sampled_from(_WORDS), max_size=40).map(b"".join),
    st.sampled_from([one.octets for one in (*NOTIFICATIONS, *OTHERS)]).flatmap(
        lambda octets: st.tuples(st.integers(0, len(octets)), st.binary(max_size=8)).map(
            lambda cut: octets[: cut[0]] + cut[1] + octets[cut[0] + len(cut[1]) :]
        )
    ),
)


@settings(deadline=None)
@given(_messages)
@example(b"")
@example(b"Content-Type: multipart/report; boundary=\r\n\r\n--\r\n")
def test_any_octets_are_read(message: bytes) -> None:
    report = read_report(message)
    for failure in report.failures:
        for address in (failure.recipient, failure.written_to):
            assert not address or 3 <= len(address) <= LONGEST
        assert failure.recipient or failure.written_to
        assert failure.status == "" or failure.status[0] == "5"


@settings(deadline=None)
@given(st.integers(0, len(NOTIFICATIONS) - 1), st.data())
def test_a_cut_notification_names_nobody_else(which: int, data: st.DataObject) -> None:
    sample = NOTIFICATIONS[which]
    end = data.draw(st.integers(0, len(sample.octets)))
    named = {one.recipient for one in read_report(sample.octets[:end]).failures}
    # A cut address is another one: of it alone a cut message may tell besides.
    assert all(any(whole.startswith(name) for whole in _addresses(sample)) for name in named)


def _addresses(sample) -> list[str]:
    words = sample.octets.decode().replace(";", " ").replace("<", " ").replace(">", " ").split()
    return [*sample.hard, *(word for word in words if "@" in word)]


@given(st.text(max_size=400))
def test_any_field_gives_one_address_or_none(text: str) -> None:
    for address in (bare_address(text), typed_address(text)):
        assert address == "" or ("@" in address and "\n" not in address.partition("@")[2])


@given(st.text(max_size=100), st.text(max_size=3000))
def test_any_refusal_is_judged(status: str, text: str) -> None:
    verdict = judge(status, text)
    assert verdict.trouble is not None
    assert not (verdict.hard and verdict.status.startswith("4"))


def _nested(depth: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n" % (n, n) for n in range(depth)
    )
    return head + b"\n" + b"x\n" * ((MIB - len(head)) // 2)


def _status(line: bytes) -> bytes:
    head = (
        b"Content-Type: message/delivery-status\n\nAction: failed\nFinal-Recipient: rfc822; a@b\n"
    )
    return head + line * (MIB // len(line))


def _notification(text: bytes, block: bytes, blocks: int = 1000) -> bytes:
    """A notification with a text for people and many recipients."""
    return b"\n".join(
        (
            b"Content-Type: multipart/report; boundary=b\n\n--b\nContent-Type: text/plain\n",
            text,
            b"--b\nContent-Type: message/delivery-status\n",
            b"\n\n".join(
                b"Final-Recipient: rfc822; a%d@b.example\nAction: failed\n%b" % (number, block)
                for number in range(blocks)
            ),
            b"--b--\n",
        )
    )


HOSTILE = {
    "a line of dashes": _notification(b"-" * 60_000, b"Status: 5.0.0"),
    "a word without an end": _notification(b"", b"Diagnostic-Code: smtp; " + b"x" * 2000),
    "names without an end": _notification(b"", b"Diagnostic-Code: smtp; " + b"a.-" * 660),
    "many told of in words": _notification(
        b"\n".join(b"a%d@b.example" % number for number in range(4000)), b"Status: 5.0.0"
    ),
    "a word behind an address": _notification(b"a1@b.example " + b"x" * 60_000, b"Status: 5.0.0"),
    "spaces told of in words": _notification(b"From" + b" " * 60_000, b"Status: 5.0.0"),
    "deep": _nested(8000),
    "many parts": b"Content-Type: multipart/mixed; boundary=b\n\n" + b"--b\n\n" * (MIB // 5),
    "boundary everywhere": b"Content-Type: multipart/mixed; boundary=-\n\n" + b"-" * MIB,
    "digest": b"Content-Type: multipart/digest; boundary=b\n\n" + b"--b\n\n" * (MIB // 5),
    "messages in messages": b"Content-Type: message/rfc822\n\n" * (MIB // 30),
    "huge header": b"Subject: " + b"x" * MIB + b"\n\n",
    "huge folded header": b"Subject: x\n" + b" x\n" * (MIB // 3),
    "many fields": b"a: b\n" * (MIB // 5),
    "parameters": b"Content-Type: multipart/mixed; " + b";" * MIB + b"\n\n",
    "quoted parameters": b'Content-Type: multipart/mixed; a="' + b"\\" * MIB + b"\n\n",
    "one line": b"From: MAILER-DAEMON@x\n\n" + b"x" * MIB,
    "brackets": b"From: MAILER-DAEMON@x\n\n" + b"<" * MIB,
    "bracket lines": b"From: MAILER-DAEMON@x\n\n" + (b"<" * 900 + b"\n") * (MIB // 901),
    "at signs": b"From: MAILER-DAEMON@x\n\n" + (b"a@" * 400 + b"\n") * (MIB // 801),
    "spaces": b"From: MAILER-DAEMON@x\n\n" + (b" " * 900 + b"\n") * (MIB // 901),
    "empty lines": b"From: MAILER-DAEMON@x\n\n" + b"\n" * MIB,
    "blocks": _status(b"\nAction: failed\nStatus: 5.1.1\nFinal-Recipient: rfc822; a@b\n"),
    "long diagnostic": _status(b"Diagnostic-Code: smtp; " + b"5.1." * 4000 + b"\n\n"),
    "diagnostic of dots": _status(b"\nAction: failed\nDiagnostic-Code: " + b"a." * 1000 + b"\n"),
    "base64": b"Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n"
    + b"QUJD\n" * (MIB // 5),
    "feedback": b"Content-Type: message/feedback-report\n\n"
    + b"Original-Rcpt-To: a@b\n" * (MIB // 22),
}


@pytest.mark.parametrize("message", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_message_takes_no_time(message: bytes) -> None:
    began = time.process_time()
    read_report(message)
    assert time.process_time() - began < SECONDS


def test_few_parts_and_levels_are_opened() -> None:
    assert len(parts_of(HOSTILE["many parts"])) == MOST
    assert len(parts_of(HOSTILE["deep"])) == 1


def test_a_report_behind_much_text_is_found() -> None:
    [head, rest] = feedback("abuse").split(b"This is an email abuse report", 1)
    long = head + b"This is long.\r\n" * (2 * BEGINNING // 15) + rest
    assert read_report(long).form is Form.FEEDBACK


def test_of_a_header_section_without_end_the_beginning_is_looked_at() -> None:
    """The search for fields cannot be interrupted: all else would wait for it."""
    for end in (b"", b"\r\nbody"):
        [part] = parts_of(b"Subject: x\r\n" + b"A:\r\n" * (MIB // 4) + b"Last: y\r\n" + end)
        assert len(part.headers.octets) <= HEADER + 1
        assert part.headers.first(b"subject") == "x"
        assert b"last" not in part.headers
        assert part.body == end.lstrip()
