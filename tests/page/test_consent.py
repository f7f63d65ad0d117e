"""Consent by the page: shown word by word, asked once, confirmed from the mailbox."""

import email
import re
from email.policy import default

import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import ConsentStatus, Scope
from gateway.entry.event import Event, EventKind
from gateway.unsubscribe.link import Purpose
from tests.page.test_choices import Read
from tests.peers.front import CONSENTS
from tests.peers.scripted import Stage
from tests.peers.verifier import Key, signed_fields, verified

A = "maija.meikalainen@example.com"
ASK = {"act": "consent", "topic": "newsletter", "version": "2026-1", "lang": "en"}
CONFIRM = {"act": "confirm", "version": "2026-1"}
WORDS = CONSENTS["newsletter"]["wording"]["en"]


def mail_of(upstream):
    [message] = upstream.messages
    return message, email.message_from_bytes(message.content, policy=default)


def confirm_url(pages, parsed) -> str:
    """The link of the message, on this server."""
    [found] = re.findall(r"https://preferences\.example(/c/\S+)", parsed.get_content())
    return pages.url + found


async def status(pages, topic: str = "newsletter"):
    entry = await pages.entry(A)
    return next((one for one in entry.consents if one.topic == topic), None)


async def test_a_consent_is_pending_until_the_mailbox_confirms_it(pages, upstream):
    url = pages.link(A, language="en")
    _, html = await pages.get(url)
    assert WORDS in html
    code, html = await pages.post(url, Read(html).form("consent", topic="newsletter"), follow=True)
    assert code == 200
    assert "We have sent a message to m…n@example.com" in html
    assert (await status(pages)).status is ConsentStatus.PENDING
    message, parsed = mail_of(upstream)
    assert message.recipients == [A]
    assert message.sender == "suppression-gateway@lamisnet.fi"
    assert parsed["To"] == A
    assert parsed["Auto-Submitted"] == "auto-generated"
    assert "List-Unsubscribe" not in parsed
    assert WORDS in parsed.get_content()
    [record] = await pages.house.found(A)
    assert (record.kind, record.rule, record.result) == ("notice", "R04", "forwarded")
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)

    confirm = confirm_url(pages, parsed)
    async with pages.session.head(confirm) as answer:
        assert answer.status == 200
    _, html = await pages.get(confirm)
    assert WORDS in html
    assert "m…n@example.com" in html
    assert (await status(pages)).status is ConsentStatus.PENDING
    _, html = await pages.post(confirm, Read(html).form("confirm"), follow=True)
    assert "The consent is confirmed and in force: Newsletter." in html
    granted = await status(pages)
    assert granted.status is ConsentStatus.GRANTED
    assert granted.proven
    assert granted.lifts
    async with pages.house.client() as client:
        assert "1 forwarded" in await client.mail(A)

    asked, given = [one for one in await pages.events(A) if one.kind is EventKind.CONSENT]
    assert (asked.source, asked.actor, asked.status) == ("page", "person", "pending")
    assert asked.evidence == "I consent: Newsletter [en]"
    assert (given.source, given.actor, given.status) == ("link", "person", "granted")
    assert given.wording == asked.wording == f"{WORDS} (version 2026-1, en)"
    assert re.fullmatch(
        r"I confirm the consent: Newsletter \[en\]; asked for 20\S+ on the page, "
        r"confirmed 20\S+ by the link sent to the address",
        given.evidence,
    )
    # Confirmed twice it is once.
    assert (await pages.post(confirm, {"act": "confirm", "version": "2026-1"}))[0] == 303
    assert len(await pages.events(A)) == 2

    # And taken back where it was given.
    _, html = await pages.get(confirm)
    _, html = await pages.post(confirm, Read(html).form("withdraw"), follow=True)
    assert "There is nothing to confirm" in html
    assert (await status(pages)).status is ConsentStatus.WITHDRAWN


@pytest.mark.parametrize("kind", [Key.rsa, Key.ed25519])
async def test_the_message_is_signed_where_there_is_a_key(open_pages, upstream, tmp_path, kind):
    key = kind(tmp_path, "lamisnet.fi")
    other = Key.rsa(tmp_path, "lamisnet.example", "other")
    async with open_pages(dkim=[other.table, key.table]) as pages:
        await pages.post(pages.link(A, language="fi"), ASK)
    message, parsed = mail_of(upstream)
    assert parsed.get_all("DKIM-Signature")
    assert verified(message.content, key.record)
    assert {b"from", b"to", b"subject", b"date"} <= set(signed_fields(message.content))
    assert not verified(message.content.replace(b"Subject: ", b"Subject: Re "), key.record)


async def test_the_message_is_not_signed_for_another_domain(open_pages, upstream, tmp_path):
    async with open_pages(dkim=[Key.rsa(tmp_path, "mail.lamisnet.fi").table]) as pages:
        await pages.post(pages.link(A, language="fi"), ASK)
    _, parsed = mail_of(upstream)
    assert "DKIM-Signature" not in parsed


async def test_one_message_only_whoever_asks_how_often(pages, upstream):
    url = pages.link(A, language="en")
    for _ in range(4):
        code, html = await pages.post(url, ASK, follow=True)
        assert (code, "We have sent a message" in html) == (200, True)
    assert len(upstream.messages) == 1
    assert len(await pages.events(A)) == 1


@pytest.mark.parametrize("act", ["withdraw", "topic"])
async def test_a_message_sent_before_a_refusal_confirms_nothing_after_it(pages, upstream, act):
    # Whoever was passed the message has both of its links: to ask anew, and to confirm.
    url = pages.link(A, language="en")
    await pages.post(url, ASK)
    confirm = confirm_url(pages, mail_of(upstream)[1])
    await pages.post(confirm, CONFIRM)
    assert (await status(pages)).status is ConsentStatus.GRANTED
    await pages.post(url, {"act": act, "topic": "newsletter"})
    code, html = await pages.post(url, ASK)
    assert (code, "Nothing has been recorded" in html) == (429, True)
    assert len(upstream.messages) == 1
    await pages.post(confirm, CONFIRM)
    assert (await status(pages)).status is not ConsentStatus.PENDING
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)


async def test_a_confirmation_that_another_site_sends_is_not_taken(pages, upstream):
    await pages.post(pages.link(A), ASK)
    confirm = confirm_url(pages, mail_of(upstream)[1])
    assert (await pages.post(confirm, CONFIRM, Sec_Fetch_Site="cross-site"))[0] == 403
    assert (await status(pages)).status is ConsentStatus.PENDING


async def test_too_many_confirmations_of_one_contact_wait(pages):
    url = pages.link(A, purpose=Purpose.CONFIRM)
    codes = [(await pages.post(url, CONFIRM))[0] for _ in range(40)]
    assert codes[:10] == [303] * 10
    assert 429 in codes


async def test_a_message_for_an_earlier_question_confirms_no_later_one(pages, upstream):
    await pages.post(pages.link(A), ASK)
    kept = pages.link(A, purpose=Purpose.CONFIRM, age=8, language="en")
    assert "There is nothing to confirm" in (await pages.get(kept))[1]
    await pages.post(kept, CONFIRM)
    assert (await status(pages)).status is ConsentStatus.PENDING
    await pages.post(confirm_url(pages, mail_of(upstream)[1]), CONFIRM)
    assert (await status(pages)).status is ConsentStatus.GRANTED


async def test_a_refusal_said_again_ends_what_was_asked_for_since(pages, upstream):
    url = pages.link(A)
    one_click = {"List-Unsubscribe": "One-Click"}
    assert (await pages.post(url, one_click))[0] == 200
    await pages.post(url, ASK)
    assert (await pages.post(url, one_click))[0] == 200
    await pages.post(confirm_url(pages, mail_of(upstream)[1]), CONFIRM)
    assert (await status(pages)).status is ConsentStatus.PENDING
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)


async def test_a_message_that_was_not_sent_is_sent_when_asked_again(pages, upstream):
    upstream.on(Stage.MAIL, reply="451 4.3.0 Later", times=1)
    url = pages.link(A, language="en")
    code, html = await pages.post(url, ASK)
    assert code == 503
    assert "could not make sure" in html
    assert upstream.messages == []
    assert (await pages.post(url, ASK))[0] == 303
    assert len(upstream.messages) == 1


async def test_a_message_that_may_have_been_sent_is_not_sent_again_at_once(pages, upstream):
    upstream.on(Stage.END, close=True, times=1)
    url = pages.link(A, language="en")
    assert (await pages.post(url, ASK))[0] == 503
    status_code, html = await pages.post(url, ASK, follow=True)
    assert status_code == 200
    assert "we do not know yet whether the message to m…n@example.com has left" in html
    assert "We have sent" not in html
    assert len(upstream.messages) <= 1
    [record] = await pages.house.found(A)
    assert record.result == "unknown"
    assert (await status(pages)).status is ConsentStatus.PENDING


async def test_a_message_that_the_rules_stop_is_not_said_to_be_sent(open_pages, upstream):
    async with open_pages(held={"sender": "noreply@elsewhere.example"}) as pages:
        url = pages.link(A, language="en")
        assert (await pages.post(url, ASK))[0] == 503
        _, html = await pages.post(url, ASK, follow=True)
        assert "we do not know yet" in html
        assert "We have sent" not in html
        assert upstream.messages == []


async def test_no_message_is_told_of_where_another_has_recorded_the_question(pages):
    await pages.house.parts.register.apply(
        Event(
            kind=EventKind.CONSENT,
            at=now_ms(),
            actor="import",
            source="form",
            evidence="a form on paper",
            channel=Channel.EMAIL,
            topic="newsletter",
            status=ConsentStatus.PENDING,
        ),
        parse_contact(A),
    )
    _, html = await pages.get(pages.link(A, language="en") + "?done=consent")
    assert "is not confirmed: Newsletter" in html
    assert 'role="status"' not in html
    assert "We have sent" not in html


@pytest.mark.parametrize("scope", [Scope.ALL, Scope.CHANNEL, Scope.TOPIC])
async def test_what_was_refused_since_it_was_asked_cannot_be_confirmed(pages, upstream, scope):
    url = pages.link(A, language="en")
    await pages.post(url, ASK)
    await pages.post(url, {"act": scope, "lang": "en"})
    confirm = confirm_url(pages, mail_of(upstream)[1])
    _, html = await pages.get(confirm)
    assert "There is nothing to confirm" in html
    await pages.post(confirm, {"act": "confirm", "version": "2026-1"})
    assert (await status(pages)).status is not ConsentStatus.GRANTED
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)


async def test_what_was_refused_before_is_lifted_by_the_confirmation_alone(pages, upstream):
    await pages.house.know(A)
    await pages.house.ban(A)
    url = pages.link(A, language="en")
    _, html = await pages.get(url)
    # It stands at the end, closed: nobody who has refused is asked to come back.
    assert html.index("<details>") > html.index('id="data"')
    assert "Consents that you can give" not in html
    await pages.post(url, Read(html).form("consent", topic="newsletter"))
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)
    confirm = confirm_url(pages, mail_of(upstream)[1])
    await pages.post(confirm, {"act": "confirm", "version": "2026-1", "lang": "en"})
    async with pages.house.client() as client:
        assert "1 forwarded" in await client.mail(A)
    _, html = await pages.get(url)
    assert "The exception is what you have consented to since." in html


@pytest.mark.parametrize("kind", ["contact", "restricted"])
async def test_who_may_not_be_written_to_is_offered_none(pages, upstream, kind):
    if kind == "contact":
        await pages.house.ban(A, Scope.CONTACT)
    else:
        await pages.house.tell(A, EventKind.RESTRICT)
    _, html = await pages.get(pages.link(A))
    assert [one for one in Read(html).forms if one["act"] == "consent"] == []
    await pages.post(pages.link(A), ASK)
    assert upstream.messages == []
    assert await status(pages) is None


async def test_the_words_must_be_those_that_were_shown(pages, upstream):
    url = pages.link(A, language="en")
    code, html = await pages.post(url, {**ASK, "version": "2025-9"})
    assert code == 409
    assert "The wording has changed" in html
    assert await status(pages) is None
    await pages.post(url, ASK)
    confirm = confirm_url(pages, mail_of(upstream)[1])
    code, html = await pages.post(confirm, {"act": "confirm", "version": "2025-9", "lang": "en"})
    assert code == 409
    assert "The wording has changed" in html
    assert (await status(pages)).status is ConsentStatus.PENDING


async def test_a_topic_that_is_not_offered_is_not_consented_to(pages, upstream):
    await pages.post(pages.link(A), {**ASK, "topic": "offers"})
    assert upstream.messages == []
    assert (await pages.entry(A)).consents == ()


async def test_a_wording_in_one_language_is_shown_and_kept_as_that(pages, upstream):
    _, html = await pages.get(pages.link(A, language="sv"))
    words = CONSENTS["*"]["wording"]["fi"]
    assert re.search(rf'<blockquote id="consent-2" lang="fi">{words}</blockquote>', html)
    await pages.post(pages.link(A, language="sv"), Read(html).form("consent", topic="*"))
    [event] = await pages.events(A)
    assert event.wording == f"{words} (version 2026-1, fi)"
    assert event.evidence == "Jag samtycker: all marknadsföring per e-post [sv]"


@pytest.mark.parametrize("topic", ["newsletter", None])
async def test_a_confirming_link_without_a_question_confirms_nothing(pages, topic):
    url = pages.link(A, topic, purpose=Purpose.CONFIRM, language="en")
    _, html = await pages.get(url)
    assert "There is nothing to confirm" in html
    assert (await pages.post(url, {"act": "confirm", "version": "2026-1"}))[0] == 303
    assert (await pages.entry(A)).consents == ()


async def test_a_confirming_link_has_its_days(pages):
    old = pages.link(A, purpose=Purpose.CONFIRM, age=15)
    assert (await pages.get(old))[0] == 410
    long_ago = 15 * 86_400_000
    await pages.house.tell(
        A,
        EventKind.CONSENT,
        at=now_ms() - long_ago,
        channel=Channel.EMAIL,
        topic="newsletter",
        status=ConsentStatus.PENDING,
    )
    fresh = pages.link(A, purpose=Purpose.CONFIRM, language="en")
    await pages.post(fresh, {"act": "confirm", "version": "2026-1"})
    assert (await status(pages)).status is ConsentStatus.PENDING


async def test_without_an_address_of_the_pages_no_consent_is_offered(open_pages):
    async with open_pages(public={"listen": ["127.0.0.1:0"]}) as pages:
        _, html = await pages.get(pages.link(A))
        assert [one for one in Read(html).forms if one["act"] == "consent"] == []


async def test_an_address_beyond_ascii_is_offered_none(pages):
    _, html = await pages.get(pages.link("mäijä@example.com"))
    assert [one for one in Read(html).forms if one["act"] == "consent"] == []
