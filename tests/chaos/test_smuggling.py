"""SMTP smuggling: every string of octets has one reading, here and at the upstream.

The catalogue is that of SEC Consult (2023) and of Postfix's and Exim's answers to it.
"""

import asyncio

import pytest

from tests.chaos.reading import Reading, ReadingSink
from tests.peers.house import House

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

READER, VICTIM = "reader@example.com", "victim@example.com"
HEAD = b"From: u@lamisnet.fi\r\nSubject: one\r\nList-Unsubscribe: <https://x.example>\r\n\r\nbefore"
SMUGGLED = (
    b"MAIL FROM:<evil@lamisnet.fi>\r\nRCPT TO:<victim@example.com>\r\nDATA\r\n"
    b"From: evil@lamisnet.fi\r\n\r\nsmuggled"
)
END = b"\r\n.\r\n"
BARE = [
    b"\n.\n",
    b"\n.\r\n",
    b"\r\n.\n",
    b"\r.\r",
    b"\r.\r\n",
    b"\r\n.\r",
    b"\r.\n",
    b"\n.\r",
    b"\n\n.\n",
    b"\r\r\n.\r\r\n",
    b"\r\n.\r\r\n",
    b"\r\n\n.\n\r\n",
    b"\n\r.\n\r",
    b"\r\n.\n\r",
    b"\n.\r\r\n",
    b"\r\r.\r\r",
    b"\r\n\r.\r\n",
]
"""Ends of data, to somebody: each with a CR or an LF that stands alone."""
NULS = [
    b"\r\n\0.\r\n",
    b"\r\n.\0\r\n",
    b"\r\n\0.\0\r\n",
    b"\r\0\n.\r\n",
    b"\r\n.\r\0\n",
    b"\r\n.\0\n",
]
"""Ends of data to whoever drops a NUL, or reads on from it."""
WHOLE = [b"\r\n..\r\n", b"\r\n.\t\r\n", b"\r\n. \r\n", b"\r\n .\r\n", b"\r\n.x\r\n", b"\r\n...\r\n"]
"""All their line ends are CRLF, and none is an end of data to anybody."""


async def converse(port, octets, *, split):
    """Say it all, whole or in single octets, and half-close; every reply line."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        if split:
            for place in range(len(octets)):
                writer.write(octets[place : place + 1])
                await asyncio.sleep(0)
        else:
            writer.write(octets)
        writer.write_eof()
        async with asyncio.timeout(20):
            return (await reader.read()).split(b"\r\n")[:-1]
    finally:
        writer.close()
        await writer.wait_closed()


def dialogue(vector):
    opening = b"MAIL FROM:<u@lamisnet.fi>\r\nRCPT TO:<reader@example.com>\r\nDATA\r\n"
    return b"EHLO tool.example\r\n" + opening + HEAD + vector + SMUGGLED + END + b"QUIT\r\n"


def words(lines):
    """What is left of a message when everything is taken out that anybody reads apart."""
    return b"".join(lines).translate(None, b"\r\n\0.")


@pytest.mark.parametrize("reading", list(Reading), ids=lambda reading: reading.name)
async def test_the_catalogue_can_be_seen_by_these_servers(reading):
    """Without the gateway, some vector of the catalogue deceives all but the strict one."""
    seen = 0
    async with ReadingSink(reading) as sink:
        for vector in BARE + NULS:
            before = len(sink.messages)
            _, writer = await asyncio.open_connection("127.0.0.1", sink.port)
            writer.write(dialogue(vector))
            await asyncio.sleep(0.02)
            writer.close()
            await writer.wait_closed()
            seen += len(sink.messages) - before == 2
    assert bool(seen) is (reading is not Reading.STRICT), seen


@pytest.mark.parametrize("bare_newlines", ["reject", "normalise"])
@pytest.mark.parametrize("reading", list(Reading), ids=lambda reading: reading.name)
async def test_every_end_of_data_is_one_to_all_or_to_none(
    tmp_path, register_url, reading, bare_newlines
):
    async with ReadingSink(reading) as sink:
        smtp = {"bare_newlines": bare_newlines}
        async with House(tmp_path, register_url, [sink], smtp=smtp) as house:
            await house.allow(READER, VICTIM)
            for vector in [*BARE, *NULS, *WHOLE]:
                for split in (False, True):
                    sink.messages.clear()
                    sink.commands.clear()
                    replies = await converse(house.port, dialogue(vector), split=split)
                    case = (vector, split, replies, sink.commands, sink.messages)
                    # After the 354: one answer to the message, one to QUIT.
                    after = replies[next(n for n, r in enumerate(replies) if r[:3] == b"354") + 1 :]
                    assert len(after) == 2, case
                    assert after[1].startswith(b"221 "), case
                    assert not any(b"evil" in line or b"victim" in line for line in sink.commands)
                    # Line ends can be mended; a NUL cannot.
                    if vector in NULS or (bare_newlines == "reject" and vector in BARE):
                        assert after[0].startswith(b"550 5.6.0 "), case
                        assert sink.messages == [], case
                        continue
                    assert after[0].endswith(b"1 forwarded"), case
                    [message] = sink.messages
                    assert message.recipients == (b"<reader@example.com>",), case
                    body = message.lines[message.lines.index(b"") + 1 :]
                    sent = HEAD.split(b"\r\n\r\n")[1] + vector + SMUGGLED
                    assert words(body) == words([sent]), case


async def test_headers_after_a_bare_newline_are_read_as_the_upstream_reads_them(
    tmp_path, register_url
):
    """Normalised before it is judged: a field that would appear upstream counts here."""
    hidden = b"From: u@lamisnet.fi\r\nSubject: a%bList-Unsubscribe: <https://x.example>\r\n\r\nHei"
    service = {
        "name": "tool",
        "networks": ["127.0.0.0/8"],
        "kind": "service",
        "upstream": "main",
    }
    async with ReadingSink(Reading.ANY) as sink:
        async with House(
            tmp_path, register_url, [sink], clients=[service], smtp={"bare_newlines": "normalise"}
        ) as house:
            await house.customer(VICTIM)
            await house.ban(VICTIM)
            for newline in (b"\r\n", b"\n", b"\r"):
                replies = await converse(
                    house.port,
                    b"EHLO tool.example\r\nMAIL FROM:<u@lamisnet.fi>\r\n"
                    b"RCPT TO:<victim@example.com>\r\nDATA\r\n" + hidden % newline + END,
                    split=False,
                )
                assert not replies[-1].endswith(b"1 forwarded"), (newline, replies)
            assert sink.messages == []
