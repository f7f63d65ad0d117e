"""E-mail addresses: one mailbox, one form; the fast path gives what the slow one gives."""

import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.contacts import email as module
from gateway.contacts.contact import Channel, Contact, ContactError
from gateway.contacts.email import organisations_of, parse_domain, parse_email
from gateway.contacts.parse import parse_contact

thorough = settings(deadline=None, max_examples=300)


def read(parse, text: str) -> Contact | None:
    try:
        return parse(text)
    except ContactError:
        return None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("maija@example.fi", "maija@example.fi"),
        ("Maija.Meikalainen@Example.FI", "maija.meikalainen@example.fi"),
        ("  maija@example.fi\r\n", "maija@example.fi"),
        ("maija@example.fi.", "maija@example.fi"),
        ('"maija"@example.fi', "maija@example.fi"),
        ('"ma\\ija"@example.fi', "maija@example.fi"),
        ('"Maija M"@example.fi', '"maija m"@example.fi'),
        ('"a@b"@example.fi', '"a@b"@example.fi'),
        ('"a\\"b"@example.fi', '"a\\"b"@example.fi'),
        ("maija+uutiset@example.fi", "maija+uutiset@example.fi"),
        ("o'brien!#$%&*/=?^`{|}~@example.fi", "o'brien!#$%&*/=?^`{|}~@example.fi"),
        ("MÄKI@example.fi", "mäki@example.fi"),
        ("ma\u0308ki@example.fi", "mäki@example.fi"),
        ("strauß@example.fi", "strauss@example.fi"),
        ("x@Mäki.fi", "x@xn--mki-qla.fi"),
        ("x@ma\u0308ki.fi", "x@xn--mki-qla.fi"),
        ("x@XN--MKI-QLA.fi", "x@xn--mki-qla.fi"),
        ("x@mäki\u3002fi", "x@xn--mki-qla.fi"),
        ("x@ｅxample.fi", "x@example.fi"),
        ("x@faß.de", "x@xn--fa-hia.de"),
        ("x@intra.local", "x@intra.local"),
        ("x@firma.test", "x@firma.test"),
    ],
)
def test_canonical_form(text, canonical):
    contact = parse_email(text)
    assert contact.channel is Channel.EMAIL
    assert contact.canonical == canonical


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("maija@example.fi", "maija@example.fi"),
        ("Maija+a+b@example.fi", "maija@example.fi"),
        ("m.a.i.ja@example.fi", "m.a.i.ja@example.fi"),
        ("M.a.i.ja+x@Gmail.com", "maija@gmail.com"),
        ("maija@googlemail.com", "maija@gmail.com"),
        ("maija@mail.gmail.com", "maija@mail.gmail.com"),
        ("+maija@example.fi", "+maija@example.fi"),
        ('"maija m+x"@example.fi', '"maija m"@example.fi'),
        ('"maija+x y"@example.fi', "maija@example.fi"),
        ("maija.+x@example.fi", '"maija."@example.fi'),
        ('"..."@gmail.com', '"..."@gmail.com'),
    ],
)
def test_base_is_the_wider_spelling(text, base):
    assert parse_email(text).base == base


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "empty"),
        ("maija", "no @"),
        ("@example.fi", "before the @"),
        ("maija@", "after the @"),
        ("<maija@example.fi>", "angle brackets"),
        ("Maija <maija@example.fi>", "angle brackets"),
        ('"Maija" <maija@example.fi>', "angle brackets"),
        ("a@example.fi,b@example.fi", "list"),
        ("a@example.fi;b@example.fi", "list"),
        ("a@example.fi b@example.fi", "list"),
        ("a@b@example.fi", "list"),
        ("maija@[192.0.2.1]", "address literal"),
        ("maija@[IPv6:2001:db8::1]", "address literal"),
        ("maija@localhost", "no dot"),
        ("maija@example..fi", "domain"),
        ("maija@.example.fi", "domain"),
        ("maija@example.fi..", "domain"),
        ("maija@-example.fi", "domain"),
        ("maija@exa_mple.fi", "domain"),
        ("maija@192.0.2.1", "domain"),
        ("maija@xn--zz--zz.fi", "domain"),
        ("maija@☃☃❤.\u2488fi", "domain"),
        (f"maija@{'a' * 64}.fi", "domain"),
        ("ma ija@example.fi", "before the @"),
        (".maija@example.fi", "before the @"),
        ("maija.@example.fi", "before the @"),
        ("ma..ija@example.fi", "before the @"),
        ('ma"ij"a@example.fi', "before the @"),
        ('"maija@example.fi', "before the @"),
        ("\u0308maija@example.fi", "before the @"),
        ("a\u037eb@example.fi", "before the @"),
        (f"{'a' * 65}@example.fi", "before the @"),
        (f"{'ä' * 33}@example.fi", "longer than 64"),
        (f"{'a' * 64}@{'.'.join(['a' * 62] * 3)}.fi", "longer than 254"),
        (f"{'ä' * 32}@{'.'.join(['a' * 61] * 3)}.fi" + "i" * 4, "longer than 254"),
        ("a" * 100_000, "longer than 254"),
    ],
)
def test_what_is_refused_and_why(text, cause):
    with pytest.raises(ContactError, match=cause) as caught:
        parse_email(text)
    assert caught.value.__cause__ is None
    assert "maija" not in str(caught.value)
    assert "example" not in str(caught.value)


@pytest.mark.parametrize(
    "char",
    [
        "\u200b",
        "\u200c",
        "\u200d",
        "\u2060",
        "\ufeff",
        "\u00ad",
        "\u00a0",
        "\u202e",
        "\u2066",
        "\u200f",
        "\x00",
        "\t",
        "\n",
        "\x7f",
        "\ue000",
        "\udc80",
        "\u034f",
        "\u3164",
        "\u115f",
        "\ufe0f",
        "\u2800",
        "\U000e0041",
        "\U000e0100",
    ],
)
@pytest.mark.parametrize("text", ["ma{}ija@example.fi", "maija@exa{}mple.fi", '"ma{}"@example.fi'])
def test_invisible_characters_are_refused_by_name(text, char):
    with pytest.raises(ContactError, match=re.escape(f"U+{ord(char):04X}")):
        parse_email(text.format(char))


def test_the_longest_address_is_taken():
    text = f"{'a' * 64}@{'.'.join(['b' * 61] * 3)}.fi"
    assert len(text) == 64 + 1 + 188
    assert parse_email(text + "i").canonical == text + "i"
    with pytest.raises(ContactError):
        parse_email(text + "ii")


def test_organisations_are_the_domain_and_its_parents():
    assert parse_email("x@example.fi").organisations == ("example.fi",)
    assert parse_email("x@a.b.example.fi").organisations == (
        "a.b.example.fi",
        "b.example.fi",
        "example.fi",
    )


def test_of_a_long_domain_the_registered_name_is_still_among_the_organisations():
    organisations = organisations_of("a.b.c.d.example.co.uk")
    assert organisations == ("a.b.c.d.example.co.uk", "d.example.co.uk", "example.co.uk", "co.uk")


@pytest.mark.parametrize(
    ("text", "domain"),
    [(" Mäki.FI. ", "xn--mki-qla.fi"), ("sub.example.fi", "sub.example.fi")],
)
def test_parse_domain(text, domain):
    assert parse_domain(text) == domain


@pytest.mark.parametrize("text", ["", "fi", "@example.fi", "x@example.fi", "a b.fi", "a\u200b.fi"])
def test_parse_domain_refuses(text):
    with pytest.raises(ContactError):
        parse_domain(text)


def test_parse_contact_takes_both():
    assert parse_contact("x@example.fi").channel is Channel.EMAIL
    assert parse_contact("040 123 4567", "FI").canonical == "+358401234567"


ascii_text = st.text(
    alphabet=st.sampled_from("abzAZ019.+-_@\"\\ !#'<>[],;:()%xn\t\n\x00"), max_size=70
)
plain = st.from_regex(
    r"[A-Za-z0-9._+-]{0,30}@[A-Za-z0-9.-]{0,34}",
    fullmatch=True,
    alphabet=st.characters(codec="ascii"),
)
likely = st.builds(
    lambda local, labels, end: f"{local}@{'.'.join(labels)}{end}",
    st.from_regex(r"[A-Za-z0-9_+.-]{1,20}", fullmatch=True),
    st.lists(st.from_regex(r"[A-Za-z0-9-]{1,9}", fullmatch=True), min_size=1, max_size=6),
    st.sampled_from(["", ".fi", ".COM", ".", ".\u0130", ".\u212a"]),
)
unicode_address = st.builds(
    lambda local, domain: f"{local}@{domain}",
    st.text(max_size=20),
    st.one_of(st.just("example.fi"), st.text(max_size=12).map(lambda label: f"{label}.fi")),
)


@given(st.one_of(ascii_text, plain, likely, unicode_address, st.text(max_size=40)))
@example("K@example.fi")
@example("x@example.\u212ao")
@example("x@xn--mki-qla.fi")
@example("x@ab--cd.fi")
@example("x@a-.fi")
@example("x@example.f1")
@example("a+@gmail.com")
@example("a.+b@gmail.com")
@example("a\n@example.fi")
@example("a@example.fi\n")
@settings(thorough, max_examples=1500)
def test_the_fast_path_gives_what_the_slow_path_gives(text):
    """For every text both paths give the same contact or both refuse."""
    assert read(parse_email, text) == read(module._parse_slowly, text)


@settings(thorough, max_examples=60)
@given(st.from_regex(re.compile(module._fast.__self__.pattern, re.ASCII), fullmatch=True))
def test_what_the_fast_path_takes_the_slow_path_takes(text):
    if len(text) <= 64:
        contact = module._parse_slowly(text)
        assert contact == parse_email(text)


@thorough
@given(st.one_of(likely, unicode_address))
@example("\u0345\u0301@example.fi")
@example("x\u0345\u0301@example.fi")
@example("\u1fb3\u0301@example.fi")
@example("\u0149@example.fi")
def test_the_canonical_form_is_its_own_canonical_form(text):
    """Parsing what parsing gave changes nothing, and so for the base's own base."""
    contact = read(parse_email, text)
    if contact is not None:
        assert parse_email(contact.canonical) == contact
        assert contact.canonical.isprintable()
        assert len(contact.canonical.encode()) <= 254
        if (base := read(parse_email, contact.base)) is not None:
            assert base.base == contact.base


@thorough
@given(likely)
def test_letter_case_never_tells_two_contacts_apart(text):
    assert read(parse_email, text.upper()) == read(parse_email, text.lower())
