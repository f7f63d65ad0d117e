"""Keyed digests: RFC 7693 as it is, several live keys, and a key file that stays whole."""

import json
from hashlib import blake2b

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contacts.digest import (
    Digest,
    KeyRing,
    base_subject,
    organisation_subject,
    subject_of,
)
from gateway.contacts.email import parse_email
from gateway.contacts.phone import parse_phone
from gateway.failure import InputError

RING = KeyRing({"k1": bytes(range(32)), "k2": b"\x02" * 32}, "k2")


def test_the_rfc_7693_vectors():
    """Appendix A (``abc``) and the keyed self-test of Appendix E."""
    assert blake2b(b"abc").hexdigest().startswith("ba80a53f981c4d0d6a2797b69f12f6e9")

    def sequence(length: int, seed: int) -> bytes:
        a, b, out = (0xDEAD4BAD * seed) & 0xFFFFFFFF, 1, bytearray()
        for _ in range(length):
            a, b = b, (a + b) & 0xFFFFFFFF
            out.append(b >> 24)
        return bytes(out)

    grand = blake2b(digest_size=32)
    for size in (20, 32, 48, 64):
        for length in (0, 3, 128, 129, 255, 1024):
            text = sequence(length, length)
            grand.update(blake2b(text, digest_size=size).digest())
            grand.update(blake2b(text, digest_size=size, key=sequence(size, size)).digest())
    assert grand.hexdigest() == "c23a7800d98123bd10f506c61e29da5603d763b8bbad2e737f5e765a7bccd475"


@settings(deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8")))
def test_a_digest_is_keyed_blake2b_of_128_bits(subject):
    digest = RING.digest(subject)
    assert digest.key_id == "k2"
    assert digest.value == blake2b(subject.encode(), key=b"\x02" * 32, digest_size=16).digest()
    assert RING.digests(subject)[0] == digest
    assert [one.key_id for one in RING.digests(subject)] == ["k2", "k1"]
    assert Digest.parse(str(digest)) == digest


def test_subjects_of_different_kinds_never_meet():
    address = parse_email("Maija+x@example.fi")
    assert subject_of(address) == "e:maija+x@example.fi"
    assert base_subject(address) == "e:maija@example.fi"
    assert base_subject(address) == subject_of(parse_email("maija@example.fi"))
    assert organisation_subject(address.organisations[0]) == "d:example.fi"
    assert subject_of(parse_phone("+358401234567")) == "p:+358401234567"


@pytest.mark.parametrize(
    "text",
    ["", "k1", "k1:", "k1:00", ":" + "0" * 32, "k1:" + "G" * 32, "k1:" + "0" * 33, "K:" + "0" * 32],
)
def test_a_bad_digest_is_refused(text):
    with pytest.raises(InputError):
        Digest.parse(text)


@pytest.mark.parametrize(
    ("keys", "current"),
    [({}, "k1"), ({"k1": b"x" * 31}, "k1"), ({"k1": b"x" * 32}, "k2"), ({"K:1": b"x" * 32}, "K:1")],
)
def test_a_bad_ring_is_refused(keys, current):
    with pytest.raises(InputError):
        KeyRing(keys, current)


def test_the_ring_does_not_show_its_keys():
    assert "0202" not in repr(RING)
    assert "\\x02" not in repr(RING)


def test_create_then_load(tmp_path):
    path = tmp_path / "keys.json"
    made = KeyRing.create(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert KeyRing.load(path).digest("e:x") == made.digest("e:x")
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


def test_create_never_overwrites(tmp_path):
    path = tmp_path / "keys.json"
    KeyRing.create(path)
    before = path.read_bytes()
    with pytest.raises(InputError, match="not overwritten"):
        KeyRing.create(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["keys.json"]


def test_create_says_where_it_could_not_write(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match="cannot be written"):
        KeyRing.create(tmp_path / "file" / "keys.json")


def test_a_key_file_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "keys.json"
    KeyRing.create(path)
    path.chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        KeyRing.load(path)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"current": "k1", "keys": {"k1": "zz"}}',
        '{"current": "k1", "keys": {"k1": 5}}',
        '{"current": ["k1"], "keys": {}}',
        json.dumps({"current": "k2", "keys": {"k1": "00" * 32}}),
        json.dumps({"current": "k1", "keys": {"k1": "00" * 31}}),
    ],
)
def test_a_malformed_key_file_is_refused_by_name_and_not_shown(tmp_path, content):
    path = tmp_path / "keys.json"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(InputError, match=r"keys\.json") as caught:
        KeyRing.load(path)
    assert "00" * 31 not in str(caught.value)


def test_a_missing_key_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        KeyRing.load(tmp_path / "keys.json")
