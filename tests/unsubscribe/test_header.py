"""The added fields: when, which, and where they stand; nothing else changes."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind
from gateway.failure import InputError
from gateway.message.headers import HeaderSection
from gateway.message.signature import SigningKey
from gateway.message.traits import CONTROL_HEADERS, read_traits
from gateway.unsubscribe.header import Offer, leaving
from gateway.unsubscribe.link import DAY_MS, Link, Links, Purpose

LINKS = Links({"k1": bytes(range(32))}, "k1")
URL = "https://preferences.lamisnet.fi"
ADDRESS = "unsubscribe@mail.lamisnet.fi"
MAIJA = parse_email("maija@example.fi")
NOW = 20_600 * DAY_MS + 5
PLAIN = b"From: LamisNET <uutiset@lamisnet.fi>\r\nSubject: x\r\n"
KEY = SigningKey("lamisnet.fi", "s", b"rsa-sha256", bytes)
"""It is only handed on here."""
SIGNED = b"DKIM-Signature: v=1; d=lamisnet.fi; s=tool; h=From:Subject; bh=x; b=y\r\n" + PLAIN


def offer(url=URL, address="", key=None) -> Offer:
    return Offer(LINKS, url, address, {} if key is None else {key.domain: key})


def added(section: bytes, to: Offer | None = None, kind=Kind.MARKETING, topic="newsletter"):
    headers = HeaderSection(section)
    traits = read_traits(
        headers, fixed_kind=kind, fixed_topic=topic, owned_domains=frozenset({"lamisnet.fi"})
    )
    return (to or offer()).addition(headers, traits, MAIJA, NOW)


def test_the_fields_as_rfc_8058_wants_them():
    one = added(PLAIN)
    found = re.fullmatch(
        rb"List-Unsubscribe: <https://preferences\.lamisnet\.fi/u/([A-Za-z0-9_-]+)>\r\n"
        rb"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
        one.fields,
    )
    link = LINKS.open(found[1].decode(), NOW, 60)
    assert link == Link(MAIJA, Purpose.REFUSE, "newsletter", NOW)
    assert one.told == "https one-click added"
    assert one.key is None


def test_mailto_beside_it_where_an_address_is_set():
    one = added(PLAIN, offer(address=ADDRESS))
    token = LINKS.seal(Link(MAIJA, Purpose.REFUSE, "newsletter", NOW))
    assert one.fields.decode() == (
        f"List-Unsubscribe: <{URL}/u/{token}>,\r\n"
        f"\t<mailto:{ADDRESS}?subject={token}>\r\n"
        "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    )
    assert one.told == "https+mailto one-click added"


def test_what_has_a_meaning_in_mailto_is_written_so_that_it_has_none():
    one = added(PLAIN, offer(address="a&b?c#d%e@mail.lamisnet.fi"))
    assert b"<mailto:a%26b%3Fc%23d%25e@mail.lamisnet.fi?subject=" in one.fields


def test_without_https_there_is_no_one_click():
    one = added(PLAIN, offer("http://127.0.0.1:8080"))
    assert b"-Post" not in one.fields
    assert one.told == "http added"
    assert added(PLAIN, offer("http://127.0.0.1", ADDRESS)).told == "http+mailto added"


@pytest.mark.parametrize("kind", [Kind.SERVICE, Kind.TRANSACTIONAL, Kind.NOTICE, None])
def test_other_kinds_stay_as_they_are(kind):
    assert added(PLAIN, kind=kind) is None


def test_declared_marketing_gets_it():
    assert added(b"X-Gateway-Kind: marketing\r\n" + PLAIN, kind=None) is not None
    assert added(b"Precedence: bulk\r\n" + PLAIN, kind=Kind.SERVICE) is not None


@pytest.mark.parametrize(
    "line",
    [
        b"List-Unsubscribe: <https://tool.example/u>\r\n",
        b"LIST-UNSUBSCRIBE:\r\n <mailto:a@tool.example>\r\n",
        b"List-Unsubscribe: nothing of use\r\n",
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
    ],
)
@pytest.mark.parametrize("key", [None, KEY])
def test_what_offers_a_way_already_stays_as_it_is(line, key):
    assert added(line + PLAIN, offer(key=key)) is None
    assert added(PLAIN + line, offer(key=key)) is None


def test_what_somebody_signed_stays_as_it_is_unless_we_sign():
    assert added(SIGNED) is None
    assert added(SIGNED, offer(key=SigningKey("other.fi", "s", b"", bytes))) is None
    assert added(SIGNED, offer(key=KEY)).key is KEY


@pytest.mark.parametrize("name", [b"List-Unsubscribe", b"list-unsubscribe-post "])
def test_a_signature_that_forbids_the_fields_is_not_broken(name):
    forbids = SIGNED.replace(b"h=From:", b"h=From:\r\n\t" + name + b":")
    assert added(forbids, offer(key=KEY)) is None


def test_subdomains_are_not_signed_for():
    sub = PLAIN.replace(b"@lamisnet.fi", b"@mail.lamisnet.fi")
    assert added(sub, offer(key=KEY)).key is None
    assert added(SIGNED.replace(b"@lamisnet.fi", b"@mail.lamisnet.fi"), offer(key=KEY)) is None
    two = PLAIN.replace(b">", b">, b@other.fi")
    assert added(two, offer(key=KEY)).key is None


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"From x\r\n" + PLAIN,
        b" folded first\r\n" + PLAIN,
        PLAIN + b"no field\r\n",
        PLAIN + b"no field\r\nTo: x\r\n",
        PLAIN + b"\r\n",
        b": nameless\r\n" + PLAIN,
    ],
)
def test_a_section_that_is_not_read_to_its_end_stays_as_it_is(section):
    assert added(section, offer(key=KEY)) is None


def test_a_topic_too_long_for_a_line_has_no_link():
    assert added(PLAIN, topic="\U0001f600" * 128) is not None
    assert added(PLAIN, offer(f"{URL}/{'x' * 400}"), topic="\U0001f600" * 128) is None


@pytest.mark.parametrize(
    "url",
    [
        "https://päivä.example",
        "https://a.example/ x",
        "https://a.example/>,<x",
        "https://a.example/a,b",
        "https://a.example/\r\nBcc: x",
        "",
    ],
)
def test_a_url_that_would_break_the_field_is_refused(url):
    with pytest.raises(InputError, match=r"public\.url"):
        offer(url)


_names = st.sampled_from(
    [b"Received", b"Return-Path", b"DKIM-Signature", b"To", b"X-Gateway-Topic", b"Subject", b"X"]
)
_words = st.sampled_from([b"a", b" ", b"\t", b"\r\n ", b"\r\n\t", b"\xff", b":", b"\r\n \r\n "])
fields = st.builds(
    lambda name, space, value: name + space + b":" + value + b"\r\n",
    _names,
    st.sampled_from([b"", b" ", b"\t"]),
    st.lists(_words, max_size=6).map(b"".join),
)


@settings(deadline=None)
@given(st.lists(fields, max_size=6), st.lists(fields, max_size=3))
def test_only_the_added_lines_are_new(before, after):
    section = b"".join([*before, PLAIN, *after])
    headers = HeaderSection(section)
    plain = headers.without(CONTROL_HEADERS)
    assert leaving(headers) == plain
    one = added(section, offer(key=KEY, address=ADDRESS))
    assert one is not None
    leaves = leaving(headers, one.fields)
    assert leaves.count(one.fields) == 1
    assert leaves.replace(one.fields, b"", 1) == plain
    # They are fields of their own, whatever stands around them, and the first of all but
    # what servers put in front.
    found = HeaderSection(leaves)
    assert found.end == len(leaves)
    assert len(found.raw(b"list-unsubscribe")) == len(found.raw(b"list-unsubscribe-post")) == 1
    for name in headers:
        if name not in CONTROL_HEADERS:
            assert found.raw(name) == headers.raw(name)
    front = HeaderSection(leaves[: leaves.index(one.fields)])
    assert set(front) <= {b"received", b"return-path", b"dkim-signature"}
    assert leaves[leaves.index(one.fields) + len(one.fields) :][:1] not in (b" ", b"\t")
