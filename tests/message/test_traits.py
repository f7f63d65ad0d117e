"""What a message shows of itself: kind, topic, sender, means to refuse."""

import pytest

from gateway.decision.facts import Kind
from gateway.message.headers import HeaderSection
from gateway.message.optout import in_text, list_unsubscribe
from gateway.message.sender import authorised, sender_domains
from gateway.message.traits import read_traits

OWN = frozenset({"lamisnet.fi"})
FROM = "From: LamisNET <uutiset@lamisnet.fi>\r\n"


def section(text: str) -> HeaderSection:
    return HeaderSection(text.encode())


def traits(text: str, kind: Kind | None = None, topic: str | None = None, **more):
    return read_traits(
        section(FROM + text), fixed_kind=kind, fixed_topic=topic, owned_domains=OWN, **more
    )


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("service", Kind.SERVICE),
        (" Transactional ", Kind.TRANSACTIONAL),
        ("MARKETING", Kind.MARKETING),
        ("notice", Kind.NOTICE),
        ("unclear", Kind.UNCLEAR),
        ("newsletter", Kind.UNCLEAR),
        ("", Kind.UNCLEAR),
    ],
)
def test_a_declared_kind_is_one_of_four_or_unclear(said, kind):
    assert traits(f"X-Gateway-Kind: {said}\r\n").kind is kind


def test_no_declaration_is_unclear_never_service():
    assert traits("").kind is Kind.UNCLEAR


def test_two_declarations_that_differ_are_unclear():
    both = "X-Gateway-Kind: service\r\nX-Gateway-Kind: notice\r\n"
    assert traits(both).kind is Kind.UNCLEAR


@pytest.mark.parametrize(
    "mark",
    ["List-Unsubscribe: <https://x.example/u>\r\n", "Precedence: Bulk\r\n", "Feedback-ID: 1:2\r\n"],
)
@pytest.mark.parametrize("kind", [Kind.SERVICE, Kind.TRANSACTIONAL, Kind.NOTICE])
def test_a_mark_of_bulk_mail_makes_any_kind_marketing(kind, mark):
    assert traits(mark, kind).kind is Kind.MARKETING
    assert traits(mark, kind).turned_marketing_by


def test_precedence_other_than_bulk_changes_nothing():
    assert traits("Precedence: list\r\n", Kind.SERVICE).kind is Kind.SERVICE


def test_a_service_client_may_call_a_message_marketing_but_not_the_other_way_round():
    assert traits("X-Gateway-Kind: marketing\r\n", Kind.SERVICE).kind is Kind.MARKETING
    assert traits("X-Gateway-Kind: service\r\n", Kind.MARKETING).kind is Kind.MARKETING


def test_a_client_topic_stands_and_a_declared_one_fills_its_absence():
    said = "X-Gateway-Topic: brand-a\r\n"
    assert traits(said, Kind.MARKETING, "newsletter").topic == "newsletter"
    assert traits(said, Kind.MARKETING).topic == "brand-a"
    assert traits(said, None, "newsletter").topic == "brand-a"
    assert traits(said + "X-Gateway-Topic: b\r\n", Kind.MARKETING).topic is None


@pytest.mark.parametrize(
    ("value", "domains"),
    [
        ("a@lamisnet.fi", ("lamisnet.fi",)),
        ("LamisNET <a@Mail.LamisNET.fi>", ("mail.lamisnet.fi",)),
        ('"Lamminpää, Ismo" <a@lamisnet.fi>', ("lamisnet.fi",)),
        ("=?utf-8?q?Lamis?= <a@lamisnet.fi>", ("lamisnet.fi",)),
        ("a@lamisnet.fi, b@evil.example", ("lamisnet.fi", "evil.example")),
        ('"x@lamisnet.fi" <a@evil.example>', ("evil.example",)),
        ("x@lamisnet.fi <a@evil.example>", ()),
        ("no address", ()),
        ("", ()),
        ("a@", ()),
    ],
)
def test_the_visible_sender(value, domains):
    assert sender_domains(section(f"From: {value}\r\n")) == domains


def test_two_from_fields_are_no_sender():
    assert sender_domains(section("From: a@lamisnet.fi\r\nFrom: b@lamisnet.fi\r\n")) == ()


@pytest.mark.parametrize(
    ("domains", "right"),
    [
        (("lamisnet.fi",), True),
        (("news.lamisnet.fi",), True),
        (("notlamisnet.fi",), False),
        (("lamisnet.fi.evil.example",), False),
        (("lamisnet.fi", "evil.example"), False),
        ((), False),
    ],
)
def test_only_own_domains_and_those_below_them_are_authorised(domains, right):
    assert authorised(domains, OWN) is right


@pytest.mark.parametrize(
    ("field", "offers"),
    [
        ("<https://x.example/u>", "https"),
        ("<mailto:u@x.example>, <https://x.example/u>", "https+mailto"),
        ("https://x.example/u", ""),
        ("<>", ""),
        ("<javascript:x>", ""),
    ],
)
def test_list_unsubscribe_counts_only_with_a_usable_uri(field, offers):
    assert list_unsubscribe(section(f"List-Unsubscribe: {field}\r\n")) == offers


def test_opt_out_words_are_found_through_transfer_encoding_and_html():
    message = (
        b"Content-Type: text/html; charset=iso-8859-1\r\n"
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n"
        b"<a href=3D'https://x'>Peru\r\nuta   =\r\ntilaus</a> kiell=E4 markkinointi"
    )
    assert in_text(message, ["kiellä markkinointi"])
    assert not in_text(message, ["unsubscribe"])


def test_words_in_markup_alone_do_not_count():
    message = b"Content-Type: text/html\r\n\r\n<img alt='unsubscribe'>text"
    assert not in_text(message, ["unsubscribe"])


def test_marks_of_recognisable_marketing_are_asked_of_the_decoded_subject():
    said = "Subject: =?utf-8?b?W01haW5vc10gVMOkbsOkw6Ru?=\r\n"
    assert traits(said, Kind.MARKETING, recognisable_marks=["[Mainos]"]).recognisable
    assert not traits(
        "Subject: Hei\r\n", Kind.MARKETING, recognisable_marks=["[mainos]"]
    ).recognisable
    assert traits("Subject: Hei\r\n", Kind.MARKETING).recognisable
