"""What browsers and mail programs send, read without trust."""

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.parse import parse_contact
from gateway.page.form import LARGEST, FormError, is_one_click, read_form
from gateway.page.language import LANGUAGES, known, language_of, preferred
from gateway.page.masked import masked

URLENCODED = "application/x-www-form-urlencoded"


def multipart(boundary: str, *fields: tuple[str, str]) -> bytes:
    lines = []
    for name, value in fields:
        lines += [
            f"--{boundary}",
            f'Content-Disposition: form-data; name="{name}"',
            "",
            value,
        ]
    return "\r\n".join([*lines, f"--{boundary}--", ""]).encode()


def test_the_example_of_the_rfc_is_read():
    """RFC 8058 section 8.2, both ways of writing it."""
    body = (
        b"---FormBoundaryjWmhtjORrn\r\n"
        b'Content-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
        b"One-Click\r\n"
        b"---FormBoundaryjWmhtjORrn--\r\n"
    )
    fields = read_form("multipart/form-data; boundary=-FormBoundaryjWmhtjORrn", body)
    assert fields == {"List-Unsubscribe": "One-Click"}
    assert is_one_click(fields)
    assert is_one_click(read_form(URLENCODED, b"List-Unsubscribe=One-Click"))


@pytest.mark.parametrize(
    ("content_type", "body", "fields"),
    [
        (URLENCODED + "; charset=utf-8", b"a=%C3%A4&b=1+2", {"a": "ä", "b": "1 2"}),
        ("", b"List-Unsubscribe=One-Click\r\n", {"List-Unsubscribe": "One-Click"}),
        ("text/plain", b"a=1&a=2", {"a": "1"}),
        (URLENCODED, b"", {}),
        (URLENCODED, b"a", {"a": ""}),
        (URLENCODED, b"a=\xff", {"a": "\ufffd"}),
        ('multipart/form-data; boundary="x y"', multipart("x y", ("a", "1")), {"a": "1"}),
        ("multipart/form-data; boundary=x", multipart("y", ("a", "1")), {}),
        ("multipart/form-data", multipart("y", ("a", "1")), {}),
        ("multipart/form-data; boundary=x", b"", {}),
    ],
)
def test_forms_are_read_in_both_ways(content_type, body, fields):
    assert read_form(content_type, body) == fields


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (URLENCODED, b"a" * (LARGEST + 1)),
        (URLENCODED, b"&".join(b"a%d=1" % n for n in range(31))),
        ("multipart/form-data; boundary=x", multipart("x", *((f"a{n}", "") for n in range(31)))),
    ],
)
def test_a_form_beyond_its_bounds_is_refused(content_type, body):
    with pytest.raises(FormError):
        read_form(content_type, body)


def test_a_form_of_parts_in_parts_is_read_in_bounded_time():
    """The library's reader asks every open boundary of every line: seconds of the loop."""
    levels = b"".join(
        b"Content-Type:multipart/a;boundary=%x\r\n\r\n--%x\r\n" % (n, n) for n in range(1, 400)
    )
    body = (b"--0\r\n" + levels + b"\n" * LARGEST)[:LARGEST]
    began = time.process_time()
    assert read_form("multipart/form-data; boundary=0", body) == {}
    assert time.process_time() - began < 0.3  # measured: two thousandths


@given(st.sampled_from(["multipart/form-data; boundary=x", URLENCODED, ""]), st.binary())
def test_whatever_comes_is_fields_or_refused(content_type, body):
    try:
        fields = read_form(content_type, body)
    except FormError:
        return
    assert all(isinstance(text, str) for pair in fields.items() for text in pair)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.binary(max_size=300))
def test_whatever_the_header_says_nothing_but_a_form_error_comes_of_it(parameter, rest):
    for body in (rest, b"--x\r\nContent-Disposition: form-data; name=" + rest + b"\r\n\r\n1"):
        with suppress(FormError):
            read_form(f"multipart/form-data; boundary=x; {parameter}", body)


@given(
    st.dictionaries(
        st.text("abcxyz-", min_size=1, max_size=10),
        st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=30),
        max_size=5,
    )
)
def test_a_form_sent_as_parts_is_read_as_it_was(fields):
    body = multipart("BOUNDARY7", *fields.items())
    assert read_form("multipart/form-data; boundary=BOUNDARY7", body) == fields


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("sv", "sv"),
        ("sv-FI,sv;q=0.9,en;q=0.8", "sv"),
        ("en;q=0.2, fi;q=0.3", "fi"),
        ("de,fr", None),
        ("*", None),
        ("en;q=0, sv;q=0.1", "sv"),
        ("en;q=x, sv;q=9, fi;q=0.001", "fi"),
        ("EN-gb", "en"),
        ("fin", None),
        ("", None),
    ],
)
def test_the_browsers_language_with_the_greatest_weight_counts(header, language):
    assert preferred(header) == language


@given(st.text(), st.text(), st.text())
def test_there_is_always_a_language(asked, of_link, header):
    assert language_of(asked, of_link, header) in LANGUAGES
    assert known(asked) in (None, *LANGUAGES)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("maija@example.com", "m…a@example.com"),
        ("ma@example.com", "m…@example.com"),
        ("m@example.com", "m…@example.com"),
        ("maija@xn--hkk-qlac.example", "m…a@häkkä.example"),
        ("+358401234567", "+35…67"),
    ],
)
def test_a_contact_is_shown_in_part(address, shown):
    assert masked(parse_contact(address)) == shown
