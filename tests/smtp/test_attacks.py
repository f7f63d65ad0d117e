"""Faults found by attacking the gateway; each test is named after its fault."""

import asyncio
import contextlib
import os
import signal
import socket
import struct

import pytest
from prometheus_client import CollectorRegistry

from gateway.contacts.contact import Channel
from gateway.decision.facts import Kind
from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from gateway.evidence.metric import Metrics
from gateway.failure import GatewayError, RecordsUnavailable
from gateway.held.message import State
from gateway.message.headers import HeaderSection
from gateway.message.optout import READABLE, in_text
from gateway.message.sender import sender_domains
from gateway.message.traits import read_traits
from gateway.records.record import masked
from gateway.smtp.release import release
from tests.peers.house import INVOICE, MAILING, House, client_table
from tests.peers.scripted import Stage

A, B, C, NO = "a@example.com", "b@example.com", "c@example.com", "no@example.com"
TRANSACTIONAL = client_table(kind="transactional", topic=None)
SERVICE = client_table(kind="service", topic=None)
DECLARED = client_table(kind="declared", topic=None)
OPEN_TOPIC = client_table(topic=None)
WORDS = ["unsubscribe"]


# -- the loop stands still ------------------------------------------------------------


@pytest.mark.timeout(30)
def test_unclosed_html_brackets_stop_the_process():
    """`<[^>]*>` was quadratic and held the GIL: 256 KiB of "<" froze everybody for 100 s."""
    assert in_text(b"Content-Type: text/html\r\n\r\n" + b"<" * READABLE, WORDS) == ""


@pytest.mark.timeout(30)
@pytest.mark.parametrize("unit", [b"a,", b"\\", b"a ", b"a@b,", b"(", b'"', b"<", b"a@b "])
def test_a_long_from_stops_the_loop(unit):
    """The library's address parser took 0.1 ms an octet or worse, in the loop itself."""
    value = unit * (256 * 1024 // len(unit))
    assert sender_domains(HeaderSection(b"From: " + value + b"x@lamisnet.fi\r\n")) == ()


@pytest.mark.timeout(30)
def test_a_long_reply_of_the_upstream_is_masked_in_reasonable_time():
    """It was quadratic, and once per recipient: 1000 recipients times 35 ms in the loop."""
    for _ in range(2000):
        masked("a" * 2048)


# -- a fault of the message is taken for one of ours, and deferred for ever -------------


@pytest.mark.parametrize(
    "message",
    [
        b"From: " + b"(" * 500 + b"\r\nList-Unsubscribe: <https://x.example>\r\n\r\nHei\r\n",
        b"From: u@lamisnet.fi\r\nContent-Type: text/plain; charset=idna\r\n\r\nH\xe4i\r\n",
        b"From: u@lamisnet.fi\r\nContent-Type: text/plain; charset=\x01\r\n\r\nHei\r\n",
        b"From: u@lamisnet.fi\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 2000,
    ],
    ids=["comments in From", "charset idna", "charset SOH", "nested messages"],
)
async def test_a_message_that_cannot_be_read_is_decided_not_deferred(house, message):
    await house.allow(A)
    async with house.client() as client:
        reply = await client.mail(A, message=message)
    assert reply.endswith("1 suppressed"), reply


def test_a_broken_encoded_word_in_the_subject_is_no_fault_of_ours():
    read_traits(
        HeaderSection(b"From: u@lamisnet.fi\r\nSubject: =?utf-8?b?a?=\r\n"),
        fixed_kind=Kind.MARKETING,
        fixed_topic=None,
        owned_domains={"lamisnet.fi"},
        recognisable_marks=["mainos"],
    )


# -- who gets what --------------------------------------------------------------------


@pytest.mark.parametrize(
    "mail", ["<u@lamisnet.fi> SIZE=99999999999", "<bad", "<u@lamisnet.fi> X=1"]
)
async def test_a_refused_mail_leaves_the_old_transaction_open(build, upstream, mail):
    """The second message would go to the first one's recipients too."""
    async with build(clients=[TRANSACTIONAL]) as house, house.client() as client:
        await client.begin(A)  # its tool gives up, and begins the next without RSET
        client.send(f"MAIL FROM:{mail}")
        client.send(f"RCPT TO:<{B}>")
        client.send("DATA")
        assert (await client.reply())[0] == "5"
        await client.reply()
        if (await client.reply()).startswith("354"):
            await client.body(INVOICE)
    assert not any(A in message.recipients for message in upstream.messages)


async def test_a_mail_refused_after_a_reload_leaves_the_old_transaction_open(
    build, upstream, tmp_path, register_url
):
    """The client is not in the configuration any more; what it goes on with joins the old."""
    others = [client_table(networks=["10.0.0.0/8"])]
    async with build(clients=[TRANSACTIONAL]) as house, house.client() as client:
        await client.begin(A)
        other = House(tmp_path, register_url, [upstream], clients=others)
        site = await house.parts.rebuild(other.settings, Metrics(CollectorRegistry()))
        house.listener.swap(site, None)
        client.send("MAIL FROM:<u@lamisnet.fi>")
        client.send(f"RCPT TO:<{B}>")
        client.send("DATA")
        assert (await client.reply()).startswith("530")
        await client.reply()
        if (await client.reply()).startswith("354"):
            await client.body(INVOICE)
    assert not any(A in message.recipients for message in upstream.messages)


@pytest.mark.parametrize(
    "hidden",
    [
        b".From: Bank <x@elsewhere.example>\r\n",
        b".List-Unsubscribe: <https://x.example>\r\n",
        b".X-Gateway-Kind: marketing\r\n",
    ],
)
async def test_a_dot_hides_a_header_from_the_rules(build, upstream, hidden):
    """The upstream un-stuffs the line; the rules read the wire form. Two readings."""
    async with build(clients=[SERVICE]) as house:
        await house.customer(NO)
        await house.ban(NO)
        async with house.client() as client:
            await client.begin(NO)
            await client.say("DATA")
            client.writer.write(b"From: u@lamisnet.fi\r\n" + hidden + b"\r\nHei\r\n.\r\n")
            reply = await client.reply()
    assert not reply.endswith("1 forwarded"), upstream.messages[0].content


@pytest.mark.parametrize(
    "topic",
    [
        b"=?utf-8?q?kes=C3=A4tarjous?=",
        "kesätarjous".encode("latin-1"),
        "kesa\u0308tarjous".encode(),
    ],
    ids=["encoded word", "latin-1", "NFD"],
)
async def test_a_topic_in_another_spelling_walks_around_its_ban(build, upstream, topic):
    """Every mail library writes a header value that is not ASCII as an encoded word."""
    async with build(clients=[OPEN_TOPIC]) as house:
        await house.allow(NO)
        await house.ban(NO, Scope.TOPIC, topic="kesätarjous")
        async with house.client() as client:
            reply = await client.mail(NO, message=b"X-Gateway-Topic: " + topic + b"\r\n" + MAILING)
    assert reply.endswith("1 suppressed")
    assert upstream.messages == []


@pytest.mark.parametrize(
    "topic",
    [b"=?utf-8?q?a=00b?=", b"=?utf-8?b?AA==?=", b"=?utf-7?q?+2AA-?="],
    ids=["NUL", "nothing but NUL", "half a surrogate pair"],
)
async def test_a_topic_that_no_record_can_hold_leaves_a_message_without_its_record(
    build, upstream, topic
):
    """The archive set the record aside, or the message was a fault of ours for ever."""
    async with build(clients=[OPEN_TOPIC]) as house:
        await house.allow(A)
        async with house.client() as client:
            reply = await client.mail(A, message=b"X-Gateway-Topic: " + topic + b"\r\n" + MAILING)
        assert reply.endswith("1 forwarded")
        (found,) = await house.found(A)
        assert (await house.archive.show(found.record_id)).message.topic is None
        assert house.archiver.status.unreadable == 0


async def test_a_topic_consent_that_lifts_a_ban_is_refused_at_rcpt(build, upstream):
    """RCPT refuses for certain what the topic in the headers would allow."""
    async with build(clients=[client_table(topic=None, on_suppress="reject")]) as house:
        await house.know(A)
        await house.ban(A, at=1_700_000_000_000)
        await house.tell(
            A, EventKind.CONSENT, channel=Channel.EMAIL, topic="news", proven=True, lifts=True
        )
        async with house.client() as client:
            (reply,) = await client.begin(A)
            assert reply.startswith("250"), reply
            reply = await client.data(b"X-Gateway-Topic: news\r\n" + MAILING)
        assert reply.endswith("1 forwarded")


async def test_a_ban_while_the_upstream_delays_its_354_is_not_seen(house, upstream):
    """No octet of the message has left yet, and the hand-over could still be stopped."""
    await house.allow(A)
    gate = asyncio.Event()
    upstream.on(Stage.DATA, gate=gate, times=1)
    async with house.client() as client:
        await client.begin(A)
        await client.say("DATA")
        client.writer.write(MAILING + b".\r\n")
        while b"DATA" not in upstream.commands:
            await asyncio.sleep(0.01)
        await house.tell(A, EventKind.BAN, scope=Scope.ALL, settled=True)
        gate.set()
        await client.reply()
    assert upstream.messages == []


# -- replies and losses ---------------------------------------------------------------


async def test_an_upstream_lost_between_two_rcpts_makes_data_permanent(house, upstream):
    """A was accepted; DATA then says 503, for which a client throws the message away."""
    await house.allow(A, B, C)
    upstream.on(Stage.RCPT, match="b@", close=True, times=1)
    async with house.client() as client:
        replies = await client.begin(A, B, C)
        assert [r[:1] for r in replies] == ["2", "4", "2"]
        assert (await client.data()).endswith("2 forwarded")
    assert [m.recipients for m in upstream.messages] == [[A, C]]


async def test_an_upstream_that_wants_a_login_is_no_verdict_on_the_recipient(house, upstream):
    """530 is about the gateway's own session (RFC 4954), as 421 is."""
    await house.allow(A)
    upstream.refuse_mail("uutiset", "530 5.7.0 Must issue a STARTTLS command first")
    async with house.client() as client:
        (reply,) = await client.begin(A)
    assert reply.startswith("4"), reply
    assert [one[2] for one in await house.fate(A)] == ["deferred"]


async def test_an_upstream_that_tires_while_the_client_sends_is_replaced(house, upstream):
    """A slow client's message could never be delivered: each retry ends the same way."""
    await house.allow(A)
    async with house.client() as client:
        await client.begin(A)
        await client.say("DATA")
        client.writer.write(MAILING)
        await client.writer.drain()
        await asyncio.sleep(0.1)
        await upstream.say("421 4.4.2 Idle too long", close=True)
        await asyncio.sleep(0.1)
        client.writer.write(b".\r\n")
        assert (await client.reply()).endswith("1 forwarded")


async def test_an_international_sender_needs_smtputf8(build, upstream):
    async with build(clients=[TRANSACTIONAL]) as house, house.client() as client:
        reply = await client.say("MAIL FROM:<jörö@lamisnet.fi>")
        assert reply.startswith("55"), reply


async def test_what_a_lost_client_had_pipelined_is_begun_all_the_same(build, upstream):
    """It heard nothing of its second message and sends it again: that would go out twice."""
    gate = asyncio.Event()
    upstream.on(Stage.END, gate=gate)
    async with build(clients=[TRANSACTIONAL]) as house, house.client() as client:
        (session,) = house.listener.sessions
        await client.begin(A)
        await client.say("DATA")
        client.writer.write(INVOICE + b".\r\n")
        while b"DATA" not in upstream.commands:
            await asyncio.sleep(0.01)
        client.send("MAIL FROM:<u@lamisnet.fi>")
        client.send(f"RCPT TO:<{B}>")
        client.send("DATA")
        client.writer.write(INVOICE + b".\r\n")
        await asyncio.sleep(0.2)
        reset = struct.pack("ii", 1, 0)
        client.writer.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, reset
        )
        client.writer.transport.abort()
        async with asyncio.timeout(30):
            while session.transport is not None:
                await asyncio.sleep(0.01)
        gate.set()
        async with asyncio.timeout(30):
            while house.listener.sessions:
                await asyncio.sleep(0.01)
    assert [message.recipients for message in upstream.messages] == [[A]]


# -- bounds ---------------------------------------------------------------------------


async def test_a_client_that_never_reads_keeps_its_socket_for_ever(build):
    """Its time is up, but close() waits for the buffer to drain; nobody counts it any more."""
    async with build(smtp={"idle_timeout": 0.3}) as house, house.client() as client:
        (session,) = house.listener.sessions
        client.reader._transport.pause_reading()
        for _ in range(60):
            if session.transport is None:
                break
            client.writer.write(b"HELP\r\n" * 10_000)
            await asyncio.sleep(0.01)
        async with asyncio.timeout(30):
            while house.listener.sessions or session.transport is not None:
                await asyncio.sleep(0.05)
        client.writer.transport.abort()


async def test_idle_transactions_keep_all_upstream_connections(build):
    """One client that says MAIL and RCPT and then NOOP now and again stops all the others."""
    async with build(clients=[client_table(max_connections=60)]) as house:
        await house.allow(A)
        house.parts.site.upstreams._lease_timeout = 1
        idle = [house.client() for _ in range(50)]
        try:
            for client in idle:
                await client.__aenter__()
                await client.begin(A)
            async with house.client() as client:
                (reply,) = await client.begin(A)
                assert reply.startswith("250"), reply
        finally:
            for client in idle:
                client.writer.transport.abort()


async def test_header_sections_are_outside_the_memory_budget(build):
    async with build() as house:
        await house.allow(A)
        async with house.client() as client:
            await client.begin(A)
            await client.say("DATA")
            client.writer.write(b"X: a\r\n" * 40_000)
            await client.writer.drain()
            async with asyncio.timeout(30):
                while not house.listener.budget.used:
                    await asyncio.sleep(0.01)


async def test_a_reload_throws_out_a_client_at_its_bound(build, upstream):
    """The session is counted a second time before its first count is taken back."""
    async with build(clients=[client_table(max_connections=1)]) as house:
        await house.allow(A)
        async with house.client() as client:
            await client.mail(A)
            site = await house.parts.rebuild(house.settings, Metrics(CollectorRegistry()))
            house.listener.swap(site, None)
            assert (await client.mail(A)).endswith("1 forwarded")


# -- held messages --------------------------------------------------------------------


async def hold(house, address, *, message=INVOICE) -> str:
    async with house.client() as client:
        assert (await client.mail(address, message=message)).endswith("1 held")
    (held,) = await house.parts.site.held.list()
    return held.id


async def test_a_release_cancelled_after_the_final_dot_can_be_repeated(build, upstream):
    """Unknown whether it left: it must stay claimed, or it is sent twice."""
    async with build(clients=[DECLARED]) as house:
        held_id = await hold(house, A)
        upstream.on(Stage.END, gate=asyncio.Event(), accept=True, times=1)
        task = asyncio.create_task(
            release(house.parts.site, held_id, by="me", reason="x", kind=Kind.TRANSACTIONAL)
        )
        while not upstream.messages:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await house.parts.site.held.get(held_id)).state is State.RELEASING


async def test_a_release_whose_end_cannot_be_noted_can_be_repeated(build, upstream):
    """The upstream has it; the archive fails; the message is held again and is sent twice."""
    async with build(clients=[DECLARED]) as house:
        held_id = await hold(house, A)
        store = house.parts.site.held

        class Failing:
            """The real store, but for one failing write."""

            def __getattr__(self, name):
                return getattr(store, name)

            async def mark_released(self, *_):
                raise RecordsUnavailable("the archive did not answer")

        from dataclasses import replace

        site = replace(house.parts.site, held=Failing())
        with pytest.raises(GatewayError):
            await release(site, held_id, by="me", reason="x", kind=Kind.TRANSACTIONAL)
        assert len(upstream.messages) == 1
        assert (await store.get(held_id)).state is not State.HELD


async def test_a_release_may_call_marketing_transactional_and_pass_a_ban(build, upstream):
    """The person stands in for an unclear kind, never for a ban."""
    async with build() as house:
        await house.know(NO)
        await house.tell(NO, EventKind.CONSENT, channel=Channel.EMAIL, proven=False)
        held_id = await hold(
            house, NO, message=MAILING.replace(b"List-Unsubscribe", b"X-L") + b"unsubscribe\r\n"
        )
        await house.ban(NO)
        with contextlib.suppress(GatewayError):
            await release(house.parts.site, held_id, by="me", reason="x", kind=Kind.TRANSACTIONAL)
        assert upstream.messages == []


async def test_a_ban_during_a_release_is_not_seen(build, upstream):
    async with build() as house:
        await house.know(NO)
        await house.tell(NO, EventKind.CONSENT, channel=Channel.EMAIL, proven=False)
        held_id = await hold(house, NO, message=MAILING)
        gate = asyncio.Event()
        upstream.on(Stage.MAIL, gate=gate, times=1)
        task = asyncio.create_task(release(house.parts.site, held_id, by="me", reason="x"))
        while not any(c.startswith(b"MAIL") for c in upstream.commands):
            await asyncio.sleep(0.01)
        await house.tell(NO, EventKind.BAN, scope=Scope.ALL, settled=True)
        gate.set()
        await asyncio.gather(task, return_exceptions=True)
        assert upstream.messages == []


async def test_a_release_the_upstream_refused_has_no_outcome(build, upstream):
    """The archiver later calls it "unknown: it may have left", which is untrue."""
    async with build(clients=[DECLARED]) as house:
        held_id = await hold(house, A)
        upstream.refuse_rcpt("a@", "550 5.1.1 No such user")
        with pytest.raises(GatewayError):
            await release(house.parts.site, held_id, by="me", reason="x", kind=Kind.TRANSACTIONAL)
        fate = await house.fate(A)
        assert fate[-1][2] is not None, fate


# -- outcomes -------------------------------------------------------------------------


async def test_a_suppressed_recipient_is_said_to_have_perhaps_been_mailed(house, upstream):
    """The answer for A was lost; of B, left out of the envelope, nothing is unknown."""
    await house.allow(A, B)
    await house.ban(B)
    upstream.on(Stage.END, close=True, times=1)
    async with house.client() as client:
        assert (await client.mail(A, B)).startswith("451")
    assert [one[2] for one in await house.fate(A)] == ["unknown"]
    assert [one[2] for one in await house.fate(B)] != ["unknown"]


async def test_an_upstream_that_dies_at_rcpt_is_an_internal_error_at_the_next(house, upstream):
    """The dead transaction is asked again and raises RuntimeError instead of being begun anew."""
    await house.allow(A, B, C)
    upstream.on(Stage.RCPT, match="b@", close=True, times=1)
    async with house.client() as client:
        replies = await client.begin(A, B, C)
    assert "4.3.0 Local error" not in replies[2], replies


async def test_a_held_copy_can_be_released_before_its_client_has_heard_250(house, upstream):
    """The hand-over to A then fails, the client sends again, and B gets it a second time."""
    await house.allow(A)
    await house.know(B)
    await house.tell(B, EventKind.CONSENT, channel=Channel.EMAIL, proven=False)
    gate = asyncio.Event()
    upstream.on(Stage.END, gate=gate, reply="451 4.3.0 Later", times=1)
    async with house.client() as client:
        await client.begin(A, B)
        await client.say("DATA")
        client.writer.write(MAILING + b".\r\n")
        while b"DATA" not in upstream.commands:
            await asyncio.sleep(0.01)
        for held in await house.parts.site.held.list():
            await release(house.parts.site, held.id, by="me", reason="x")
        gate.set()
        assert (await client.reply()).startswith("451")
        assert (await client.mail(A, B)).endswith("1 forwarded, 1 held")
    for held in await house.parts.site.held.list():
        await release(house.parts.site, held.id, by="me", reason="x")
    assert sum(B in message.recipients for message in upstream.messages) == 1


async def test_a_recipient_accepted_on_a_connection_lent_away_is_not_forgotten(
    build, upstream, register_server
):
    """Its connection went to another while a refusal was written down; it was taken for
    accepted on the next one, told 250, and never got the message."""
    upstream.refuse_rcpt("b@")
    async with (
        build(clients=[TRANSACTIONAL], upstream={"max_connections": 1}) as house,
        house.client() as first,
        house.client() as second,
    ):
        os.kill(register_server.pid, signal.SIGSTOP)
        try:
            first.send("MAIL FROM:<u@lamisnet.fi>")
            first.send(f"RCPT TO:<{A}>")
            first.send(f"RCPT TO:<{B}>")
            await asyncio.sleep(0.3)
            assert (await second.begin(NO))[0].startswith("250")
        finally:
            os.kill(register_server.pid, signal.SIGCONT)
        assert [(await first.reply())[:3] for _ in range(3)] == ["250", "250", "550"]
        assert (await second.say("RSET")).startswith("250")
        assert (await first.say(f"RCPT TO:<{C}>")).startswith("250")
        assert (await first.data(INVOICE)).endswith("2 forwarded")
    assert [m.recipients for m in upstream.messages] == [[A, C]]
