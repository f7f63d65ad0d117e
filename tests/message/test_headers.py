"""The header section: one reading, no byte changed."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.message.headers import HeaderSection

SECTION = (
    b"From: a@lamisnet.fi\r\n"
    b"X-Gateway-Kind: service\r\n"
    b"Subject: one\r\n two\r\n\tthree\r\n"
    b"x-gateway-topic : news\r\n folded\r\n"
    b"To: b@example.com\r\n"
)


def test_fields_are_found_with_folding_and_case():
    headers = HeaderSection(SECTION)
    assert list(headers) == [
        b"from",
        b"x-gateway-kind",
        b"subject",
        b"x-gateway-topic",
        b"to",
    ]
    assert headers.first(b"subject") == "one two\tthree"
    assert headers.first(b"x-gateway-topic") == "news folded"


def test_named_fields_leave_with_their_continuations_and_nothing_else():
    left = HeaderSection(SECTION).without({b"x-gateway-kind", b"x-gateway-topic"})
    assert left == (
        b"From: a@lamisnet.fi\r\nSubject: one\r\n two\r\n\tthree\r\nTo: b@example.com\r\n"
    )


def test_every_duplicate_of_a_control_field_is_removed():
    section = b"X-Gateway-Kind: a\r\nA: 1\r\nx-GATEWAY-kind: b\r\n"
    assert HeaderSection(section).without({b"x-gateway-kind"}) == b"A: 1\r\n"


def test_a_line_that_is_no_field_ends_the_section():
    headers = HeaderSection(b"From: a@b.fi\r\nnot a field\r\nX-Gateway-Kind: service\r\n")
    assert b"x-gateway-kind" not in headers
    assert headers.without({b"x-gateway-kind"}).endswith(b"X-Gateway-Kind: service\r\n")


def test_bytes_outside_ascii_stay():
    section = b"Subject: \xe4\xff\r\nX-Gateway-Kind: x\r\n"
    assert HeaderSection(section).without({b"x-gateway-kind"}) == b"Subject: \xe4\xff\r\n"


_name = st.sampled_from([b"From", b"X-Gateway-Kind", b"x-gateway-topic", b"Subject", b"X"])
_line = st.binary(max_size=12).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b""))


@given(st.lists(st.tuples(_name, _line, st.lists(_line, max_size=2)), max_size=8))
def test_without_keeps_exactly_the_other_fields(fields):
    """What is left is the concatenation of the fields not named, in order."""
    whole, kept = b"", b""
    for name, value, continuations in fields:
        field = name + b":" + value + b"\r\n" + b"".join(b" " + c + b"\r\n" for c in continuations)
        whole += field
        if not name.lower().startswith(b"x-gateway"):
            kept += field
    assert HeaderSection(whole).without({b"x-gateway-kind", b"x-gateway-topic"}) == kept


@given(st.binary(max_size=200))
def test_any_bytes_are_read_without_failing_and_nothing_named_is_nothing_lost(octets):
    """Leaving out no field leaves every byte, whatever the input."""
    headers = HeaderSection(octets)
    assert headers.without(()) == octets
    assert 0 <= headers.end <= len(octets)


def by_the_book(octets):
    """The fields line by line: name, value with its continuations; and where they end."""
    fields, position = [], 0
    for line in lines_of(octets):
        if not line.endswith(b"\n"):
            break
        if fields and line[:1] in (b" ", b"\t"):
            fields[-1][1] += line
        else:
            name, colon, value = line.partition(b":")
            bare = name.rstrip(b" \t")
            if not colon or not bare or any(c < 33 or c > 126 for c in bare):
                break
            fields.append([bare.lower(), value])
        position += len(line)
    return [(name, value.strip()) for name, value in fields], position


def lines_of(octets):
    whole = octets.split(b"\n")
    return [line + b"\n" for line in whole[:-1]] + ([whole[-1]] if whole[-1] else [])


_pieces = st.lists(
    st.sampled_from(
        [b"A:", b"b : x", b"\r\n", b"\n", b" ", b"\t", b":", b"x", b"\xff", b"A: 1\r\n"]
    ),
    max_size=16,
).map(b"".join)


@given(_pieces)
def test_a_section_is_read_as_line_by_line(octets):
    """Found at once, the fields are those that a reader of lines finds, to the same end."""
    headers = HeaderSection(octets)
    fields, end = by_the_book(octets)
    assert headers.end == end
    names = list(dict.fromkeys(name for name, _ in fields))
    assert list(headers) == names
    for name in names:
        raw = [value.strip() for value in headers.raw(name)]
        assert raw == [value for other, value in fields if other == name]
