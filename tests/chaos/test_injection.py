"""No command and no header field gets in by an address, a parameter or before TLS."""

import asyncio
import re
import ssl

import pytest

from tests.chaos.apart import Apart
from tests.chaos.sink import Sink
from tests.peers.certificates import self_signed
from tests.peers.house import House, client_table

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(60)]

READER = "reader@example.com"
VICTIM = b"RCPT TO:<victim@example.com>"
OURS = re.compile(
    rb"EHLO gateway\.test|RSET|NOOP|DATA|QUIT"
    rb'|(MAIL FROM|RCPT TO):<("[^"\x00-\x1f]*"|[^<>"\x00-\x20])*>( [A-Z0-9-]+(=[!-<>-~]+)?)*'
)
"""The only command lines that may ever leave for an upstream."""
INJECTED = [
    b"<a\r\n" + VICTIM + b">",
    b"<a\n" + VICTIM + b">",
    b"<a\r" + VICTIM + b">",
    b"<a\0@example.com>",
    b"<a@example.com\r\n" + VICTIM + b">",
    b"<a@example.com\n" + VICTIM + b">",
    b"<a@example.com\r" + VICTIM + b">",
    b"<a@example.com>\n" + VICTIM,
    b"<a@example.com>\r" + VICTIM,
    b"<a@example.com>\x0b" + VICTIM,
    b"<a@example.com>\x0c" + VICTIM,
    "<a@example.com>\u2028".encode() + VICTIM,
    "<a\u0085b@example.com>".encode(),
    "<a\u560d\u560a@example.com>".encode(),
    b'<"a\r\n' + VICTIM + b'"@example.com>',
    b'<"a\n' + VICTIM + b'"@example.com>',
    b'<"a\\\r\\\n' + VICTIM + b'"@example.com>',
    b'<"a> ' + VICTIM + b'"@example.com>',
    b'<"a\\"> SIZE=1"@example.com>',
    b'<"victim@example.com> "@example.com>',
    b"<a@example.com> " + VICTIM,
    b"<a@example.com>> " + VICTIM,
    b"<<a@example.com>> " + VICTIM,
    b"<a@example.com> SIZE=1\r\n" + VICTIM[:0] + b"NOOP",
    b"<a@example.com> ENVID=x+0D+0ARCPT",
    b"<a@example.com> ENVID=x\ry",
    b"<a@example.com> ENVID=x\n" + VICTIM,
    b"<a@example.com> AUTH=<>\n" + VICTIM,
    b"<a@example.com> AUTH=x+0D+0A",
    b"<a@example.com> RET=FULL\0",
    b"<a@example.com> NOTIFY=NEVER\n" + VICTIM,
    b"<a@example.com> ORCPT=rfc822;x+0D+0ARCPT",
    b"<a@example.com> ORCPT=rfc822;x\ry",
    b"<@evil.example,@b.example:a@example.com>",
    b"<a@[127.0.0.1\r\n]>",
    b"<a@example.com" + b"x" * 3000 + b">",
    b"<a%b@example.com>",
    b"<a!b@example.com>",
    b"<a;b@example.com>",
]


@pytest.fixture
async def sink():
    with Apart() as apart:
        async with Sink(apart) as one:
            yield one


async def exchange(port, octets):
    """Say it, half-close, and read all that is answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(octets)
        writer.write_eof()
        async with asyncio.timeout(10):
            return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("command", [b"MAIL FROM:", b"RCPT TO:"])
async def test_an_address_brings_no_command(tmp_path, register_url, sink, command):
    clients = [client_table(kind="transactional", topic=None)]
    async with House(tmp_path, register_url, [sink], clients=clients) as house:
        for argument in INJECTED:
            sink.commands.clear()
            sink.arrivals.clear()
            mail = b"" if command.startswith(b"MAIL") else b"MAIL FROM:<u@lamisnet.fi>\r\n"
            rcpt = b"RCPT TO:<reader@example.com>\r\n"
            octets = b"EHLO tool.example\r\n" + mail + command + argument + b"\r\n" + rcpt
            octets += b"DATA\r\nFrom: u@lamisnet.fi\r\nSubject: x\r\n\r\nHei\r\n.\r\nQUIT\r\n"
            answers = await exchange(house.port, octets)
            case = (argument[:80], answers, sink.commands)
            for line in sink.commands:
                assert OURS.fullmatch(line), case
                # As a command of its own: within a quoted local part it is a name.
                assert not line.startswith(VICTIM), case
            assert sink.breaches == [], case
            assert sum(line.startswith(b"MAIL") for line in sink.commands) <= 2, case
            for arrival in sink.arrivals:
                assert "victim@example.com" not in arrival.recipients, case
                head = arrival.content.split(b"\r\n\r\n")[0]
                fields = re.findall(rb"(?m)^([A-Za-z-]+):", head)
                assert fields == [b"Received", b"From", b"Subject"], case


@pytest.mark.parametrize(
    "spelling",
    [
        '"victim"@example.com',
        '"vic\\tim"@example.com',
        "VICTIM@EXAMPLE.COM",
        "@x.example:victim@example.com",
    ],
)
async def test_another_spelling_is_the_same_person(tmp_path, register_url, sink, spelling):
    async with House(tmp_path, register_url, [sink]) as house:
        await house.allow("victim@example.com")
        await house.ban("victim@example.com")
        async with house.client() as client:
            (reply,) = await client.begin(spelling)
            if reply.startswith("250"):
                assert (await client.data()).endswith("1 suppressed")
        assert sink.arrivals == []


@pytest.mark.parametrize(
    "name", [b"x\r\nBcc: v@example.com", b"x\nBcc: v", b"x\rBcc: v", b"x\0", b"x) by y (", b"a b"]
)
async def test_a_greeting_name_brings_no_header(tmp_path, register_url, sink, name):
    clients = [client_table(kind="transactional", topic=None)]
    async with House(tmp_path, register_url, [sink], clients=clients) as house:
        await exchange(
            house.port,
            b"EHLO ok.example\r\nEHLO " + name + b"\r\nMAIL FROM:<u@lamisnet.fi>\r\n"
            b"RCPT TO:<reader@example.com>\r\nDATA\r\nFrom: u@lamisnet.fi\r\n\r\nHei\r\n.\r\n",
        )
        for arrival in sink.arrivals:
            head = arrival.content.split(b"\r\n\r\n")[0]
            assert re.findall(rb"(?m)^([A-Za-z-]+):", head) == [b"Received", b"From"]
            assert b"Bcc" not in head


@pytest.mark.parametrize("together", [True, False], ids=["one write", "a moment later"])
async def test_what_is_said_before_tls_counts_for_nothing_after_it(
    tmp_path, register_url, sink, together
):
    certificate = self_signed(tmp_path, "localhost")
    injected = b"EHLO evil.example\r\nMAIL FROM:<evil@lamisnet.fi>\r\nRCPT TO:<v@example.com>\r\n"
    house = House(tmp_path, register_url, [sink], tls=certificate.server_context())
    async with house:
        reader, writer = await asyncio.open_connection("127.0.0.1", house.port)
        await reader.readline()
        writer.write(b"EHLO tool.example\r\n")
        while (await reader.readline())[3:4] == b"-":
            pass
        writer.write(b"MAIL FROM:<before@lamisnet.fi>\r\n")
        await reader.readline()
        if together:
            writer.write(b"STARTTLS\r\n" + injected)
        else:
            writer.write(b"STARTTLS\r\n")
        assert (await reader.readline()).startswith(b"220 ")
        context = ssl.create_default_context(cafile=str(certificate.certificate))
        try:
            if not together:
                # In the clear where the handshake is due: that is no handshake at all.
                writer.write(injected)
            await writer.start_tls(context, server_hostname="localhost")
        except (ssl.SSLError, ConnectionError):
            assert not together
        else:
            # Not even the greeting or the transaction of before is remembered.
            for line, code in (
                (b"RCPT TO:<reader@example.com>", b"503"),
                (b"MAIL FROM:<u@lamisnet.fi>", b"503"),
                (b"DATA", b"503"),
                (b"NOOP", b"250"),
            ):
                writer.write(line + b"\r\n")
                async with asyncio.timeout(5):
                    assert (await reader.readline()).startswith(code), line
        finally:
            writer.transport.abort()
            await asyncio.sleep(0.05)
        assert not any(b"evil" in line or b"before" in line for line in sink.commands)


async def test_what_an_upstream_says_before_tls_counts_for_nothing_after_it(tmp_path, register_url):
    """A man in the middle says, behind the 220, what the EHLO after it will be taken for."""
    certificate = self_signed(tmp_path, "localhost")
    context = certificate.server_context()
    seen = []

    async def serve(reader, writer):
        try:
            writer.write(b"220 sink.test\r\n")
            await reader.readline()
            writer.write(b"250-sink.test\r\n250 STARTTLS\r\n")
            await reader.readline()
            writer.write(b"220 Ready\r\n250-injected\r\n250 AUTH PLAIN\r\n235 injected\r\n")
            await writer.start_tls(context)
            while line := await reader.readline():
                seen.append(line)
                writer.write(b"421 4.3.2 Enough\r\n")
        except (ssl.SSLError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)

    class Peer:
        port = server.sockets[0].getsockname()[1]

        def target(self):
            return self

    upstream = {"tls": "starttls", "host": "localhost", "ca_file": str(certificate.certificate)}
    async with server, House(tmp_path, register_url, [Peer()], upstream=upstream) as house:
        await house.allow(READER)
        async with house.client() as client:
            (reply,) = await client.begin(READER)
        assert reply.startswith("451 4.4.1 "), reply
        # It waited for the true answer to its EHLO, within TLS.
        assert seen
        assert set(seen) == {b"EHLO gateway.test\r\n"}
        server.close()
