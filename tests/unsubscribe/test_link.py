"""Links open to what they were sealed from, and nothing else opens."""

import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contacts.contact import Channel, Contact
from gateway.contacts.email import parse_email
from gateway.contacts.parse import parse_contact
from gateway.failure import InputError
from gateway.keyfile import add_key, drop_key
from gateway.unsubscribe.link import DAY_MS, Link, LinkError, Links, Purpose, url_of

KEYS = {"k1": bytes(range(32)), "k2": b"\x02" * 32}
LINKS = Links(KEYS, "k2")
NOW = 20_600 * DAY_MS + 12_345
DAYS = 1825

_locals = st.one_of(
    st.from_regex(r"[a-z0-9_]{1,12}(\.[a-z0-9]{1,8})?(\+[a-z]{1,6})?", fullmatch=True),
    st.sampled_from(["päivi", "älä.tee", '"a b"', "日本", "x" * 64]),
)
_domains = st.sampled_from(
    ["example.fi", "gmail.com", "xn--mller-kva.example", "a.b.c.d.e.example"]
)
_emails = st.builds(lambda local, domain: parse_email(f"{local}@{domain}"), _locals, _domains)
_numbers = st.from_regex(r"\+[1-9][0-9]{6,14}", fullmatch=True).map(
    lambda text: Contact(Channel.SMS, text, text)
)
links = st.builds(
    Link,
    st.one_of(_emails, _numbers),
    st.sampled_from(Purpose),
    st.none() | st.text(st.characters(codec="utf-8"), max_size=128),
    st.integers(20_000 * DAY_MS, NOW),
    st.sampled_from(["", "fi", "sv", "en"]),
)


def opened(token: str, within: Links = LINKS) -> Link:
    return within.open(token, NOW, DAYS)


def refused(token: str, within: Links = LINKS) -> None:
    with pytest.raises(LinkError) as caught:
        opened(token, within)
    assert not caught.value.expired


@settings(deadline=None)
@given(links)
def test_a_link_opens_to_itself(link):
    token = LINKS.seal(link)
    assert opened(token) == link
    assert re.fullmatch(r"[A-Za-z0-9_-]{34,2048}", token)
    assert LINKS.seal(link) == token  # one person, topic and day: one link


@settings(deadline=None)
@given(links)
def test_a_token_shows_neither_address_nor_topic(link):
    token = LINKS.seal(link)
    octets = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for text in (link.contact.canonical, link.contact.canonical.partition("@")[0], link.topic):
        if text and len(text) > 5:  # shorter ones are found by chance
            assert text.encode() not in octets
            assert text not in token


@settings(deadline=None, max_examples=25)
@given(links)
def test_a_changed_bit_is_refused(link):
    token = LINKS.seal(link)
    octets = bytearray(urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    for place in range(8 * len(octets)):
        octets[place // 8] ^= 1 << place % 8
        refused(urlsafe_b64encode(octets).rstrip(b"=").decode())
        octets[place // 8] ^= 1 << place % 8
    # In the text too: its last character has bits that stand for nothing.
    for place in range(8 * len(token)):
        changed = bytearray(token.encode())
        changed[place // 8] ^= 1 << place % 8
        refused(changed.decode("latin-1"))


@settings(deadline=None, max_examples=25)
@given(links, st.text(max_size=4))
def test_a_cut_or_longer_token_is_refused(link, more):
    token = LINKS.seal(link)
    for end in range(len(token)):
        refused(token[:end])
        refused(token[end + 1 :])
    if more:
        refused(token + more)
    refused(token + "=")


@settings(deadline=None)
@given(st.text(max_size=300) | st.from_regex(r"[A-Za-z0-9_-]{0,200}", fullmatch=True))
def test_what_nobody_sealed_is_refused(text):
    refused(text)


@settings(deadline=None)
@given(links)
def test_another_key_refuses(link):
    refused(Links({"k2": b"\x03" * 32}, "k2").seal(link))
    refused(LINKS.seal(link), Links({"k2": KEYS["k1"]}, "k2"))


@settings(deadline=None)
@given(links)
def test_purpose_topic_contact_and_day_each_make_another_link(link):
    tokens = {
        LINKS.seal(link),
        LINKS.seal(replace(link, purpose=next(one for one in Purpose if one != link.purpose))),
        LINKS.seal(replace(link, topic=f"{link.topic}x")),
        LINKS.seal(replace(link, contact=parse_email("somebody@else.example"))),
        LINKS.seal(replace(link, issued=link.issued - DAY_MS)),
    }
    assert len(tokens) == 5
    assert sum(opened(token) == link for token in tokens) == 1


def test_a_purpose_cannot_be_put_into_a_token():
    link = Link(parse_email("maija@example.fi"), Purpose.REFUSE, None, NOW)
    other = replace(link, purpose=Purpose.CONFIRM)
    one, two = LINKS.seal(link), LINKS.seal(other)
    assert len(one) == len(two)
    # Of the one the beginning, of the other the end: at every place.
    for place in range(1, len(one)):
        mixed = one[:place] + two[place:]
        if mixed not in (one, two):
            refused(mixed)


def test_rotation_keeps_older_links(tmp_path):
    path = tmp_path / "secrets" / "link-keys.json"
    link = Link(parse_email("maija@example.fi"), Purpose.REFUSE, "uutiskirje", NOW)
    before = Links.load_or_create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    old = before.seal(link)
    add_key(path)
    after = Links.load_or_create(path)
    new = after.seal(link)
    assert new != old
    assert opened(old, after) == opened(new, after) == link
    refused(new, before)
    drop_key(path, "k1")
    last = Links.load_or_create(path)
    assert opened(new, last) == link
    refused(old, last)


def test_keys_of_one_mark_are_told_apart():
    """Three octets of mark meet in a few thousand keys."""
    seen: dict[str, bytes] = {}
    link = Link(parse_email("maija@example.fi"), Purpose.REFUSE, None, NOW)
    while True:
        key = secrets.token_bytes(32)
        mark = Links({"k1": key}, "k1").seal(link)[:4]
        if mark in seen:
            break
        seen[mark] = key
    both = Links({"k1": key, "k2": seen[mark]}, "k1")
    assert opened(Links({"k1": seen[mark]}, "k1").seal(link), both) == link
    assert opened(both.seal(link), both) == link


def test_processes_that_start_at_once_make_one_file(tmp_path):
    path = tmp_path / "keys.json"
    with ThreadPoolExecutor(8) as threads:
        every = list(threads.map(Links.load_or_create, [path] * 8))
    link = Link(parse_email("maija@example.fi"), Purpose.REFUSE, None, NOW)
    assert len({one.seal(link) for one in every}) == 1


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        '{"current": "k1", "keys": {"k1": "00"}}',
        json.dumps({"current": "k2", "keys": {"k1": "00" * 32}}),
        json.dumps({"current": "K 1", "keys": {"K 1": "00" * 32}}),
        json.dumps({"current": ["k1"], "keys": {"k1": "00" * 32}}),
    ],
)
def test_a_bad_key_file_is_refused(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(InputError, match=re.escape(str(path))):
        Links.load_or_create(path)


def test_a_key_file_that_others_read_is_refused(tmp_path):
    path = tmp_path / "keys.json"
    Links.load_or_create(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        Links.load_or_create(path)


def test_a_file_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Links.load_or_create(tmp_path / "file" / "keys.json")


def test_a_link_ends_with_its_days():
    link = Link(parse_email("maija@example.fi"), Purpose.REFUSE, None, NOW)
    token = LINKS.seal(link)
    assert link.issued == NOW - 12_345
    last = link.issued + (60 + 1) * DAY_MS - 1
    assert LINKS.open(token, last, 60) == link
    with pytest.raises(LinkError) as caught:
        LINKS.open(token, last + 1, 60)
    assert caught.value.expired
    # A clock that is behind: the link is not older than it.
    assert LINKS.open(token, link.issued - 2 * DAY_MS, 60) == link


@pytest.mark.parametrize(
    ("contact", "topic", "length"),
    [
        ("+358401234567", None, 36),
        ("maija.virtanen@example.fi", None, 63),
        ("maija.virtanen@example.fi", "newsletter", 79),
    ],
)
def test_how_long_tokens_are(contact, topic, length):
    token = LINKS.seal(Link(parse_contact(contact), Purpose.REFUSE, topic, NOW))
    assert len(token) == length


def test_what_cannot_be_sealed_is_said():
    maija = parse_email("maija@example.fi")
    for topic in ("x" * 3000, "\udc80"):
        with pytest.raises(ValueError):
            LINKS.seal(Link(maija, Purpose.REFUSE, topic, NOW))
    for issued in (-1, (1 << 16) * DAY_MS):
        with pytest.raises(ValueError, match="1970"):
            Link(maija, Purpose.REFUSE, None, issued)


def test_nothing_shows_a_key():
    assert "0203" not in repr(LINKS)
    assert repr(LINKS) == "Links(current='k2')"


def test_the_address_of_a_link():
    assert url_of("https://p.example/x", Purpose.REFUSE, "T") == "https://p.example/x/u/T"
    assert url_of("https://p.example/x", Purpose.CONFIRM, "T") == "https://p.example/x/c/T"
