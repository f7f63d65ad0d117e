"""What is offered is carried; what cannot be carried is answered properly."""

import asyncio

import pytest

from tests.peers.house import House
from tests.peers.scripted import ScriptedUpstream
from tests.smtp.trace import strip_trace

A = "a@example.com"


async def test_everything_the_upstream_can_is_offered(house):
    async with house.client() as client:
        offered = (await client.say("EHLO x")).split("\n")
    words = {line[4:] for line in offered}
    assert {"PIPELINING", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"} <= words
    assert "SIZE 52428800" in words
    assert "CHUNKING" not in words


async def test_dsn_parameters_reach_the_upstream(house, upstream):
    await house.allow(A)
    async with house.client() as client:
        mail = "MAIL FROM:<u@lamisnet.fi> RET=HDRS ENVID=QQ314159 BODY=8BITMIME SIZE=300"
        assert (await client.say(mail)).startswith("250")
        rcpt = f"RCPT TO:<{A}> NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;a@example.com"
        assert (await client.say(rcpt)).startswith("250")
        assert (await client.data()).endswith("1 forwarded")
    (message,) = upstream.messages
    for word in (b"RET=HDRS", b"ENVID=QQ314159", b"BODY=8BITMIME"):
        assert word in message.mail_line
    assert b"NOTIFY=SUCCESS,FAILURE" in message.rcpt_lines[0]
    assert b"ORCPT=rfc822;a@example.com" in message.rcpt_lines[0]


async def test_an_international_address_needs_smtputf8(house, upstream):
    person = "jörö@example.com"
    await house.allow(person)
    async with house.client() as client:
        await client.say("MAIL FROM:<u@lamisnet.fi>")
        assert (await client.say(f"RCPT TO:<{person}>")).startswith("553 5.6.7")
        await client.say("MAIL FROM:<u@lamisnet.fi> SMTPUTF8")
        assert (await client.say(f"RCPT TO:<{person}>")).startswith("250")
        assert (await client.data()).endswith("1 forwarded")
    assert upstream.messages[0].recipients == [person]
    assert b"with UTF8SMTP id" in upstream.messages[0].content


async def test_what_the_upstream_lacks_is_not_offered_and_refused(tmp_path, register_url):
    async with (
        ScriptedUpstream(extensions=("SIZE 1000000",)) as poor,
        House(tmp_path, register_url, [poor]) as house,
    ):
        await house.allow(A)
        async with house.client() as client:
            offered = await client.say("EHLO x")
            assert "SIZE 1000000" in offered
            assert "PIPELINING" in offered  # ours, whatever the upstream does
            for word in ("8BITMIME", "SMTPUTF8", "DSN"):
                assert word not in offered
            for parameter in ("BODY=8BITMIME", "SMTPUTF8", "RET=FULL", "ENVID=x"):
                reply = await client.say(f"MAIL FROM:<u@lamisnet.fi> {parameter}")
                assert reply.startswith("555 5.5.4"), (parameter, reply)
            await client.say("MAIL FROM:<u@lamisnet.fi>")
            reply = await client.say(f"RCPT TO:<{A}> NOTIFY=NEVER")
            assert reply.startswith("555 5.5.4")
            assert (await client.mail(A)).endswith("1 forwarded")
        assert len(poor.messages) == 1


@pytest.mark.parametrize(
    "parameter",
    ["SIZE=x", "BODY=BINARY", "SMTPUTF8=1", "RET=ALL", "FOO=1", "SIZE=1 SIZE=2", "BODY=BINARYMIME"],
)
async def test_bad_parameters_are_refused(house, parameter):
    async with house.client() as client:
        reply = await client.say(f"MAIL FROM:<u@lamisnet.fi> {parameter}")
        assert reply[:3] in ("501", "555"), reply


async def test_after_helo_there_are_no_extensions(house):
    async with house.client() as client:
        assert await client.say("HELO x") == "250 gateway.test"
        assert (await client.say("MAIL FROM:<u@lamisnet.fi> SIZE=1")).startswith("555")


async def test_one_burst_is_one_write_of_replies_and_one_upstream_trip(house, upstream):
    people = [f"p{n}@example.com" for n in range(50)]
    await house.allow(*people)
    async with house.client() as client:
        await client.mail(people[0])
        trips = house.parts.register.current.trips
        reads = len(upstream.dialogues[0].reads)
        burst = b"MAIL FROM:<u@lamisnet.fi>\r\n"
        burst += b"".join(b"RCPT TO:<%b>\r\n" % p.encode() for p in people)
        client.writer.write(burst + b"DATA\r\n")
        replies = b""
        while replies.count(b"\r\n") < 52:
            chunk = await client.reader.read(65536)
            assert chunk
            replies += chunk
        assert house.parts.register.current.trips == trips + 1
        assert len(upstream.dialogues[0].reads) <= reads + 2
        assert (
            await client.body(
                b"From: u@lamisnet.fi\r\nList-Unsubscribe: <mailto:x@y.fi>\r\n\r\nhei\r\n"
            )
        ).endswith("50 forwarded")


@pytest.mark.parametrize("size", [1, 2, 3, 7])
async def test_the_dialogue_is_the_same_in_pieces(house, upstream, size):
    await house.allow(A)
    script = (
        b"NOOP\r\nMAIL FROM:<u@lamisnet.fi>\r\nRCPT TO:<a@example.com>\r\nRSET\r\n"
        b"MAIL FROM:<u@lamisnet.fi>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n"
    )
    message = b"From: u@lamisnet.fi\r\nList-Unsubscribe: <mailto:x@y.fi>\r\n\r\n.dot\r\nhei\r\n"
    async with house.client() as client:
        for start in range(0, len(script), size):
            client.writer.write(script[start : start + size])
            await client.writer.drain()
            await asyncio.sleep(0)
        replies = [await client.reply() for _ in range(7)]
        assert [r[:3] for r in replies] == ["250"] * 6 + ["354"]
        wire = message.replace(b"\r\n.", b"\r\n..") + b".\r\nNOOP\r\n"
        for start in range(0, len(wire), size):
            client.writer.write(wire[start : start + size])
            await client.writer.drain()
        assert (await client.reply()).endswith("1 forwarded")
        assert (await client.reply()).startswith("250")
    assert strip_trace(upstream.messages[0].content) == message
