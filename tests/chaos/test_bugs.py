"""Faults of the gateway that this suite has found, each test named after its fault."""

import asyncio
import signal

import pytest

from tests.chaos.reading import Reading, ReadingSink
from tests.peers.house import MAILING, House, client_table

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


async def test_a_client_that_breaks_off_its_tls_handshake_is_called_a_fault_of_ours(build):
    """It was logged with a trace as `command_failed` and counted as `internal`, for which
    the alerts wake somebody; `tls_failed` is what the server means to say."""
    async with build(client_tls=True) as place:
        for broken in (b"", b"\x16\x03\x01\x00\x05hello", b"EHLO tool.example\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
            writer.write(b"EHLO tool.example\r\nSTARTTLS\r\n")
            async with asyncio.timeout(5):
                while b"220 " not in (await reader.readline()) or not writer:
                    pass
                while not (line := await reader.readline()).startswith(b"220 "):
                    assert line, "the connection ended"
            writer.write(broken)
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.5)
        _, metrics = await place.gateway.get("/metrics")
        assert 'gateway_faults_total{cause="internal"}' not in metrics
        assert "command_failed" not in place.gateway.text


async def test_after_a_crash_the_archive_is_shown_as_whole_though_half_is_missing(build):
    """For 15 seconds the dead archiver's lease kept the last pass of a clean stop, and
    `records` beside no running gateway, from archiving; neither said a word."""
    async with build(seed=92) as place:
        place.gateway.signal(signal.SIGKILL)
        await place.gateway.ended()
        await place.gateway.start()
        await place.send(10, over=0.1)
        assert await place.gateway.stop() == 0
        done = place.gateway.command("records", "search", "--limit", "1000", "--json")
        found = {row["message_id"] for row in done.rows}
        missing = [one for one in place.sink.arrivals if one.gateway_id not in found]
        assert not missing or done.status == 2, f"{len(missing)} missing, status {done.status}"


async def test_a_message_with_30000_recipients_is_deferred_for_ever(build):
    """Looking up so many takes longer than `register.settle`: after three look-ups that
    were too slow the client heard 451, and with every retry again."""
    clients = [client_table(max_recipients=30_000)]
    async with build(clients=clients, delay=0, rules={"set": "opt-out"}) as place:
        many = "".join(f"RCPT TO:<somebody{n}@example.net>\r\n" for n in range(30_000))
        reader, writer = await asyncio.open_connection("127.0.0.1", place.port)
        writer.write(b"HELO big.example\r\nMAIL FROM:<u@lamisnet.fi>\r\n" + many.encode())
        writer.write(b"DATA\r\n")
        async with asyncio.timeout(40):
            # Greeting, HELO, MAIL, and DATA beside the recipients.
            answers = [await reader.readline() for _ in range(30_004)]
        assert answers[-1].startswith(b"354"), answers[-1]
        writer.write(MAILING + b".\r\n")
        async with asyncio.timeout(40):
            answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        assert answer.endswith(b"30000 forwarded\r\n"), answer


@pytest.mark.parametrize("bare_newlines", ["reject", "normalise"])
async def test_a_nul_beside_the_dot_smuggles_a_message_past_the_register(
    tmp_path, register_url, bare_newlines
):
    """CRLF NUL . CRLF was text here and at the strict upstream; at one that drops NULs it
    ended the message, and what followed was a second one to somebody nobody looked up."""
    async with ReadingSink(Reading.NUL) as sink:
        smtp = {"bare_newlines": bare_newlines}
        async with House(tmp_path, register_url, [sink], smtp=smtp) as house:
            await house.allow("reader@example.com")
            for vector in (b"\r\n\0.\r\n", b"\r\n.\0\r\n", b"\r\n\0.\0\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
                writer.write(
                    b"EHLO tool.example\r\nMAIL FROM:<u@lamisnet.fi>\r\n"
                    b"RCPT TO:<reader@example.com>\r\nDATA\r\n"
                    + MAILING
                    + vector[2:]
                    + b"MAIL FROM:<evil@lamisnet.fi>\r\nRCPT TO:<victim@example.com>\r\n"
                    b"DATA\r\n" + MAILING + b".\r\n"
                )
                writer.write_eof()
                async with asyncio.timeout(10):
                    await reader.read()
                writer.close()
                await writer.wait_closed()
            assert not any(b"victim" in line for line in sink.commands), sink.messages
