"""Hashes of contacts: as partners make them, and nothing else."""

import base64
import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.contact import Channel
from gateway.contacts.hashed import (
    Algorithm,
    Normalisation,
    Salting,
    Scheme,
    normalisation_of,
    read_hash,
    spellings,
)
from gateway.contacts.hashset import HashSet
from gateway.contacts.parse import parse_contact, parse_email
from gateway.failure import InputError

EMAIL = [one for one in Normalisation if one.channel is Channel.EMAIL]
PHONE = [one for one in Normalisation if one.channel is Channel.SMS]


@pytest.mark.parametrize(
    ("normalisation", "address", "known"),
    [
        # Meta's documentation of customer information parameters.
        (
            Normalisation.TRIM_LOWER,
            "John_Smith@gmail.com",
            bytes.fromhex("62a14e44f765419d10fea99367361a727c12365e2520f32218d505ed9aa0f62f"),
        ),
        (
            Normalisation.E164_NO_PLUS,
            "+1 (650)555-1212",
            bytes.fromhex("e323ec626319ca94ee8bff2e4c87cf613be6ea19919ed1364124e16807ab3176"),
        ),
        # UID2's documentation, "Normalization and Encoding".
        (
            Normalisation.UID2,
            "JANESaoirse@gmail.com",
            base64.b64decode("ku4mBX7Z3qJTXWyLFB1INzkyR2WZGW4ANSJUiW21iI8="),
        ),
        (
            Normalisation.UID2,
            "jane.Saoirse+UID2@gmail.com",
            base64.b64decode("ku4mBX7Z3qJTXWyLFB1INzkyR2WZGW4ANSJUiW21iI8="),
        ),
    ],
)
def test_what_partners_publish_is_found(normalisation, address, known):
    assert known in Scheme(Algorithm.SHA256, normalisation).hashes(parse_contact(address))


@pytest.mark.parametrize(
    ("address", "normalisation", "texts"),
    [
        ("Maija@Example.com", Normalisation.TRIM_LOWER, ("maija@example.com",)),
        ("Maija@Example.com", Normalisation.TRIM_UPPER, ("MAIJA@EXAMPLE.COM",)),
        ("m+a@example.com", Normalisation.TRIM_LOWER, ("m+a@example.com", "m@example.com")),
        ("M.A+x@gmail.com", Normalisation.TRIM_LOWER, ("m.a+x@gmail.com", "ma@gmail.com")),
        ("M.A+x@gmail.com", Normalisation.GOOGLE, ("ma+x@gmail.com", "ma@gmail.com")),
        ("M.A+x@gmail.com", Normalisation.UID2, ("ma@gmail.com",)),
        ("m.a@googlemail.com", Normalisation.GOOGLE, ("ma@googlemail.com", "ma@gmail.com")),
        ("m.a@googlemail.com", Normalisation.UID2, ("m.a@googlemail.com", "ma@gmail.com")),
        ("m.a+x@firm.fi", Normalisation.GOOGLE, ("m.a+x@firm.fi", "m.a@firm.fi")),
        (
            "Päivi@Älä.fi",
            Normalisation.TRIM_LOWER,
            ("päivi@xn--l-zfab.fi", "päivi@älä.fi"),
        ),
        ("+358401234567", Normalisation.E164, ("+358401234567",)),
        ("+358401234567", Normalisation.E164_NO_PLUS, ("358401234567",)),
        ("+358401234567", Normalisation.E164_ZEROS, ("00358401234567",)),
        ("+358401234567", Normalisation.TRIM_LOWER, ()),
        ("maija@example.com", Normalisation.E164, ()),
    ],
)
def test_the_texts_that_a_list_may_have_hashed(address, normalisation, texts):
    assert spellings(parse_contact(address), normalisation) == texts


@pytest.mark.parametrize("algorithm", list(Algorithm))
def test_a_salt_goes_in_as_it_is_declared(algorithm):
    salt, text = b"0123456789abcdef", "maija@example.com"
    contact = parse_email(text)

    def made(salting):
        scheme = Scheme(algorithm, Normalisation.TRIM_LOWER, salting, salt, "00000001")
        (value,) = scheme.hashes(contact)
        return value

    name = algorithm.value
    octets = text.encode()
    assert made(Salting.HMAC) == hmac.new(salt, octets, name).digest()
    assert made(Salting.PREFIX) == hashlib.new(name, salt + octets).digest()
    assert made(Salting.SUFFIX) == hashlib.new(name, octets + salt).digest()
    assert Scheme(algorithm, Normalisation.TRIM_LOWER).hashes(contact) == (
        hashlib.new(name, octets).digest(),
    )


schemes = st.builds(
    Scheme,
    st.sampled_from(Algorithm),
    st.sampled_from(Normalisation),
    st.none(),
) | st.builds(
    Scheme,
    st.sampled_from(Algorithm),
    st.sampled_from(Normalisation),
    st.sampled_from(Salting),
    st.binary(min_size=1, max_size=40),
    st.from_regex("[0-9a-f]{8}", fullmatch=True),
)


@given(schemes)
def test_a_scheme_is_found_again_by_its_name_which_tells_no_salt(scheme):
    assert Scheme.named(scheme.name, scheme.salt) == scheme
    assert repr(scheme).count("salt=") == 0
    assert (scheme.salting is None) == (scheme.name.count(":") == 1)


@pytest.mark.parametrize(
    "name",
    ["", "sha256", "sha3:trim-lower", "sha256:lower", "sha256:e164:hmac", "sha256:e164:hmac-1",
     "sha256:e164:stir-00000001", "sha256:e164:hmac-00000001:x", "md5:e164:"],
)  # fmt: skip
def test_no_other_name_is_a_scheme(name):
    with pytest.raises(InputError):
        Scheme.named(name)


def test_a_normalisation_by_its_name():
    assert normalisation_of("lower") is Normalisation.TRIM_LOWER
    assert normalisation_of(" E164-no-plus ") is Normalisation.E164_NO_PLUS
    with pytest.raises(InputError, match="trim-lower, trim-upper"):
        normalisation_of("as-is")


@given(st.sampled_from(Algorithm), st.data())
def test_a_hash_is_read_in_every_notation(algorithm, data):
    value = data.draw(st.binary(min_size=algorithm.octets, max_size=algorithm.octets))
    for text in (
        value.hex(),
        value.hex().upper(),
        base64.b64encode(value).decode(),
        base64.b64encode(value).decode().rstrip("="),
        base64.urlsafe_b64encode(value).decode(),
    ):
        assert read_hash(text, algorithm.octets) == value


@given(st.text(max_size=140), st.sampled_from(Algorithm))
def test_anything_else_is_no_hash(text, algorithm):
    found = read_hash(text, algorithm.octets)
    assert found is None or len(found) == algorithm.octets


@given(
    st.lists(st.binary(min_size=16, max_size=16).map(lambda octets: b"\0\0" + octets[:3] * 6)),
    st.lists(st.binary(min_size=3, max_size=3).map(lambda octets: b"\0\0" + octets * 6)),
)
def test_a_hash_set_holds_what_was_added_and_nothing_else(added, asked):
    found = HashSet()
    for value in added:
        found.add(value)
    # One bucket, values of few octets: what is read across two of them looks like a third.
    known = {value[:16] for value in added}
    assert len(found) == len(known)
    for value in [*added, *asked]:
        assert (value in found) == (value[:16] in known)
