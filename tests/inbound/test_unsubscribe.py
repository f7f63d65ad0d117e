"""``mailto:`` unsubscribes: the token tells who, and the ban is in force before the 250."""

import time
from email.header import Header

import pytest

from gateway.contacts.contact import Channel
from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from gateway.records.record import Direction, Result
from gateway.unsubscribe.link import Purpose
from tests.inbound.conftest import UNSUBSCRIBE

MAIJA = "maija@example.com"
_LOCAL, _DOMAIN = UNSUBSCRIBE.split("@")


def mail(subject: str, text: str = "", more: str = "") -> bytes:
    return f"From: M <maija@other.example>\r\n{more}Subject: {subject}\r\n\r\n{text}".encode()


def folded(token: str) -> str:
    return f"{token[:40]}\r\n {token[40:]}"


def encoded(token: str) -> str:
    return Header(token, "utf-8", maxlinelen=60).encode(linesep="\r\n")


SUBJECTS = {
    "alone": lambda token: token,
    "answered": lambda token: f"Re: {token}",
    "answered in Finnish": lambda token: f"VS: Vl: {token}",
    "with a word before": lambda token: f"unsubscribe {token}",
    "in brackets": lambda token: f"[{token}] (was: news)",
    "folded in the middle": folded,
    "folded before": lambda token: f"\r\n {token}",
    "encoded": encoded,
    "quoted printable": lambda token: f"=?utf-8?q?{token.replace('_', '=5F')}?=",
    "base64 in two words": lambda token: "\r\n ".join(
        Header(half, "utf-8").encode() for half in (token[:20], token[20:])
    ),
}


@pytest.mark.parametrize("write", SUBJECTS.values(), ids=SUBJECTS)
async def test_the_token_in_the_subject_tells_who(post, upstream, write):
    await post.allow(MAIJA)
    assert "1 forwarded" in await post.sent(MAIJA)
    reply = await post.bring(UNSUBSCRIBE, mail(write(post.token(MAIJA))))
    assert reply.startswith("250 ")
    # No wait: it was in force before the answer.
    assert "1 suppressed" in await post.sent(MAIJA)
    [ban] = (await post.entry(MAIJA)).bans
    assert (ban.scope, ban.channel) == (Scope.CHANNEL, Channel.EMAIL)
    assert len(upstream.messages) == 1


async def test_the_address_may_hold_the_token(post):
    token = post.token(MAIJA)
    assert (await post.bring(f"{_LOCAL}+{token}@{_DOMAIN}", mail("stop"))).startswith("250 ")
    assert (await post.entry(MAIJA)).bans


async def test_every_link_that_a_message_names_is_in_force(post):
    """A mail server puts several recipients of one domain into one transaction."""
    one, two, three = (post.token(MAIJA, topic) for topic in ("news", "offers", "events"))
    async with post.caller() as client:
        recipients = [f"{_LOCAL}+{token}@{_DOMAIN}" for token in (one, two)]
        assert len(await client.begin(*recipients, sender="<>")) == 2
        assert (await client.data(mail(f"Re: {three}"))).startswith("250 ")
    topics = {ban.topic for ban in (await post.entry(MAIJA)).bans}
    assert topics == {"news", "offers", "events"}


async def test_a_link_of_a_topic_bans_the_topic_alone(post):
    assert (await post.bring(UNSUBSCRIBE, mail(post.token(MAIJA, "offers")))).startswith("250 ")
    [ban] = (await post.entry(MAIJA)).bans
    assert (ban.scope, ban.channel, ban.topic) == (Scope.TOPIC, Channel.EMAIL, "offers")


async def test_a_link_of_a_number_bans_text_messages(post):
    number = "+358401234567"
    assert (await post.bring(UNSUBSCRIBE, mail(post.token(number)))).startswith("250 ")
    [ban] = (await post.entry(number)).bans
    assert (ban.scope, ban.channel) == (Scope.CHANNEL, Channel.SMS)


async def test_an_old_link_still_refuses(post):
    token = post.token(MAIJA, age=4000)
    assert (await post.bring(UNSUBSCRIBE, mail(token))).startswith("250 ")
    assert (await post.entry(MAIJA)).bans


async def test_it_comes_twice(post):
    message = mail(post.token(MAIJA), more="Message-ID: <1@x.example>\r\n")
    for _ in range(3):
        began = time.monotonic()
        assert (await post.bring(UNSUBSCRIBE, message)).startswith("250 ")
        # The first may be under way still: what it has set is in force no sooner.
        assert time.monotonic() - began >= post.parts.register.settling
    assert len((await post.entry(MAIJA)).bans) == 1
    # Whoever has a link could else fill log and archive with it.
    assert len(await post.events(MAIJA)) == 1
    assert len(await post.found(MAIJA)) == 1


async def test_what_a_consent_has_lifted_since_is_refused_anew(post):
    message = mail(post.token(MAIJA))
    assert (await post.bring(UNSUBSCRIBE, message)).startswith("250 ")
    await post.tell(
        MAIJA,
        EventKind.CONSENT,
        channel=Channel.EMAIL,
        topic="newsletter",
        proven=True,
        lifts=True,
        settled=True,
    )
    assert "1 forwarded" in await post.sent(MAIJA)
    assert (await post.bring(UNSUBSCRIBE, message)).startswith("250 ")
    assert "1 suppressed" in await post.sent(MAIJA)


@pytest.mark.parametrize("subject", ["", "stop", "unsubscribe", "A" * 60, "=?utf-8?b?!!!?="])
async def test_who_is_not_told_of_hears_what_to_do(post, subject):
    await post.allow("maija@other.example")
    reply = await post.bring(UNSUBSCRIBE, mail(subject), sender="<maija@other.example>")
    assert reply.startswith("550 5.7.1 ")
    assert "privacy@lamisnet.example" in reply
    # From is anybody's to write.
    assert (await post.entry("maija@other.example")).bans == ()


async def test_a_changed_token_is_nobodys(post):
    token = post.token(MAIJA)
    another = "B" if token[0] == "A" else "A"
    for changed in (token[:-1], token + "A", another + token[1:], token.swapcase()):
        assert (await post.bring(UNSUBSCRIBE, mail(changed))).startswith("550 5.7.1 ")
    assert (await post.entry(MAIJA)).bans == ()


async def test_a_link_that_confirms_refuses_nothing(post):
    token = post.token(MAIJA, purpose=Purpose.CONFIRM)
    assert (await post.bring(UNSUBSCRIBE, mail(token))).startswith("550 5.7.1 ")
    assert (await post.entry(MAIJA)).bans == ()


async def test_the_persons_words_are_the_evidence(post):
    text = (
        "Ei enää mainoksia, kiitos! 131052-308T\r\nt. Maija <maija@other.example>\r\n" + "ä " * 600
    )
    token = post.token(MAIJA)
    message = mail(token, text, "Content-Type: text/plain; charset=utf-8\r\n")
    assert (await post.bring(UNSUBSCRIBE, message)).startswith("250 ")
    [event] = await post.events(MAIJA)
    assert event.actor == "person"
    assert event.source == "mailto"
    [record] = await post.found(MAIJA)
    assert record.result is Result.FORWARDED
    message = (await post.archive.show(record.record_id)).message
    assert (message.direction, message.client) == (Direction.IN, "inbound")
    kept = b"".join([piece async for piece in post.contents.open(message.content)]).decode()
    assert kept.startswith("Ei enää mainoksia, kiitos! ***********")
    assert len(kept) == 500
    assert "@" not in kept
    assert token not in kept
