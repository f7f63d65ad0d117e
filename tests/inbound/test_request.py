"""What is read of a message to the address for unsubscribes: any octets, soon, and the token."""

import time
from email.header import Header

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.inbound.request import CANDIDATES, WORDS, read_request

MIB = 1024 * 1024
_tokens = st.text("ABCxyz019-_", min_size=40, max_size=120)
_words = st.text("abc åäö:.,!", max_size=20)


@settings(deadline=None)
@given(
    st.one_of(st.binary(max_size=500), st.binary(max_size=200).map(b"Subject: =?utf-8?b?".__add__))
)
def test_any_octets_are_read(message):
    request = read_request(message, [])
    assert len(request.tokens) <= CANDIDATES
    assert len(request.words) <= WORDS
    request.words.encode()
    assert "\0" not in request.words


@settings(deadline=None)
@given(_tokens, _words, _words, st.sampled_from(["plain", "encoded", "folded"]), st.data())
def test_the_token_is_found_however_it_is_written(token, before, after, form, data):
    subject = f"{before} {token} {after}"
    if form == "encoded" or not subject.isascii():
        raw = Header(subject, "utf-8", header_name="Subject").encode(linesep="\r\n")
    elif form == "folded":
        place = data.draw(st.integers(1, len(token) - 1))
        assume(not before.strip())
        raw = f"{token[:place]}\r\n {token[place:]}"
    else:
        raw = subject
    request = read_request(b"Subject: " + raw.encode() + b"\r\n\r\nhello\r\n", [])
    assert token in request.tokens


@given(st.text(max_size=300), st.emails())
def test_no_address_is_kept(text, address):
    message = f"Content-Type: text/plain; charset=utf-8\r\n\r\n{text} {address} {text}"
    assert address not in read_request(message.encode("utf-8", "replace"), []).words


@pytest.mark.parametrize(
    ("fields", "body", "words"),
    [
        (b"Subject: stop\r\n", b"now", "stop\nnow"),
        (b"Content-Type: text/html\r\n", b"<p>stop <b>now</b></p>", "stop now"),
        (b"Content-Type: text/plain; charset=iso-8859-1\r\n", b"\xe4l\xe4", "älä"),
        (b"Content-Type: text/plain; charset=no-such\r\n", "älä".encode(), "älä"),
        (
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: base64\r\n",
            b"w6Rsw6Q=\r\n",
            "älä",
        ),
        (b"Content-Type: application/pdf\r\n", b"%PDF", ""),
        (
            b"Content-Type: multipart/alternative; boundary=b\r\n",
            b"--b\r\nContent-Type: text/html\r\n\r\n<p>x</p>\r\n--b\r\n\r\nplain\r\n--b--\r\n",
            "plain",
        ),
    ],
)
def test_the_words_of_a_person(fields, body, words):
    assert read_request(fields + b"\r\n" + body, []).words == words


@pytest.mark.parametrize(
    "message",
    [
        b"Subject: " + b"a" * MIB + b"\r\n\r\n",
        b"Subject: " + b"a " * (MIB // 2) + b"\r\n\r\n",
        b"Subject: " + b"=?utf-8?q?a?= " * (MIB // 14) + b"\r\n\r\n",
        b"Subject: x\r\n" + b" y\r\n" * (MIB // 4) + b"\r\n",
        b"\r\n" + b"x" * MIB,
        b"\r\n" + b"a@" * (MIB // 2),
        b"Content-Type: text/html\r\n\r\n" + b"<" * MIB,
        b"Content-Type: text/plain; charset=punycode\r\n\r\n" + b"a-" * (MIB // 2),
        b"Content-Type: text/plain; charset=utf-7\r\n\r\n" + b"+A" * (MIB // 2),
    ],
    ids=range(9),
)
def test_a_hostile_message_takes_no_time(message):
    began = time.process_time()
    read_request(message, [])
    assert time.process_time() - began < 10
