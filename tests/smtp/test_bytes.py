"""The body that leaves is the body that came, byte for byte, and is read one way only."""

import hashlib
import random

import pytest

from tests.peers.house import INVOICE, MAILING, client_table
from tests.smtp.trace import strip_trace

A = "a@example.com"
HEAD = b"From: LamisNET <laskut@lamisnet.fi>\r\nSubject: x\r\n"


def awkward() -> dict[str, bytes]:
    """Messages that relays are known to change."""
    rng = random.Random(7)
    deep = b""
    for level in range(60):
        deep += b"--b%d\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n" % (level, level + 1)
    return {
        "8-bit": HEAD + b"\r\n\xe4\xf6\xff\x80\x81\r\n",
        "long lines": HEAD + b"\r\n" + b"x" * 100_000 + b"\r\n" + b"y" * 998 + b"\r\n",
        "leading dots": HEAD + b"\r\n.\r\n..\r\n.a\r\n...\r\n\r\n.\r\n",
        "ends in dots": HEAD + b"\r\n..\r\n",
        "empty lines": HEAD + b"\r\n\r\n\r\n\r\n",
        "deep MIME": HEAD + b"Content-Type: multipart/mixed; boundary=b0\r\n\r\n" + deep,
        "no body": HEAD,
        "no header": b"\r\nonly a body\r\n",
        "neither": b"",
        "blank": b"\r\n",
        "dot first": b".\r\n",
        "not a header": b"this is no field\r\nFrom: x\r\n\r\nbody\r\n",
        "folded": HEAD
        + b"X-Long: "
        + b"a" * 70
        + b"\r\n "
        + b"b" * 900
        + b"\r\n\tc\r\n\r\nhei\r\n",
        "trailing space": HEAD + b"\r\nspace \r\ntab\t\r\n \r\n",
        "every byte": HEAD
        + b"\r\n"
        + bytes(b for b in range(256) if b not in (0, 10, 13))
        + b"\r\n",
        "random lines": HEAD
        + b"\r\n"
        + b"\r\n".join(
            bytes(rng.choice(b".\x01 ab\xff") for _ in range(rng.randrange(9))) for _ in range(3000)
        )
        + b"\r\n",
        "DKIM signed": b"DKIM-Signature: v=1; b=abc\r\n" + HEAD + b"\r\nsigned  body \r\n\r\n",
    }


@pytest.fixture
async def shop(build):
    async with build(clients=[client_table(kind="transactional", topic=None)]) as house:
        yield house


@pytest.mark.parametrize("name", list(awkward()))
async def test_transactional_mail_arrives_byte_for_byte(shop, upstream, name):
    message = awkward()[name]
    if b"From:" not in message:
        # Without a sender nothing passes the rules (R03): it is held, byte for byte.
        async with shop.client() as client:
            assert (await client.mail(A, message=message)).endswith("1 held")
        (held,) = await shop.parts.site.held.list()
        content = b"".join([p async for p in shop.parts.site.held.open_content(held.id)])
        assert content == message
        return
    async with shop.client() as client:
        reply = await client.mail(A, message=message)
    if name == "not a header":
        assert reply.endswith("1 held")
        return
    assert reply.endswith("1 forwarded"), reply
    assert strip_trace(upstream.messages[0].content) == message
    (found,) = await shop.found(A)
    shown = await shop.archive.show(found.record_id)
    _, _, body = message.partition(b"\r\n\r\n")
    assert shown.message.body_hash == hashlib.sha256(body).hexdigest()
    assert shown.message.size == len(message)
    kept = b"".join([p async for p in shop.contents.open(shown.message.content)])
    assert kept == message


async def test_fifty_megabytes_arrive_through_the_disk(build, upstream):
    """In memory stays what one message may keep there; the rest lies in a file."""
    size = 50 * 1024 * 1024
    line = bytes(range(32, 110)) + b"\r\n"
    message = HEAD + b"\r\n" + b".dots\r\n" + line * ((size - 200) // len(line))
    clients = [client_table(kind="transactional", topic=None)]
    async with build(clients=clients, smtp={"max_message_size": size}) as house:
        async with house.client() as client:
            await client.begin(A)
            await client.say("DATA")
            wire = message.replace(b"\r\n.", b"\r\n..")
            for start in range(0, len(wire), 1 << 20):
                client.writer.write(wire[start : start + (1 << 20)])
                await client.writer.drain()
                assert house.listener.budget.used <= house.settings.smtp.message_memory + 65536
            client.writer.write(b".\r\n")
            reply = await client.reply(within=60)
        assert reply.endswith("1 forwarded"), reply
        assert house.listener.budget.used == 0
        assert strip_trace(upstream.messages[0].content) == message
        (found,) = await house.found(A)
        digest = hashlib.sha256()
        async for piece in house.contents.open(found.message_id):
            digest.update(piece)
        assert digest.digest() == hashlib.sha256(message).digest()


async def test_a_message_over_the_limit_is_552_and_the_session_goes_on(build, upstream):
    async with build(smtp={"max_message_size": 10_000}) as house:
        await house.allow(A)
        async with house.client() as client:
            assert (await client.mail(A, message=MAILING + b"x" * 20_000)).startswith("552 5.3.4")
            assert (await client.mail(A)).endswith("1 forwarded")
            reply = await client.say("MAIL FROM:<a@lamisnet.fi> SIZE=10001")
            assert reply.startswith("552 5.3.4")
    assert len(upstream.messages) == 1


async def test_a_header_section_over_the_limit_is_552(build):
    async with build(smtp={"max_header_size": 2000}) as house:
        await house.allow(A)
        async with house.client() as client:
            big = b"X: " + b"a" * 3000 + b"\r\n" + MAILING
            assert (await client.mail(A, message=big)).startswith("552 5.3.4")


async def test_a_mail_loop_is_554(house):
    await house.allow(A)
    async with house.client() as client:
        loop = b"Received: from a by b; now\r\n" * 101 + MAILING
        assert (await client.mail(A, message=loop)).startswith("554 5.4.6")


ENDS = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r\n.\r",
    b"\r.\r\n",
    b"\n.\r",
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n.\r\r\n",
    b"\n\n.\r\n",
]
SMUGGLED = (
    b"MAIL FROM:<evil@lamisnet.fi>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n"
    b"From: evil@lamisnet.fi\r\n\r\nsmuggled\r\n.\r\n"
)


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("policy", ["reject", "normalise"])
async def test_no_other_end_of_data_smuggles_a_second_message(build, upstream, end, policy):
    clients = [client_table(kind="transactional", topic=None)]
    async with build(clients=clients, smtp={"bare_newlines": policy}) as house:
        async with house.client() as client:
            await client.begin(A)
            await client.say("DATA")
            client.writer.write(HEAD + b"\r\nfirst" + end + SMUGGLED)
            reply = await client.reply()
            # Whatever came of the message, what follows its real end are commands.
            assert (await client.say("NOOP")).startswith("250")
        assert reply[:3] in ("250", "550")
        assert len(upstream.messages) <= 1
        for message in upstream.messages:
            assert message.recipients == [A]
            bare = message.wire.replace(b"\r\n", b"")
            assert b"\r" not in bare
            assert b"\n" not in bare


async def test_bare_newlines_are_refused_with_a_reason(house):
    await house.allow(A)
    async with house.client() as client:
        assert (await client.mail(A, message=MAILING + b"a\nb\r\n")).startswith("550 5.6.0")
        assert (await client.mail(A)).endswith("1 forwarded")


async def test_bare_newlines_are_mended_where_asked(build, upstream):
    clients = [client_table(kind="transactional", topic=None)]
    async with build(clients=clients, smtp={"bare_newlines": "normalise"}) as house:
        async with house.client() as client:
            message = HEAD + b"\r\na\nb\rc\r\n"
            assert (await client.mail(A, message=message)).endswith("1 forwarded")
    assert strip_trace(upstream.messages[0].content) == HEAD + b"\r\na\r\nb\r\nc\r\n"


async def test_the_message_in_single_bytes_is_the_same_message(shop, upstream):
    async with shop.client() as client:
        await client.begin(A)
        await client.say("DATA")
        for octet in INVOICE + b"..x\r\n.\r\n":
            client.writer.write(bytes([octet]))
            await client.writer.drain()
        assert (await client.reply()).endswith("1 forwarded")
    assert strip_trace(upstream.messages[0].content) == INVOICE + b".x\r\n"


async def test_header_injection_through_the_envelope_is_impossible(shop, upstream):
    async with shop.client() as client:
        for bad in (b"a\rb@example.com", b"a\nRCPT TO:<c@example.com>", b"a\0@example.com"):
            client.send(b"MAIL FROM:<" + bad + b">")
            assert (await client.reply())[:1] == "5"
        assert (await client.say("EHLO x\ty\x0b")).startswith("501")
        assert (await client.mail(A, message=INVOICE)).endswith("1 forwarded")
    received = upstream.messages[0].content.split(b"\r\n")[0]
    assert received == b"Received: from tool.example ([127.0.0.1])"
