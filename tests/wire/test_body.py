import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.wire.body import BodyParser, Stuffer, normalise, unstuff, whole_body


def scan(pieces):
    """Feeds pieces to their end: body, rest (None if it did not end), the parser."""
    parser, body = BodyParser(), []
    for index, piece in enumerate(pieces):
        chunk, rest = parser.feed(piece)
        body.append(chunk)
        if rest is not None:
            return b"".join(body), rest + b"".join(pieces[index + 1 :]), parser
    return b"".join(body), None, parser


def naive(data):
    """The same, by the book: look at CRLF-ended lines, one by one."""
    body, at = b"", 0
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            return body, None
        line = data[at : end + 2]
        at = end + 2
        if line == b".\r\n":
            return body, data[at:]
        body += line


def plain(body):
    return b"\r\n".join(line.removeprefix(b".") for line in body.split(b"\r\n"))


def cut(data, cuts):
    edges = [0, *sorted(min(place, len(data)) for place in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


STREAMS = st.lists(
    st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"x", b"\0", b"\r\n.", b"\r\n.\r\n", b"text"]),
    max_size=24,
).map(b"".join)
CUTS = st.lists(st.integers(0, 90), max_size=8)


@given(STREAMS.map(lambda data: data + b"\r\n.\r\n") | STREAMS)
def test_a_whole_plain_body_is_what_the_parser_makes_of_it(data):
    """What is taken at once is what the parser would read, with nothing for it to note."""
    body = whole_body(data)
    got, rest, parser = scan([data])
    plain_and_whole = rest == b"" and not (parser.bare or parser.nul or parser.stuffed)
    if body is not None:
        assert plain_and_whole
        assert body == got
    elif plain_and_whole:
        assert data == b".\r\n"  # no body at all, which is left to the parser


@given(STREAMS, CUTS)
def test_any_split_agrees_with_reading_line_by_line(data, cuts):
    """However it is cut, body, rest, sizes and notes are those of the naive reading."""
    body, rest = naive(data)
    for pieces in ([data], cut(data, cuts), [bytes([byte]) for byte in data]):
        got, got_rest, parser = scan(pieces)
        assert got_rest == rest
        if rest is None:
            # What ends without a dot was handed on but for the bytes kept back.
            assert data.startswith(got)
            assert len(data) - len(got) <= 2
            continue
        assert got == body
        assert parser.wire_size == len(body)
        assert parser.size == len(plain(body))
        assert parser.stuffed == (plain(body) != body)
        assert parser.bare_cr == bool(re.search(rb"\r(?!\n)", body))
        assert parser.bare_lf == bool(re.search(rb"(?<!\r)\n", body))
        assert parser.bare == (parser.bare_cr or parser.bare_lf)


@given(STREAMS, CUTS)
def test_a_chunk_tells_of_its_bare_ends_before_it_is_sent_on(data, cuts):
    """After each feed the notes cover every chunk handed out so far."""
    parser, sent = BodyParser(), b""
    for piece in cut(data, cuts):
        chunk, rest = parser.feed(piece)
        sent += chunk
        assert parser.bare == bool(re.search(rb"\r(?!\n)|(?<!\r)\n", sent))
        if rest is not None:
            assert sent == b"" or sent.endswith(b"\r\n")
            break


@given(STREAMS, CUTS)
def test_unstuffing_is_the_same_for_any_split(data, cuts):
    """Dots are taken from line starts only, wherever the chunks end."""
    expected = plain(data)
    for pieces in ([data], cut(data, cuts), [bytes([byte]) for byte in data]):
        assert b"".join(unstuff(pieces)) == expected


@given(STREAMS, CUTS)
def test_normalising_keeps_the_end_where_it_was(data, cuts):
    """A normalised body has only CRLF ends, means the same lines and cannot end early."""
    body, _ = naive(data)
    expected_lines = re.split(rb"\r\n|\r|\n", plain(body))
    for pieces in ([body], cut(body, cuts), [bytes([byte]) for byte in body]):
        clean = b"".join(normalise(pieces))
        assert not re.search(rb"\r(?!\n)|(?<!\r)\n", clean)
        assert naive(clean + b".\r\nREST") == (clean, b"REST")
        assert plain(clean).split(b"\r\n") == expected_lines


@given(STREAMS, CUTS)
def test_stuffing_is_undone_by_unstuffing_and_never_ends_early(data, cuts):
    """Any message, stuffed in any pieces, ends only at the final dot and reads as it was."""
    for pieces in ([data], cut(data, cuts), [bytes([byte]) for byte in data]):
        stuffer = Stuffer()
        wire = b"".join(map(stuffer.feed, pieces))
        end = stuffer.finish()
        assert naive(wire + end + b".\r\nREST") == (wire + end, b"REST")
        assert b"".join(unstuff([wire])) == data
        assert end == (b"" if not data or data.endswith(b"\r\n") else b"\r\n")


def test_a_clean_body_is_normalised_to_itself():
    body = b"a\r\n..b\r\n\r\nc\r\n"
    assert b"".join(normalise([body])) == body


SMUGGLED = [
    b"\n.\n",
    b"\r.\r",
    b"\r\n.\n",
    b"\n.\r\n",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\r.\n",
    b"\n.\r",
    b"\r\n.\0\r\n",
    b"\r\n\0.\r\n",
    b"\r\0\n.\r\n",
    b"\r\n.\r\0\n",
    b"\0\r\n. \r\n",
    b"\r\n.\r\r\n",
    b"\r\r\n..\r\n",
    b"\n\n.\r\n",
    b"\r\n .\r\n",
    b"\r\n..\r\n",
    b"\r\n.\x85",
    b"\r\n.\xc2\x85\r\n",
]


@pytest.mark.parametrize("end", SMUGGLED)
def test_nothing_but_crlf_dot_crlf_ends_the_data(end):
    data = b"Subject: x\r\n\r\nhello" + end + b"MAIL FROM:<evil@example.test>\r\n"
    for pieces in ([data], [bytes([byte]) for byte in data]):
        body, rest, _ = scan(pieces)
        assert rest is None
        assert body == data
    body, rest, _ = scan([data + b".\r\nQUIT\r\n"])
    assert (body, rest) == (data, b"QUIT\r\n")
    clean = b"".join(normalise([data]))
    assert naive(clean + b".\r\n") == (clean, b"")


def test_an_empty_body_ends_at_once():
    assert scan([b".\r\nQUIT\r\n"])[:2] == (b"", b"QUIT\r\n")
    assert scan([b".", b"\r", b"\n"])[:2] == (b"", b"")


def test_a_large_body_passes_whole():
    body = b"".join(b"%06d some text. and more\r\n" % index for index in range(20_000)) + b"..x\r\n"
    data = body + b".\r\n"
    got, rest, parser = scan([data[at : at + 65536] for at in range(0, len(data), 65536)])
    assert (got, rest) == (body, b"")
    assert parser.size == len(body) - 1
    assert parser.stuffed and not parser.bare
