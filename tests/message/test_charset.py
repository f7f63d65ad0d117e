"""Charsets that mail names: known ones are read, and no name is kept that a stranger made up."""

import encodings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.inbound.request import read_request
from gateway.message.charset import decode, known, words
from gateway.message.headers import HeaderSection
from gateway.message.masking import masked_headers, masked_message
from gateway.message.optout import in_text
from gateway.message.traits import decoded

TEXT = "päivää"


@pytest.mark.parametrize(
    "name",
    [
        *("utf-8", "UTF8", "us-ascii", "iso-8859-1", "ISO_8859-15", "latin1", "windows-1252"),
        *("cp1252", "iso-8859-4", "utf-16", "utf-16le", "utf-32", "utf-7", "macintosh"),
    ],
)
def test_the_charsets_of_the_north_are_read(name):
    assert decode(TEXT.encode(name, "replace"), name) == TEXT.encode(name, "replace").decode(name)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("koi8-r", "привет"), ("koi8-u", "привіт"), ("windows-1251", "привет")),
        *(("iso-2022-jp", "日本"), ("shift_jis", "日本"), ("euc-kr", "한국"), ("big5", "中文")),
        *(("gb2312", "中文"), ("gb18030", "中文"), ("tis-620", "ไทย"), ("windows-1255", "שלום")),
    ],
)
def test_those_of_others_are_too(name, text):
    assert decode(text.encode(name), name) == text


@pytest.mark.parametrize(
    "name",
    [
        "",
        "no-such",
        "idna",
        "punycode",
        "rot13",
        "hex",
        "unicode_escape",
        "x\0y",
        "\udcff",
        "a" * 99,
    ],
)
def test_what_nobody_knows_is_read_as_utf8(name):
    with pytest.raises(LookupError):
        known(name)
    assert decode(TEXT.encode(), name) == TEXT


@given(st.text(max_size=50), st.binary(max_size=50))
def test_whatever_is_named_there_is_a_text(name, octets):
    decode(octets, name)


def test_encoded_words_are_read():
    assert words("=?iso-8859-1?q?p=E4iv=E4=E4?=") == TEXT
    for value in ("=?no-such?q?a?=", "=?utf-8?q?=ff?="):
        with pytest.raises((LookupError, ValueError)):
            words(value)


def test_the_names_that_strangers_make_up_are_kept_nowhere():
    """Each would be kept for ever: a few thousand messages filled the memory."""
    made_up = [f"made-up-{number}" for number in range(500)]
    spellings = [f"iso{'-' * (number + 1)}8859-1" for number in range(30)]
    before = len(encodings._cache)  # type: ignore[attr-defined]
    for name in (*made_up, *spellings):
        subject = f"=?{name}?q?a?="
        fields = f"Subject: {subject}\r\nContent-Type: text/plain; charset={name}\r\n"
        encoded = "Content-Transfer-Encoding: base64\r\n\r\nUDE=\r\n"
        message = (fields + encoded).encode()
        read_request(message, [])
        in_text(message, ["peruuta"])
        masked_message(message)
        masked_headers(fields.encode())
        decoded(HeaderSection(fields.encode()).first(b"subject") or "")
    assert len(encodings._cache) - before < 20  # type: ignore[attr-defined]
