"""DKIM signatures, as RFC 8463's example and another implementation know them."""

import hashlib
import re
from base64 import b64decode, b64encode

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from dkim.canonicalization import Relaxed
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.failure import InputError
from gateway.message.headers import HeaderSection
from gateway.message.signature import BodyHash, SigningKey, signed_names, signed_octets
from tests.peers.verifier import Key, signed_fields, verified

DOMAIN = "lamisnet.fi"
AT = 1_780_000_000

# RFC 8463 appendix A.
EXAMPLE = (
    b"From: Joe SixPack <joe@football.example.com>\r\n"
    b"To: Suzie Q <suzie@shopping.example.net>\r\n"
    b"Subject: Is dinner ready?\r\n"
    b"Date: Fri, 11 Jul 2003 21:00:37 -0700 (PDT)\r\n"
    b"Message-ID: <20030712040037.46341.5F8J@football.example.com>\r\n"
)
EXAMPLE_BODY = b"Hi.\r\n\r\nWe lost the game.  Are you hungry yet?\r\n\r\nJoe.\r\n"
EXAMPLE_FIELD = (
    b"DKIM-Signature: v=1; a=ed25519-sha256; c=relaxed/relaxed;\r\n"
    b" d=football.example.com; i=@football.example.com;\r\n"
    b" q=dns/txt; s=brisbane; t=1528637909; h=from : to :\r\n"
    b" subject : date : message-id : from : subject : date;\r\n"
    b" bh=2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8=;\r\n"
    b" b="
)
EXAMPLE_SIGNATURE = (
    b"/gCrinpcQOoIfuHNQIbq4pgh9kyIK3AQUdt9OdqQehSwhEIug4D11BusFa3bT3FY5OsU7ZbnKELq+eXdp1Q1Dw=="
)
EXAMPLE_PUBLIC = b"11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="


@pytest.fixture(scope="module")
def rsa(tmp_path_factory):
    return Key.rsa(tmp_path_factory.mktemp("keys"), DOMAIN)


@pytest.fixture(scope="module")
def ed25519(tmp_path_factory):
    return Key.ed25519(tmp_path_factory.mktemp("keys"), DOMAIN)


def body_hash(body: bytes, *cuts: int) -> bytes:
    one = BodyHash()
    start = 0
    for cut in sorted(cuts):
        one.feed(body[start:cut])
        start = cut
    one.feed(body[start:])
    return one.digest()


def signing(key: Key) -> SigningKey:
    return SigningKey.read(key.table["domain"], key.table["selector"], key.pem)


def test_the_example_of_rfc_8463():
    assert b64encode(body_hash(EXAMPLE_BODY)) == b"2jUSOH9NhtVGCQWNr9BrIAPreKQjO6Sn7XIkfJVOzv8="
    names = b"from to subject date message-id from subject date".split()
    octets = signed_octets(HeaderSection(EXAMPLE), names, EXAMPLE_FIELD)
    public = Ed25519PublicKey.from_public_bytes(b64decode(EXAMPLE_PUBLIC))
    public.verify(b64decode(EXAMPLE_SIGNATURE), hashlib.sha256(octets).digest())
    with pytest.raises(InvalidSignature):
        public.verify(b64decode(EXAMPLE_SIGNATURE), octets)


_pieces = st.sampled_from([b" ", b"\t", b"  ", b"\r\n", b"a", b"\xe4", b".", b"\r\n\r\n", b"\0"])
bodies = st.lists(_pieces, max_size=40).map(b"".join).map(lambda body: body and body + b"\r\n")


@settings(deadline=None)
@given(bodies, st.lists(st.integers(0, 60), max_size=6))
def test_a_body_in_pieces_hashes_as_the_other_implementation_does(body, cuts):
    relaxed = Relaxed.canonicalize_body(body)
    assert body_hash(body, *cuts) == hashlib.sha256(relaxed).digest()


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b" ", b"a"]), max_size=20).map(b"".join),
    st.lists(st.integers(0, 30), max_size=5),
)
def test_where_a_body_is_cut_does_not_matter(body, cuts):
    assert body_hash(body, *cuts) == body_hash(body)


_names = st.sampled_from(
    [b"From", b"TO", b"subject", b"Date", b"X-Other", b"List-Unsubscribe", b"List-Id", b"Received"]
)
_words = st.sampled_from(
    [b"a", b" b", b"\t", b"  ", b"\r\n ", b"\r\n\t", b"\xc3\xa4", b"\xff", b"=?utf-8?q?x?=", b";"]
)
fields = st.builds(
    lambda name, value: name + b":" + value + b"\r\n",
    _names,
    st.lists(_words, max_size=8).map(b"".join),
)
sections = st.lists(fields, max_size=8).map(
    lambda every: b"From: a@lamisnet.fi\r\n" + b"".join(every)
)


@settings(deadline=None, max_examples=60)
@given(sections, bodies, st.booleans())
def test_what_is_signed_is_found_signed(rsa, ed25519, section, body, first):
    key = rsa if first else ed25519
    field = signing(key).field(section, body_hash(body), AT)
    message = field + section + b"\r\n" + body
    assert verified(message, key.record)
    # No line of it is long, and it is one field.
    assert max(map(len, field.split(b"\r\n"))) <= 78
    assert [*HeaderSection(field)] == [b"dkim-signature"]
    # Each named once more than it stands.
    standing = HeaderSection(section)
    names = signed_fields(message)
    for name in standing:
        if name not in (b"x-other", b"received"):
            assert names.count(name) == len(standing.raw(name)) + 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"Subject: one", b"Subject: two"),
        (b"body one", b"body two"),
        (b"<https://", b"<http://"),
        (b"From: a", b"From: b@evil.example\r\nFrom: a"),
        (b"\r\n\r\nbody", b"\r\nSubject: more\r\n\r\nbody"),
        (b"\r\n\r\nbody", b"\r\nList-Unsubscribe: <https://evil.example/>\r\n\r\nbody"),
        (b"\r\n\r\nbody", b"\r\nList-Unsubscribe-Post: x\r\n\r\nbody"),
    ],
)
def test_what_is_changed_or_added_later_breaks_it(rsa, old, new):
    section = (
        b"From: a@lamisnet.fi\r\nSubject: one\r\nList-Unsubscribe: <https://lamisnet.fi/u/1>\r\n"
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
    )
    body = b"body one\r\n"
    field = signing(rsa).field(section, body_hash(body), AT)
    message = section + b"\r\n" + body
    assert verified(field + message, rsa.record)
    assert verified(field + b"Received: from a by b; c\r\n" + message, rsa.record)
    assert not _holds(field + message.replace(old, new, 1), rsa)


def _holds(message: bytes, key: Key) -> bool:
    import dkim

    try:
        return verified(message, key.record)
    except dkim.ValidationError:
        return False


def test_a_signature_says_what_it_is(rsa, ed25519):
    field = signing(rsa).field(b"From: a@lamisnet.fi\r\n", body_hash(b""), AT)
    text = re.sub(rb"\s", b"", field)
    assert text.startswith(
        b"DKIM-Signature:v=1;a=rsa-sha256;c=relaxed/relaxed;d=lamisnet.fi;s=rsa;t=1780000000;"
        b"h=From:From;bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;b="
    )
    assert b"a=ed25519-sha256" in signing(ed25519).field(b"From: a\r\n", body_hash(b""), AT)


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (b" v=1; h=From:To;\r\n\tbh=x; b=y\r", {b"from", b"to"}),
        (b" h=List-Unsubscribe :\r\n List-Unsubscribe-Post; b=", None),
        (b"v=1; bh=h; b=hh", set()),
        (b"", set()),
    ],
)
def test_the_names_in_somebodys_signature(value, names):
    if names is None:
        names = {b"list-unsubscribe", b"list-unsubscribe-post"}
    assert signed_names(value) == names


def _pem(key, encryption=None) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())


@pytest.mark.parametrize(
    ("pem", "cause"),
    [
        (b"", "not a private key in PEM"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key"),
        (_pem(generate_private_key(65537, 1024)), "1024 bits"),
        (_pem(ec.generate_private_key(ec.SECP256R1())), "neither an RSA nor an Ed25519"),
        (_pem(Ed25519PrivateKey.generate(), BestAvailableEncryption(b"x")), "password"),
    ],
)
def test_a_key_that_cannot_sign_is_refused(pem, cause):
    with pytest.raises(InputError, match=cause):
        SigningKey.read(DOMAIN, "s", pem)


def test_a_key_in_the_older_form_is_read(rsa):
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    older = load_pem_private_key(rsa.pem, None).private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    )
    key = SigningKey.read(DOMAIN, "rsa", older)
    section = b"From: a@lamisnet.fi\r\n"
    assert verified(key.field(section, body_hash(b""), AT) + section + b"\r\n", rsa.record)
    assert "PRIVATE" not in repr(key)
