from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.lines import MAX_AUTH_LINE, MAX_LINE, CommandParser, LineFault


def split(chunks, dialogue=False):
    parser, lines = CommandParser(dialogue=dialogue), []
    for chunk in chunks:
        parser.feed(chunk)
        while (line := parser.next_line()) is not None:
            lines.append(line)
    return lines


@pytest.mark.parametrize(
    ("data", "lines"),
    [
        (b"NOOP\r\nQUIT\r\n", [b"NOOP", b"QUIT"]),
        (b"\r\n", [b""]),
        (b"NOOP", []),
        (b"NOOP\n", [LineFault.BARE_LF]),
        (b"NOOP\nQUIT\n", [LineFault.BARE_LF, LineFault.BARE_LF]),
        (b"A\nRCPT TO:<x>\r\nNOOP\r\n", [LineFault.BARE_LF, b"NOOP"]),
        (b"A\n\r\nNOOP\r\n", [LineFault.BARE_LF, b"NOOP"]),
        (b"A\rB\r\nNOOP\r\n", [LineFault.CONTROL, b"NOOP"]),
        (b"A\r\r\n", [LineFault.CONTROL]),
        (b"A\0\r\n", [LineFault.CONTROL]),
        (b"x" * (MAX_LINE - 2) + b"\r\n", [b"x" * (MAX_LINE - 2)]),
        (b"x" * (MAX_LINE - 1) + b"\r\nNOOP\r\n", [LineFault.TOO_LONG, b"NOOP"]),
        (b"x" * 50_000 + b"\r\nNOOP\r\n", [LineFault.TOO_LONG, b"NOOP"]),
        (b"x" * 50_000 + b"\nNOOP\r\nRSET\r\n", [LineFault.BARE_LF, b"RSET"]),
        (b"auth " + b"x" * 3000 + b"\r\n", [b"auth " + b"x" * 3000]),
        (b"AUTH " + b"x" * MAX_AUTH_LINE + b"\r\n", [LineFault.TOO_LONG]),
    ],
)
def test_lines(data, lines):
    assert split([data]) == lines
    assert split([bytes([byte]) for byte in data]) == lines


def test_an_answer_in_an_auth_dialogue_may_be_longer():
    data = b"x" * 3000 + b"\r\n"
    assert split([data]) == [LineFault.TOO_LONG]
    assert split([data], dialogue=True) == [data[:-2]]


def test_the_rest_is_handed_over_once():
    parser = CommandParser()
    parser.feed(b"DATA\r\nSubject: x\r\n.\r\nQUIT\r\n")
    assert parser.next_line() == b"DATA"
    assert parser.take_rest() == b"Subject: x\r\n.\r\nQUIT\r\n"
    assert parser.take_rest() == b""
    assert parser.next_line() is None
    parser.feed(b"QUIT\r\n")
    assert parser.next_line() == b"QUIT"


def test_an_endless_line_costs_no_memory():
    parser = CommandParser()
    for _ in range(1000):
        parser.feed(b"x" * 10_000)
        assert parser.next_line() is None
        assert len(parser._buffer) - parser._at <= MAX_AUTH_LINE


STREAMS = st.lists(
    st.sampled_from([b"NOOP", b"\r\n", b"\r", b"\n", b"\0", b"AUTH ", b"x" * 2100, b"y" * 4100]),
    max_size=12,
).map(b"".join)


@given(STREAMS, st.lists(st.integers(0, 30_000), max_size=6))
def test_any_split_gives_the_same_lines(data, cuts):
    """Cut anywhere, the same bytes give the same lines and faults."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = [data[a:b] for a, b in pairwise(edges)]
    assert split(pieces) == split([data])


@given(STREAMS)
def test_only_what_stands_between_two_crlf_is_a_command(data):
    """Every accepted line is one of the pieces between CRLFs, in their order."""
    pieces = iter(data.split(b"\r\n"))
    for line in split([data]):
        if isinstance(line, bytes):
            assert b"\n" not in line and b"\r" not in line
            assert any(piece == line for piece in pieces)


_MIXED = st.lists(
    st.sampled_from(
        [
            *(b"RCPT TO:<a@b.example>\r\n", b"rcpt x\r\n", b"RCPT \r\n", b"NOOP\r\n", b"DATA\r\n"),
            *(
                b"RCPT a\nb\r\n",
                b"RCPT a\rb\r\n",
                b"RCPT a\0b\r\n",
                b"RCPT " + b"x" * 1100 + b"\r\n",
            ),
            *(b"RCPT TO:<a", b"\r\n", b"\n", b"RCPT " + b"x" * 3000 + b"\r\n"),
        ]
    ),
    max_size=10,
).map(b"".join)


@given(_MIXED, st.lists(st.integers(0, 4000), max_size=4))
def test_a_run_of_recipients_is_the_same_lines(data, cuts):
    """Lines taken in runs are those that are taken one by one, and nothing is left of them."""
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parser, lines = CommandParser(), []
    for start, end in pairwise(edges):
        parser.feed(data[start:end])
        while True:
            run = parser.rcpt_run()
            if run is not None:
                lines += run[:-2].split(b"\r\n")
                continue
            line = parser.next_line()
            if line is None:
                break
            lines.append(line)
    assert lines == split([data])
    rest = parser.empty
    assert parser.take_rest() == b"" or not rest


def test_a_client_that_answers_a_challenge_sends_no_recipients():
    parser = CommandParser(dialogue=True)
    parser.feed(b"RCPT TO:<a@b.example>\r\n")
    assert parser.rcpt_run() is None
    assert parser.next_line() == b"RCPT TO:<a@b.example>"
