"""The listener on its socket: what it takes from whom, its bounds, and nothing else."""

import asyncio
import contextlib
import ssl

import pytest

from gateway.network import peer_address, place_of
from gateway.serve.certificate import server_context
from gateway.settings.value import Certificate
from tests.bounce.samples import M
from tests.inbound.conftest import BOUNCES, OURS, STRANGER, UNSUBSCRIBE
from tests.inbound.test_report import HARD
from tests.inbound.test_unsubscribe import MAIJA, mail
from tests.peers.certificates import self_signed


@pytest.mark.parametrize("source", [STRANGER, OURS])
@pytest.mark.parametrize(
    "address",
    [
        MAIJA,
        "postmaster@mail.lamisnet.fi",
        "unsubscribe@elsewhere.example",
        "unsubscribex@mail.lamisnet.fi",
        "maija%example.com@mail.lamisnet.fi",
        "uutiset@lamisnet.fi",
    ],
)
async def test_nothing_is_taken_for_anybody_else(post, upstream, address, source):
    async with post.caller(source) as client:
        [reply] = await client.begin(address)
        assert reply == "550 5.1.1 No such mailbox here"
        assert (await client.say("DATA")).startswith("554 ")
    assert upstream.messages == []


async def test_known_and_unknown_people_are_answered_alike(post):
    await post.ban(MAIJA)
    async with post.caller() as client:
        assert (await client.begin(MAIJA)) == (await client.begin("nobody@example.com"))
        assert (await client.say(f"VRFY {MAIJA}")).startswith("252 ")
        assert (await client.say(f"EXPN {MAIJA}")).startswith("502 ")
        assert (await client.say("AUTH PLAIN AGEAYg==")).startswith("502 ")


@pytest.mark.parametrize(
    "address", [UNSUBSCRIBE.upper(), UNSUBSCRIBE.replace("unsub", "UnSub"), UNSUBSCRIBE]
)
async def test_letter_case_does_not_matter(post, address):
    assert (await post.bring(address, mail(post.token(MAIJA)))).startswith("250 ")


async def test_one_message_has_one_purpose(post):
    async with post.caller(OURS) as client:
        first, second = await client.begin(UNSUBSCRIBE, BOUNCES)
        assert first.startswith("250 ")
        assert second.startswith("452 4.5.3 ")
        assert (await client.data(mail(post.token(MAIJA)))).startswith("250 ")


async def test_what_is_offered(post):
    async with post.caller(greet=False) as client:
        assert await client.reply() == "220 gateway.test ESMTP"
        lines = (await client.say("EHLO mx.example")).split("\n")
        assert [line[4:] for line in lines] == [
            "gateway.test",
            "PIPELINING",
            "SIZE 1048576",
            "8BITMIME",
            "SMTPUTF8",
            "ENHANCEDSTATUSCODES",
        ]
        assert (await client.say("HELO mx.example")) == "250 gateway.test"
        assert (await client.say("MAIL FROM:<> SIZE=1")).startswith("555 ")
        assert (await client.say("MAIL FROM:<>")).startswith("250 ")


async def test_the_order_of_commands_is_kept(post):
    async with post.caller(greet=False) as client:
        await client.reply()
        assert (await client.say("MAIL FROM:<>")).startswith("503 ")
        await client.say("EHLO mx.example")
        assert (await client.say(f"RCPT TO:<{UNSUBSCRIBE}>")).startswith("503 ")
        assert (await client.say("DATA")).startswith("503 ")
        assert (await client.say("MAIL FROM:<ä@x.example>")).startswith("553 ")
        assert (await client.say("MAIL FROM:<ä@x.example> SMTPUTF8")).startswith("250 ")
        assert (await client.say("RSET")).startswith("250 ")
        assert (await client.say(f"RCPT TO:<{UNSUBSCRIBE}>")).startswith("503 ")
        assert (await client.say("NOOP")).startswith("250 ")
        assert (await client.say("QUIT")).startswith("221 ")


async def test_a_pipelined_burst_is_answered_in_its_order(post):
    burst = (
        f"MAIL FROM:<>\r\nRCPT TO:<nobody@x.example>\r\nRCPT TO:<{UNSUBSCRIBE}>\r\nDATA\r\n"
        f"Subject: {post.token(MAIJA)}\r\n\r\n.\r\n"
        f"MAIL FROM:<>\r\nRCPT TO:<{UNSUBSCRIBE}>\r\nDATA\r\nSubject: x\r\n\r\n.\r\nQUIT\r\n"
    )
    for size in (1, 7, len(burst)):
        async with post.caller() as client:
            for place in range(0, len(burst), size):
                client.writer.write(burst[place : place + size].encode())
                if size > 1:
                    await asyncio.sleep(0)
            codes = [(await client.reply())[:3] for _ in range(9)]
            assert codes == ["250", "550", "250", "354", "250", "250", "250", "354", "550"]
            assert (await client.reply()).startswith("221 ")


@pytest.mark.parametrize(
    "end", [b"\n.\n", b"\n.\r\n", b"\r.\r", b"\r\n.\n", b"\r\n.\r", b"\r\n\0.\r\n"]
)
async def test_only_one_thing_ends_a_message(post, end):
    smuggled = f"MAIL FROM:<>\r\nRCPT TO:<{UNSUBSCRIBE}>\r\nDATA\r\nSubject: ".encode()
    message = b"Subject: hello\r\n\r\nhi" + end + smuggled + post.token(MAIJA).encode()
    async with post.caller() as client:
        await client.begin(UNSUBSCRIBE)
        assert (await client.data(message)).startswith("550 5.7.1 ")
        # Nothing more was answered, for nothing more was a command.
        assert (await client.say("NOOP")).startswith("250 ")
    assert (await post.entry(MAIJA)).bans == ()


async def test_a_dot_stuffed_message_is_read_as_it_was(post):
    stuffed = HARD.replace(b"A1B2C3.1791190800/mx.example", b".b")
    assert (await post.bring(BOUNCES, stuffed, source=OURS)).startswith("250 ")
    boundary = stuffed.replace(b"boundary=", b"x=").replace(b"--.b", b".--b")
    assert (await post.bring(BOUNCES, boundary, source=OURS)).startswith("250 ")
    assert len(await post.events(M)) == 1


async def test_a_message_that_is_too_large(build):
    async with build(max_message_size=2048) as post, post.caller() as client:
        assert (await client.say("MAIL FROM:<> SIZE=2049")).startswith("552 5.3.4 ")
        await client.begin(UNSUBSCRIBE)
        message = mail(post.token(MAIJA), "x" * 70 + "\r\n" + ("y" * 70 + "\r\n") * 60)
        assert (await client.data(message)).startswith("552 5.3.4 ")
        assert (await post.entry(MAIJA)).bans == ()
        await client.begin(UNSUBSCRIBE)
        assert (await client.data(mail(post.token(MAIJA)))).startswith("250 ")
        assert post.post.budget.used == 0


async def test_memory_is_bounded_over_all_connections(build):
    smtp = {"total_memory": 1024 * 1024}
    async with build(tables={"smtp": smtp}) as post, post.caller() as first:
        await first.begin(UNSUBSCRIBE)
        assert (await first.say("DATA")).startswith("354")
        first.writer.write(b"Subject: x\r\n\r\n" + (b"y" * 98 + b"\r\n") * 9000)
        async with asyncio.timeout(30):
            while post.post.budget.used < 800_000:
                await asyncio.sleep(0.01)
        message = mail(post.token(MAIJA), ("z" * 98 + "\r\n") * 9000)
        assert (await post.bring(UNSUBSCRIBE, message)).startswith("452 4.3.1 ")
        first.writer.close()
        async with asyncio.timeout(30):
            while post.post.budget.used:
                await asyncio.sleep(0.01)
        assert (await post.bring(UNSUBSCRIBE, message)).startswith("250 ")


async def test_strangers_leave_room_for_bounces(build):
    async with build(max_connections=2) as post, post.caller():
        async with post.caller(greet=False) as second:
            assert (await second.reply()).startswith("421 4.7.0 ")
        assert (await post.bring(BOUNCES, HARD, source=OURS)).startswith("250 ")
        async with post.caller(OURS), post.caller(OURS, greet=False) as third:
            assert (await third.reply()).startswith("421 4.7.0 ")
    assert not post.post.strangers


async def test_one_stranger_leaves_room_for_others(build):
    async with build(max_connections=20) as post, contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            await stack.enter_async_context(post.caller())
        for _ in range(3):
            async with post.caller(greet=False) as one_more:
                assert (await one_more.reply()).startswith("421 4.7.0 ")
        message = mail(post.token(MAIJA))
        assert (await post.bring(UNSUBSCRIBE, message, source="127.0.0.10")).startswith("250 ")


def test_who_has_many_addresses_of_one_network_is_one_stranger():
    near = {place_of(peer_address(f"2001:db8::{number}")) for number in range(9)}
    assert near == {"2001:db8::/64"}
    assert place_of(peer_address("2001:db8:0:1::1")) not in near
    assert place_of(peer_address("192.0.2.1")) != place_of(peer_address("192.0.2.2"))


async def test_who_is_silent_hears_421(build):
    async with build(timeout=0.3) as post, post.caller() as client:
        assert (await client.reply()).startswith("421 4.4.2 ")


async def test_a_message_in_drops_has_an_end(build):
    async with build(timeout=0.3) as post, post.caller() as client:
        await client.begin(UNSUBSCRIBE)
        await client.say("DATA")

        async def drip() -> None:
            while True:
                client.writer.write(b"x: y\r\n")
                await asyncio.sleep(0.1)

        dripping = asyncio.create_task(drip())
        assert (await client.reply(within=30)).startswith("421 4.4.2 ")
        dripping.cancel()


async def test_a_stranger_who_only_talks_is_let_go(build):
    async with build(timeout=0.3) as post, post.caller() as client:
        replies = []
        with pytest.raises((ConnectionError, TimeoutError)):
            while True:
                replies.append(await client.say("NOOP"))
                await asyncio.sleep(0.1)
        assert replies[-1].startswith("421 4.4.2 ")


async def test_who_guesses_addresses_is_let_go(post):
    async with post.caller() as client:
        replies = await client.begin(*(f"guess{number}@mail.lamisnet.fi" for number in range(20)))
        assert [reply[:3] for reply in replies] == ["550"] * 19 + ["421"]


async def test_over_tls(build, tmp_path):
    certificate = self_signed(tmp_path, "localhost")
    paths = Certificate(certificate=certificate.certificate, key=certificate.key)
    trusted = ssl.create_default_context(cafile=str(certificate.certificate))
    async with build(tls=server_context(paths, "inbound.tls")) as post, post.caller() as client:
        assert "STARTTLS" in await client.say("EHLO mx.example")
        # What is said behind STARTTLS in clear does not count.
        client.writer.write(b"STARTTLS\r\nMAIL FROM:<>\r\n")
        assert (await client.reply()).startswith("220 ")
        await client.writer.start_tls(trusted, server_hostname="localhost")
        assert (await client.say("MAIL FROM:<>")).startswith("503 ")
        assert "STARTTLS" not in await client.say("EHLO mx.example")
        await client.begin(UNSUBSCRIBE)
        assert (await client.data(mail(post.token(MAIJA)))).startswith("250 ")
        assert (await post.entry(MAIJA)).bans


async def test_without_a_certificate_there_is_no_tls(post):
    async with post.caller() as client:
        assert "STARTTLS" not in await client.say("EHLO mx.example")
        assert (await client.say("STARTTLS")).startswith("454 ")


async def test_draining_ends_idle_sessions_and_finishes_messages(post):
    async with post.caller() as idle, post.caller() as busy:
        await busy.begin(UNSUBSCRIBE)
        await busy.say("DATA")
        drained = asyncio.create_task(post.post.drain(20))
        assert (await idle.reply()).startswith("421 4.3.2 ")
        assert (await busy.body(mail(post.token(MAIJA)))).startswith("250 ")
        assert (await busy.reply()).startswith("421 4.3.2 ")
        assert await drained
    assert (await post.entry(MAIJA)).bans


async def test_thousands_of_commands_at_once_are_all_answered(post):
    async with post.caller(OURS) as client:
        client.writer.write(b"NOOP\r\n" * 5000 + b"QUIT\r\n")
        for _ in range(5000):
            assert (await client.reply()) == "250 2.0.0 Ok"
        assert (await client.reply()).startswith("221 ")
