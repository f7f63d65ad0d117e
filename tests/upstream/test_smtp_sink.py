"""Against Postfix's own test server, which nobody here wrote."""

import asyncio
import os
import re
import shutil

import pytest

from gateway.upstream import Target, Upstreams
from gateway.wire.command import MailCommand, RcptCommand

SINK = shutil.which("smtp-sink") or shutil.which("smtp-sink", path="/usr/sbin:/usr/lib/postfix")
if SINK is None and os.environ.get("CI") != "true":
    pytest.skip("smtp-sink (package postfix) is not installed", allow_module_level=True)


async def start(socket, *options):
    assert SINK is not None, "smtp-sink must be there in CI"
    if os.geteuid() == 0:
        options = ("-u", "root", *options)
    process = await asyncio.create_subprocess_exec(SINK, *options, f"unix:{socket}", "100")
    async with asyncio.timeout(30):
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(socket)
            except OSError:
                # The socket is there a moment before anybody listens.
                await asyncio.sleep(0.01)
            else:
                writer.close()
                break
    return process


async def body(text):
    for at in range(0, len(text), 1000):
        yield text[at : at + 1000]


@pytest.mark.parametrize("options", [[], ["-p"], ["-e"]], ids=["all", "no-pipelining", "no-ehlo"])
async def test_messages_arrive_as_they_were(tmp_path, options):
    template = str(tmp_path / "mail.")
    process = await start(tmp_path / "s", "-d", template, *options)
    upstreams = Upstreams(
        [Target("sink", path=str(tmp_path / "s"), max_connections=5)], hostname="gateway.test"
    )
    text = b"Subject: x\r\n\r\n..dot\r\n" + b"line of text\r\n" * 5000
    recipients = [RcptCommand(b"<r%d@example.test>" % number) for number in range(10)]

    async def deliver():
        transaction, replies = await upstreams.open_transaction(
            ["sink"], MailCommand(b"<s@example.test>"), recipients
        )
        assert all(reply.positive for reply in replies)
        assert (await transaction.data(body(text))).code == 250
        transaction.release()

    try:
        await asyncio.gather(*(deliver() for _ in range(50)))
        assert upstreams.stats()["sink"].open <= 5
        await upstreams.aclose()
    finally:
        process.terminate()
        await process.wait()
    kept = [file.read_bytes() for file in tmp_path.glob("mail.*")]
    assert len(kept) == 50
    # It keeps lines with LF, un-stuffs, and adds header lines of its own on top.
    expected = text.replace(b"\r\n..", b"\r\n.").replace(b"\r\n", b"\n")
    for message in kept:
        assert message.rstrip(b"\n").endswith(expected.rstrip(b"\n"))
        assert len(re.findall(rb"^X-Rcpt-Args: ", message, re.M)) == 10


async def test_hard_and_soft_refusals(tmp_path):
    process = await start(tmp_path / "s", "-r", "RCPT", "-B", "550 5.1.1 no")
    upstreams = Upstreams([Target("sink", path=str(tmp_path / "s"))], hostname="gateway.test")
    try:
        transaction, replies = await upstreams.open_transaction(
            ["sink"], MailCommand(b"<>"), [RcptCommand(b"<a@b>")], data=True
        )
        assert not replies[0].positive
        assert not (await transaction.data(body(b"x\r\n"))).positive
        transaction.release()
    finally:
        await upstreams.aclose()
        process.terminate()
        await process.wait()
