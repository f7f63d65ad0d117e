import asyncio
import smtplib

import pytest

from gateway.sandbox import Envelope, SandboxServer, read_sandbox
from gateway.upstream import Target, Upstreams
from gateway.wire.command import MailCommand, RcptCommand


async def dialogue(server, data, *, until=b"221 "):
    """Sends raw bytes at once and returns everything the server says."""
    if server.path is not None:
        reader, writer = await asyncio.open_unix_connection(server.path)
    else:
        reader, writer = await asyncio.open_connection(server.host, server.port)
    writer.write(data)
    said = b""
    async with asyncio.timeout(30):
        while until not in said:
            more = await reader.read(65536)
            if not more:
                break
            said += more
    writer.close()
    return said.decode()


def codes(said):
    return [line[:3] for line in said.split("\r\n") if line[3:4] == " "]


async def test_a_message_is_kept_octet_for_octet(tmp_path):
    content = b"Subject: x\r\n\r\n.dot\r\n.\r\n\xff\xfe bytes\r\n"
    async with SandboxServer(tmp_path / "box", path=tmp_path / "s") as server:
        said = await dialogue(
            server,
            b"EHLO me\r\nMAIL FROM:<> SIZE=100 RET=HDRS\r\n"
            b"RCPT TO:<a@b.example> NOTIFY=NEVER\r\nRCPT TO:<c@d.example>\r\nDATA\r\n"
            + content.replace(b"\r\n.", b"\r\n..")
            + b".\r\nQUIT\r\n",
        )
    assert codes(said) == ["220", "250", "250", "250", "250", "354", "250", "221"]
    for extension in ("PIPELINING", "SIZE", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES"):
        assert f"250-{extension}" in said or f"250 {extension}" in said
    assert read_sandbox(tmp_path / "box") == [
        (
            Envelope(
                "",
                ("a@b.example", "c@d.example"),
                {"SIZE": "100", "RET": "HDRS"},
                ({"NOTIFY": "NEVER"}, {}),
            ),
            content,
        )
    ]


async def test_the_standard_librarys_client_and_the_order(tmp_path):
    async with SandboxServer(tmp_path / "box") as server:

        def send():
            with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client:
                for number in range(12):
                    client.sendmail(
                        "s@e.example", ["r@e.example"], f"Subject: {number}\r\n\r\nx\r\n"
                    )

        await asyncio.to_thread(send)
    messages = [content for _, content in read_sandbox(tmp_path / "box")]
    assert messages == [b"Subject: %d\r\n\r\nx\r\n" % number for number in range(12)]


async def test_refusals(tmp_path):
    async with SandboxServer(tmp_path / "box", path=tmp_path / "s", max_size=100) as server:
        said = await dialogue(
            server,
            b"HELO me\r\nDATA\r\nRCPT TO:<a@b>\r\nMAIL FROM:a@b\r\nMAIL FROM:<a@b> SIZE=101\r\n"
            b"MAIL FROM:<a@b>\r\nRCPT TO:<>\r\nDATA\r\nNONSENSE\r\nbare\n\r\nRCPT TO:<a@b>\r\n"
            b"DATA\r\n" + b"x" * 200 + b"\r\n.\r\nVRFY x\r\nNOOP\r\nRSET\r\nQUIT\r\n",
        )
    expected = "220 250 503 503 501 552 250 501 503 500 500 250 354 552 252 250 250 221"
    assert codes(said) == expected.split()
    assert read_sandbox(tmp_path / "box") == []


async def test_a_body_without_its_dot_is_not_kept(tmp_path):
    async with SandboxServer(tmp_path / "box", path=tmp_path / "s") as server:
        await dialogue(
            server,
            b"HELO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nhello\r\n.\n",
            until=b"354",
        )
    assert read_sandbox(tmp_path / "box") == []
    assert list((tmp_path / "box" / "tmp").iterdir()) == []


async def test_read_messages_a_mail_reader_has_moved_are_still_found(tmp_path):
    async with SandboxServer(tmp_path / "box", path=tmp_path / "s") as server:
        await dialogue(
            server,
            b"HELO me\r\nMAIL FROM:<a@b>\r\nRCPT TO:<a@b>\r\nDATA\r\nhi\r\n.\r\nQUIT\r\n",
        )
    (file,) = (tmp_path / "box" / "new").iterdir()
    file.rename(tmp_path / "box" / "cur" / f"{file.name}:2,S")
    assert read_sandbox(tmp_path / "box")[0][1] == b"hi\r\n"


@pytest.mark.parametrize("pieces", [1, 5])
async def test_the_upstream_client_delivers_to_it(tmp_path, pieces):
    async with SandboxServer(tmp_path / "box", path=tmp_path / "s") as server:
        upstreams = Upstreams([Target("box", path=str(server.path))], hostname="gateway.test")
        text = b"Subject: x\r\n\r\n" + b"line\r\n" * 30_000

        async def body():
            for at in range(pieces):
                yield text[at * len(text) // pieces : (at + 1) * len(text) // pieces]

        transaction, _ = await upstreams.open_transaction(
            ["box"], MailCommand(b"<s@e>"), [RcptCommand(b"<r@e>")], data=True
        )
        assert (await transaction.data(body())).code == 250
        transaction.release()
        await upstreams.aclose()
    assert read_sandbox(tmp_path / "box")[0][1] == text
