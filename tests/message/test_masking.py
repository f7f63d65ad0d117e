import base64
import quopri
from email import message_from_bytes
from email.header import Header, decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.message.masking import READ_MOST, Masking, masked_headers, masked_message

CODE = "131052-308T"
MASK = "***********"
HEAD = b"From: a@lamisnet.fi\r\nTo: b@example.com\r\nSubject: Tilaus\r\nMIME-Version: 1.0\r\n"


def in_pieces(octets: bytes, size: int) -> bytes:
    masking = Masking()
    found = [masking.feed(octets[at : at + size]) for at in range(0, len(octets), size)]
    return b"".join([*found, masking.end()])


def encoded(name: str, text: str) -> bytes:
    body = text.encode()
    written = base64.encodebytes(body) if name == "base64" else quopri.encodestring(body)
    return (
        HEAD
        + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
        + name.encode()
        + b"\r\n\r\n"
        + written.replace(b"\n", b"\r\n")
    )


@pytest.mark.parametrize("name", ["base64", "quoted-printable"])
def test_a_code_in_an_encoded_text_is_masked(name: str):
    text = f"Hyvä Maija, {'x' * 60} henkilötunnus {CODE} on poistettu.\n"
    masked = masked_message(encoded(name, text))
    read = message_from_bytes(masked).get_payload(decode=True)
    assert isinstance(read, bytes)
    assert read.decode().replace("\r\n", "\n") == text.replace(CODE, MASK)
    assert CODE.encode() not in masked


@pytest.mark.parametrize("name", ["base64", "quoted-printable"])
def test_an_encoded_text_without_a_code_stays_octet_for_octet(name: str):
    message = encoded(name, "Hyvä Maija, kiitos.\n" * 20)
    assert masked_message(message) == message


def test_a_part_of_many_is_masked_and_the_others_stay():
    other = base64.encodebytes(bytes(range(256))).replace(b"\n", b"\r\n")
    message = (
        HEAD
        + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        + b"Content-Type: text/html; charset=iso-8859-1\r\n"
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + base64.encodebytes(f"<p>ä {CODE}</p>".encode("latin-1")).replace(b"\n", b"\r\n")
        + b"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + other
        + b"--b--\r\n"
    )
    masked = masked_message(message)
    html, pdf = message_from_bytes(masked).get_payload()
    assert html.get_payload(decode=True).decode("latin-1") == "<p>ä ***********</p>"
    assert pdf.get_payload(decode=True) == bytes(range(256))


def test_a_code_in_the_subject_is_masked_however_it_is_written():
    plain = masked_headers(HEAD.replace(b"Tilaus", CODE.encode()))
    assert plain == HEAD.replace(b"Tilaus", MASK.encode())
    written = Header(f"Tilauksenne {CODE} ä", "utf-8").encode(linesep="\r\n").encode()
    headers = HEAD.replace(b"Tilaus", written)
    masked = message_from_bytes(masked_headers(headers))
    assert str(make_header(decode_header(masked["Subject"]))) == "Tilauksenne *********** ä"
    assert masked["To"] == "b@example.com"
    other = HEAD.replace(b"Tilaus", Header("Tilauksenne ä", "utf-8").encode().encode())
    assert masked_headers(other) == other


@given(st.binary(max_size=3000), st.integers(1, 700))
def test_odd_octets_never_fail_and_are_kept_as_they_are(octets: bytes, size: int):
    """What holds no code comes out octet for octet, in whatever pieces it came."""
    assert in_pieces(octets, size) == octets
    assert in_pieces(HEAD + b"Content-Transfer-Encoding: base64\r\n\r\n" + octets, size).endswith(
        octets
    )


@pytest.mark.parametrize("size", [1000, 4096, 65536])
@pytest.mark.parametrize("shift", range(0, 14))
def test_a_code_across_two_pieces_of_a_long_message_is_found(size: int, shift: int):
    filler = b"x" * 70 + b"\r\n"
    body = filler * (READ_MOST // len(filler) + 200)
    at = (READ_MOST // size + 2) * size - shift
    message = body[:at] + b" " + CODE.encode() + b" " + body[at + 13 :]
    assert in_pieces(message, size) == message.replace(CODE.encode(), MASK.encode())


@pytest.mark.parametrize("name", ["base64", "quoted-printable"])
@pytest.mark.parametrize("size", [1000, 65536])
def test_a_long_message_is_read_in_its_beginning_too(name: str, size: int):
    """A text and a large attachment: the text is masked, and nothing else changes."""
    subject = Header(f"Tilauksenne {CODE} ä", "utf-8").encode(linesep="\r\n").encode()
    _, _, text = encoded(name, f"Hyvä Maija,\n{'x' * 60} tunnus {CODE}.\n").partition(b"\r\n\r\n")
    attachment = base64.encodebytes(bytes(range(256)) * 2000).replace(b"\n", b"\r\n")
    message = (
        HEAD.replace(b"Tilaus", subject)
        + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\n'
        + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: "
        + name.encode()
        + b"\r\n\r\n"
        + text
        + b"--b\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        + attachment
        + b"--b--\r\n"
    )
    assert len(message) > READ_MOST
    read = message_from_bytes(in_pieces(message, size))
    assert str(make_header(decode_header(read["Subject"]))) == f"Tilauksenne {MASK} ä"
    told, file = read.get_payload()
    assert f"tunnus {MASK}." in told.get_payload(decode=True).decode()
    assert CODE not in told.get_payload(decode=True).decode()
    assert file.get_payload(decode=True) == bytes(range(256)) * 2000


@pytest.mark.parametrize("name", ["base64", "quoted-printable"])
def test_a_long_encoded_text_stays_readable_beyond_what_is_looked_into(name: str):
    text = f"Alku {CODE} ä.\n" + "Hyvä Maija, kiitos tilauksesta.\n" * 12_000
    message = encoded(name, text)
    assert len(message) > READ_MOST + 65536
    read = message_from_bytes(in_pieces(message, 4096)).get_payload(decode=True)
    assert isinstance(read, bytes)
    assert read.decode().replace("\r\n", "\n") == text.replace(CODE, MASK)


@pytest.mark.parametrize("charset", ["utf-8", "windows-1252", "utf-16"])
def test_a_code_with_a_dash_of_a_word_processor_is_masked_in_any_charset(charset: str):
    text = f"Hyvä Maija, {CODE.replace('-', chr(0x2013))} ä"
    body = base64.encodebytes(text.encode(charset)).replace(b"\n", b"\r\n")
    message = (
        HEAD
        + f"Content-Type: text/plain; charset={charset}\r\n".encode()
        + b"Content-Transfer-Encoding: base64\r\n\r\n"
        + body
    )
    masked = masked_message(message)
    assert len(masked) == len(message)
    read = message_from_bytes(masked).get_payload(decode=True)
    assert isinstance(read, bytes)
    assert "052" not in read.decode(charset)
    assert "Hyvä Maija, ***" in read.decode(charset)
