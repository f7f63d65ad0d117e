"""Bounces and complaints: what they change, and from whom they are believed."""

import pytest

from gateway.contacts.contact import Channel
from gateway.entry.entry import DeliveryReason, Scope
from gateway.entry.event import EventKind
from gateway.records.record import Direction
from tests.bounce.samples import NOTIFICATIONS, TOKEN, M, feedback, recipient, report
from tests.inbound.conftest import BILLING, BOUNCES, OURS, STRANGER

HARD = NOTIFICATIONS[0].octets
DAY = 86_400_000


async def test_a_hard_bounce_stops_marketing_and_nothing_else(post):
    await post.allow(M)
    assert "1 forwarded" in await post.sent(M)
    assert (await post.bring(BOUNCES, HARD, source=OURS)).startswith("250 ")
    assert "1 suppressed" in await post.sent(M)
    assert "1 forwarded" in await post.sent(M, BILLING)
    entry = await post.entry(M)
    assert entry.bans == ()
    [given_up] = entry.delivery
    assert given_up.reason is DeliveryReason.HARD_BOUNCE
    assert given_up.expires == given_up.at + 365 * DAY


async def test_it_is_recorded_without_its_words(post):
    assert (await post.bring(BOUNCES, HARD, source=OURS)).startswith("250 ")
    [event] = await post.events(M)
    assert (event.kind, event.actor, event.source) == (
        EventKind.UNDELIVERABLE,
        "gateway",
        "bounce",
    )
    [record] = await post.found(M)
    shown = await post.archive.show(record.record_id)
    assert shown.message.direction is Direction.IN
    assert shown.message.content is None
    assert not shown.headers


async def test_a_stranger_is_not_believed(post):
    await post.allow(M)
    reply = await post.bring(BOUNCES, HARD, source=STRANGER)
    assert reply == await post.bring("nobody@mail.lamisnet.fi", HARD, source=STRANGER)
    assert reply.startswith("550 5.1.1 ")
    assert (await post.entry(M)).delivery == ()


@pytest.mark.parametrize(
    "sample", [one for one in NOTIFICATIONS if not one.hard], ids=lambda one: one.name
)
async def test_what_is_not_hard_changes_nothing(post, sample):
    assert (await post.bring(BOUNCES, sample.octets, source=OURS)).startswith("250 ")
    assert await post.found() == []
    assert (await post.entry(M)).delivery == ()


async def test_of_several_each_that_is_gone(post):
    names = [f"gone{number}@x.example" for number in range(20)]
    blocks = [recipient(name, "5.1.1", "550 5.1.1 no such user") for name in names]
    message = report("x", *blocks, recipient("kept@x.example", "5.2.2")).replace("\n", "\r\n")
    assert (await post.bring(BOUNCES, message.encode(), source=OURS)).startswith("250 ")
    for name in names:
        assert (await post.entry(name)).delivery
    assert not (await post.entry("kept@x.example")).delivery
    assert len(await post.found()) == 20


def bounced(failed: str, written_to: str, token: str = TOKEN) -> bytes:
    """A hard bounce of a message that its client says was written to another (ORCPT)."""
    block = recipient(failed, "5.1.1", Original_Recipient=f"rfc822; {written_to}")
    return report("x", block).replace(TOKEN, token).replace("\n", "\r\n").encode()


async def test_whoever_names_another_as_the_original_recipient_suppresses_nobody(post):
    """Any client of a mail server chooses it (RFC 3461), and lets its own mail bounce."""
    await post.allow(M)
    failed = "nobody@x.example"
    for token in (TOKEN, post.token(failed), post.token("+358401234567")):
        message = bounced(failed, M, token)
        assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    assert not (await post.entry(M)).delivery
    assert "1 forwarded" in await post.sent(M)
    assert (await post.entry(failed)).delivery


async def test_our_link_shows_to_whom_a_message_was_written_that_was_passed_on(post):
    forwarded = "matti@elsewhere.example"
    message = bounced(forwarded, M, post.token(M))
    assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    assert (await post.entry(M)).delivery
    assert not (await post.entry(forwarded)).delivery


async def test_one_recipient_that_is_named_twice_is_recorded_once(post):
    blocks = (recipient(M, "5.1.1", Original_Recipient=f"rfc822; {one}@x.example") for one in "ab")
    message = report("x", *blocks).replace("\n", "\r\n").encode()
    assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    assert len(await post.found()) == 1


async def test_what_is_no_address_is_passed_over(post):
    blocks = recipient("not an address@", "5.1.1"), recipient("a@[192.0.2.1]", "5.1.1")
    message = report("x", *blocks, recipient(M, "5.1.1")).replace("\n", "\r\n").encode()
    assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    assert (await post.entry(M)).delivery
    assert len(await post.found()) == 1


async def test_a_bounce_comes_twice(post):
    for _ in range(2):
        assert (await post.bring(BOUNCES, HARD, source=OURS)).startswith("250 ")
    assert len((await post.entry(M)).delivery) == 1


async def test_the_return_path_of_one_recipient_is_taken(post):
    local, domain = BOUNCES.split("@")
    verp = f"{local}+matti=asiakas.example@{domain}"
    assert (await post.bring(verp, HARD, source=OURS)).startswith("250 ")
    assert (await post.entry(M)).delivery


async def test_a_complaint_stays_until_somebody_lifts_it(post):
    message = feedback("abuse", f"Original-Rcpt-To: {M}")
    assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    [given_up] = (await post.entry(M)).delivery
    assert given_up.reason is DeliveryReason.COMPLAINT
    assert given_up.expires is None
    [event] = await post.events(M)
    assert event.source == "complaint"


async def test_the_settings_say_how_long(build):
    async with build(tables={"delivery": {"bounce_days": 0, "complaint_days": 30}}) as post:
        for message in (HARD, feedback("abuse", f"Original-Rcpt-To: {M}")):
            assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
        ends = {one.reason: one.expires for one in (await post.entry(M)).delivery}
        assert ends[DeliveryReason.HARD_BOUNCE] is None
        assert ends[DeliveryReason.COMPLAINT] is not None


async def test_the_link_tells_whose_complaint_it_is(post):
    message = feedback("abuse").replace(TOKEN.encode(), post.token(M).encode())
    assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    assert (await post.entry(M)).delivery


async def test_the_link_counts_before_the_address_it_was_passed_on_to(post):
    elsewhere = "matti@elsewhere.example"
    message = feedback("abuse", f"Original-Rcpt-To: {elsewhere}")
    message = message.replace(TOKEN.encode(), post.token(M).encode())
    assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    assert (await post.entry(M)).delivery
    assert not (await post.entry(elsewhere)).delivery


async def test_a_complaint_of_mail_says_nothing_of_the_number_that_its_link_is_for(post):
    number = "+358401234567"
    message = feedback("abuse", f"Original-Rcpt-To: {M}")
    message = message.replace(TOKEN.encode(), post.token(number).encode())
    assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    assert (await post.entry(M)).delivery
    assert not (await post.entry(number)).delivery


async def test_a_complaint_of_nobody_changes_nothing(post):
    assert (await post.bring(BOUNCES, feedback("abuse"), source=OURS)).startswith("250 ")
    assert await post.found() == []


@pytest.mark.parametrize("kind", ["not-spam", "auth-failure", "something"])
async def test_not_spam_suppresses_nobody(post, kind):
    await post.allow(M)
    message = feedback(kind, f"Original-Rcpt-To: {M}")
    message = message.replace(TOKEN.encode(), post.token(M).encode())
    assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    entry = await post.entry(M)
    assert entry.delivery == ()
    assert entry.bans == ()
    assert "1 forwarded" in await post.sent(M)


async def test_an_opt_out_is_an_objection(post):
    message = feedback("opt-out", f"Original-Rcpt-To: {M}")
    assert (await post.bring(BOUNCES, message, source=OURS)).startswith("250 ")
    entry = await post.entry(M)
    [ban] = entry.bans
    assert (ban.scope, ban.channel) == (Scope.CHANNEL, Channel.EMAIL)
    assert entry.delivery == ()
