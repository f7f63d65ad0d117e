"""Every reply is true for its recipient, whatever the upstream does."""

import asyncio

import pytest

from gateway.decision.facts import Outcome
from tests.peers.house import MAILING, client_table
from tests.peers.scripted import Stage

A, B, C = "a@example.com", "b@example.com", "c@example.com"


async def results(house, address):
    return [one[2] for one in await house.fate(address)]


async def test_each_rcpt_hears_the_upstreams_own_verdict(house, upstream):
    await house.allow(A, B, C)
    upstream.refuse_rcpt("b@", "550 5.1.1 No such user")
    upstream.refuse_rcpt("c@", "450 4.2.0 Greylisted")
    async with house.client() as client:
        replies = await client.begin(A, B, C)
        assert replies[0].startswith("250 ")
        assert replies[1:] == ["550 5.1.1 No such user", "450 4.2.0 Greylisted"]
        assert (await client.data()).endswith("1 forwarded")
    assert upstream.messages[0].recipients == [A]
    assert await results(house, A) == ["forwarded"]
    assert await results(house, B) == ["refused"]
    assert await results(house, C) == ["deferred"]


async def test_a_refused_mail_is_every_recipients_answer(house, upstream):
    await house.allow(A, B)
    upstream.refuse_mail("uutiset", "550 5.7.1 Not you")
    async with house.client() as client:
        assert await client.begin(A, B) == ["550 5.7.1 Not you"] * 2
        assert (await client.say("DATA")).startswith("554")


@pytest.mark.parametrize(
    ("reply", "result"),
    [("554 5.7.1 Spam", "refused"), ("451 4.3.0 Later", "deferred"), ("552 5.3.4 Big", "refused")],
)
async def test_the_final_reply_is_the_upstreams(house, upstream, reply, result):
    await house.allow(A)
    await house.ban(B)
    upstream.on(Stage.END, reply=reply)
    async with house.client() as client:
        assert await client.mail(A, B) == reply
    assert await results(house, A) == [result]
    assert await results(house, B) == [result]


@pytest.mark.parametrize(
    ("stage", "how", "result"),
    [
        (Stage.BODY, {"close": True, "after": 1}, "failed"),
        (Stage.END, {"close": True}, "unknown"),
        (Stage.END, {"close": True, "accept": True}, "unknown"),
        (Stage.END, {"reset": True, "accept": True}, "unknown"),
        (Stage.END, {"silent": True}, "unknown"),
        (Stage.END, {"reply": b"garbage\r\n"}, "unknown"),
    ],
)
async def test_a_hand_over_that_breaks_is_4xx_and_its_outcome_honest(
    house, upstream, stage, how, result
):
    await house.allow(A)
    upstream.on(stage, times=1, **how)
    async with house.client() as client:
        reply = await client.mail(A, message=MAILING + b"x" * 78 * 40_000)
        assert reply.startswith("451 4."), reply
        assert A not in reply
        assert (await client.mail(A)).endswith("1 forwarded")
    assert await results(house, A) == [result, "forwarded"]


@pytest.mark.parametrize(
    "how", [{"close": True}, {"silent": True}, {"reply": "250 2.0.0 What?"}, {"reset": True}]
)
async def test_an_upstream_that_fails_before_any_octet_is_begun_anew_once(house, upstream, how):
    await house.allow(A)
    upstream.on(Stage.DATA, times=1, **how)
    upstream.on(Stage.DATA, times=2, skip=1, close=True)
    async with house.client() as client:
        assert (await client.mail(A)).endswith("1 forwarded")
        assert (await client.mail(A)).startswith("451 4.4.1")
    assert await results(house, A) == ["forwarded", "failed"]
    assert len(upstream.messages) == 1


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.EHLO, Stage.MAIL, Stage.RCPT])
async def test_no_upstream_is_451_at_rcpt_and_heals_by_itself(house, upstream, stage):
    await house.allow(A)
    upstream.on(stage, close=True)
    await upstream.hang_up()
    async with house.client() as client:
        (reply,) = await client.begin(A)
        assert reply.startswith("451 4.4.1"), reply
        assert (await client.say("DATA")).startswith("554")
        upstream.forget_script()
        for _ in range(100):
            (reply,) = await client.begin(A)
            if reply.startswith("250"):
                break
            await asyncio.sleep(0.05)
        assert (await client.data()).endswith("1 forwarded")


async def test_a_421_at_rcpt_is_told_and_the_next_message_goes(house, upstream):
    await house.allow(A)
    upstream.on(Stage.RCPT, reply="421 4.3.2 Going down", close=True, times=2)
    async with house.client() as client:
        (reply,) = await client.begin(A)
        assert reply.startswith("451 4.4.1"), reply
        await client.say("RSET")
        for _ in range(100):
            (reply,) = await client.begin(A)
            if reply.startswith("250"):
                break
            await asyncio.sleep(0.05)
        assert (await client.data()).endswith("1 forwarded")


async def test_the_record_of_a_recipient_answered_421_names_no_upstream(house, upstream):
    """The connection was given up first, and with it went the name for the record."""
    await house.allow(A, B)
    async with house.client() as client:
        (reply,) = await client.begin(A)
        assert reply.startswith("250")
        upstream.on(Stage.RCPT, reply="421 4.3.2 Going down", close=True)
        assert (await client.say(f"RCPT TO:<{B}>")).startswith("451 4.4.1")
    (found,) = await house.found(B)
    shown = await house.archive.show(found.record_id)
    assert [(one.reply_code, one.upstream) for one in shown.outcomes] == [(421, "main")]


async def test_fail_over_to_the_second_upstream(build, upstream):
    clients = [client_table(upstream=["main", "spare1"])]
    async with build(spares=1, clients=clients) as house:
        await house.allow(A)
        await upstream.aclose()
        async with house.client() as client:
            assert (await client.mail(A)).endswith("1 forwarded")
        assert len(house.spares[0].messages) == 1


async def test_an_idle_connection_that_died_is_replaced_unseen(house, upstream):
    await house.allow(A)
    async with house.client() as client:
        await client.mail(A)
        await upstream.say("421 4.4.2 Idle too long", close=True)
        assert (await client.mail(A)).endswith("1 forwarded")
    assert len(upstream.messages) == 2


async def test_the_hand_over_is_finished_when_the_client_is_gone(house, upstream):
    """The client leaves after its final dot: delivered once, recorded as forwarded."""
    await house.allow(A)
    gate = asyncio.Event()
    upstream.on(Stage.END, gate=gate)
    async with house.client() as client:
        await client.begin(A)
        await client.say("DATA")
        client.writer.write(MAILING + b".\r\n")
        await client.writer.drain()
        while b"DATA" not in upstream.commands:
            await asyncio.sleep(0.01)
        client.writer.transport.abort()
    await asyncio.sleep(0.1)
    gate.set()
    await upstream.until(lambda: upstream.messages)
    for _ in range(1000):
        if await results(house, A) == ["forwarded"]:
            break
        await asyncio.sleep(0.02)
    assert await results(house, A) == ["forwarded"]
    assert len(upstream.messages) == 1


async def test_a_client_gone_within_the_body_leaves_nothing(house, upstream):
    await house.allow(A)
    async with house.client() as client:
        await client.begin(A)
        await client.say("DATA")
        client.writer.write(MAILING[:60])
        await client.writer.drain()
        client.writer.transport.abort()
    await asyncio.sleep(0.2)
    assert upstream.messages == []
    assert await house.fate(A) == []
    async with house.client() as client:
        assert (await client.mail(A)).endswith("1 forwarded")


async def test_mixed_hold_and_forward(build, upstream):
    """A recipient without a source is held, the other gets it; the client hears both."""
    from gateway.contacts.contact import Channel
    from gateway.entry.event import Attributes, EventKind

    async with build() as house:
        await house.allow(A)
        await house.tell(B, EventKind.CONSENT, channel=Channel.EMAIL, proven=False)
        await house.tell(B, EventKind.DESCRIBE, attributes=Attributes(source_known=True))
        async with house.client() as client:
            assert (await client.mail(A, B)).endswith("1 forwarded, 1 held")
        assert upstream.messages[0].recipients == [A]
        assert await house.fate(B) == [(Outcome.HOLD, "R42", "held")]
        assert len(await house.parts.site.held.list()) == 1


async def test_a_refused_message_takes_its_held_copy_back(build, upstream):
    """The client keeps the message, so that we must not: it would arrive twice."""
    from gateway.contacts.contact import Channel
    from gateway.entry.event import Attributes, EventKind

    async with build() as house:
        await house.allow(A)
        await house.tell(B, EventKind.CONSENT, channel=Channel.EMAIL, proven=False)
        await house.tell(B, EventKind.DESCRIBE, attributes=Attributes(source_known=True))
        upstream.on(Stage.END, reply="451 4.3.0 Later", times=1)
        async with house.client() as client:
            assert (await client.mail(A, B)).startswith("451")
            assert await house.parts.site.held.list() == []
            assert (await client.mail(A, B)).endswith("1 forwarded, 1 held")
        assert len(await house.parts.site.held.list()) == 1
