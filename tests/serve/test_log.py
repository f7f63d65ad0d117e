"""No address, no word of a message and no secret in the log, whatever goes wrong."""

import asyncio
import io
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest
import structlog

from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.serve.logging import configure
from gateway.settings.model import Log
from gateway.unsubscribe.link import Link, Links, Purpose
from tests.peers.house import MAILING, Client, client_table
from tests.peers.port import free_port
from tests.peers.process import until
from tests.peers.scripted import Stage

pytestmark = pytest.mark.slow

YES, NO, ODD = "aino.virtanen@mail.example", "eino.korhonen@mail.example", "väinö@post.example"
SENDER = "kampanja@lamisnet.fi"
SECRETS = (
    "aino",
    "eino",
    "virtanen",
    "korhonen",
    "väinö",
    "v\\u00e4in",
    "mail.example",
    "post.example",
    "kampanja",
    "zebra",
    "giraffe",
    "sesame",
    "YWlubw",
)
"""Parts of every address, of message texts, of a password; and base64 of one."""
MESSAGE = (
    b"From: Kampanja <kampanja@lamisnet.fi>\r\n"
    b"To: Aino Virtanen <aino.virtanen@mail.example>\r\n"
    b"Subject: zebra\r\n"
    b"List-Unsubscribe: <mailto:aino.virtanen@mail.example>\r\n"
    b"\r\n"
    b"giraffe aino.virtanen@mail.example\r\n"
)


async def traffic(gateway, upstream):
    """Everything that can be said about a person, in every way that fails."""
    sender = f"<{SENDER}>"

    async def attempt(*recipients, message=MESSAGE):
        async with gateway.client() as client:
            await client.begin(*recipients, sender=sender)
            return await client.data(message)

    assert (await attempt(YES, NO)).endswith("1 forwarded, 1 suppressed")
    for stage in (Stage.MAIL, Stage.RCPT, Stage.DATA, Stage.END):
        for code in ("450 4.2.1", "550 5.1.1", "421 4.3.0"):
            upstream.on(
                stage, reply=f"{code} <{YES}>: zebra {SENDER}", times=1, close="421" in code
            )
            await attempt(YES)
            upstream.forget_script()
    for how in ({"close": True}, {"reset": True}, {"reply": f"{YES}\r\n".encode()}):
        upstream.on(Stage.END, times=1, **how)
        await attempt(YES)
        upstream.forget_script()
    upstream.on(Stage.CONNECT, reply=f"554 go away {YES}", close=True)
    await upstream.hang_up()
    await attempt(YES)
    upstream.forget_script()

    async with gateway.client() as client:
        for line in (
            f"MAIL FROM:<{SENDER}> X-AINO={YES}",
            f"MAIL FROM:<{SENDER}> SIZE=99999999999",
            f"SAML FROM:<{YES}>",
            f"VRFY {YES}",
            f"EXPN {YES}",
            f"RCPT TO:<{YES}>",
            f"MAIL FROM:<{SENDER}> SMTPUTF8",
            f"RCPT TO:<{ODD}>",
            "RCPT TO:<aino virtanen@@mail.example>",
            "RCPT TO:<aino.virtanen@mail..example>",
            f"RCPT TO:<{YES}> NOTIFY=AINO",
            f"RCPT TO:{YES}",
            "aino " * 500,
            "RSET",
            "AUTH PLAIN YWlubwBhaW5vAHNlc2FtZQ==",
            "AUTH PLAIN YWlubw!",
            "AUTH AINO",
        ):
            await client.say(line)
        await client.login("tool", "sesame wrong")
    async with gateway.client() as client:
        await client.begin(YES, sender=sender)
        await client.data(MESSAGE.replace(b"\r\nTo", b"\nTo"))
    await attempt(YES, message=b"X-Gateway-Kind: aino\r\n" + MESSAGE)
    await attempt(YES, message=b"\r\ngiraffe\r\n")
    await attempt(YES, message=b"zebra")

    register = gateway.register_pid
    os.kill(register, signal.SIGSTOP)
    await attempt(YES)
    os.kill(register, signal.SIGCONT)
    await gateway.keep_sending(YES, message=MESSAGE)
    os.kill(register, signal.SIGKILL)
    await attempt(YES)
    await gateway.line("register_restarted")
    await gateway.keep_sending(YES, message=MESSAGE)

    # Whether the archiver noticed the register's absence is chance; its own is none.
    while '"archive": "ok"' not in (await gateway.get("/readyz"))[1]:
        await asyncio.sleep(0.1)
    before = gateway.text.count('"archive_unavailable"')
    archive = gateway.settings.records.archive
    archive.rename(archive.with_suffix(".away"))
    await attempt(YES)
    await gateway.line("archive_unavailable", count=before + 1)
    archive.with_suffix(".away").rename(archive)
    await gateway.line("archive_available", count=before + 1)

    gateway.configure(clients=[client_table(topic="aino")])
    gateway.signal(signal.SIGHUP)
    await gateway.line("reloaded")
    gateway.configure(smtp={"hostname": 1})
    gateway.signal(signal.SIGHUP)
    await gateway.line("reload_refused")

    gate = asyncio.Event()
    upstream.on(Stage.END, gate=gate)
    with pytest.raises(ConnectionError):
        async with gateway.client() as client:
            await client.begin(YES, sender=sender)
            await client.say("DATA")
            client.writer.write(MESSAGE + b".\r\n")
            while not upstream.refused_messages:
                await asyncio.sleep(0.02)
            os.kill(gateway.workers[0], signal.SIGKILL)
            await client.reply()
    gate.set()
    await gateway.line("worker_started", count=2)


async def test_the_log_names_nobody(build, tmp_path, upstream):
    (tmp_path / "secret").write_text("sesame\n")
    clients = [
        client_table(),
        client_table(name="other", networks=None, username="tool", password_file="secret"),
    ]
    async with build(clients=clients, log={"level": "debug"}, drain_timeout=1) as gateway:
        await gateway.allow(YES, ODD)
        await gateway.ban(NO)
        await traffic(gateway, upstream)
        assert await gateway.stop() == 0
    text = gateway.log.read_text()
    assert len(gateway.lines) > 20
    for secret in SECRETS:
        hits = [line for line in text.splitlines() if secret.casefold() in line.casefold()]
        assert not hits, (secret, hits[:3])
    # The register's own log neither.
    own = (gateway.folder / "data" / "register" / "register.log").read_text()
    assert not [secret for secret in SECRETS if secret in own.casefold()]
    # Nor does any file hold an address or a text in the clear, the stores included.
    for path in (gateway.folder / "data").rglob("*"):
        if path.is_file():
            octets = path.read_bytes()
            for secret in ("aino.virtanen", "eino.korhonen", "kampanja@", "giraffe"):
                assert secret.encode() not in octets, (path, secret)


def test_a_line_is_one_write_so_that_two_workers_lines_never_run_together(monkeypatch):
    written = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Stream())
    try:
        configure(Log(), worker=1)
        structlog.get_logger().info("drained", finished=True)
    finally:
        structlog.contextvars.clear_contextvars()
        structlog.reset_defaults()
    [line] = written
    assert line.endswith("\n")
    assert json.loads(line)["event"] == "drained"


def test_a_line_that_cannot_be_written_is_lost_and_no_error(monkeypatch):
    full = io.TextIOWrapper(open("/dev/full", "wb", buffering=0), write_through=True)  # noqa: SIM115
    gone = io.StringIO()
    gone.close()
    try:
        # None: it was closed when the process began.
        for stream in (full, gone, None):
            monkeypatch.setattr(sys, "stderr", stream)
            configure(Log(), worker=1)
            structlog.get_logger().info("drained", finished=True)
    finally:
        monkeypatch.undo()
        structlog.contextvars.clear_contextvars()
        structlog.reset_defaults()
        full.close()


async def test_with_a_log_that_takes_nothing_every_answer_is_true(build, upstream):
    """What is in force is answered so: a line that is not written is no failure of it."""
    smtp, public, inbound = (free_port() for _ in range(3))
    gateway = build(
        smtp={"listen": [f"127.0.0.1:{smtp}"]},
        public={"listen": [f"127.0.0.1:{public}"], "url": "https://preferences.example"},
        inbound={"listen": [f"127.0.0.1:{inbound}"]},
        unsubscribe={"address": "unsubscribe@mail.lamisnet.fi"},
    )
    gateway.log = Path("/dev/full")
    try:
        await gateway.start(ready=False)
        await until(lambda: all(map(_taken, (smtp, public, inbound))), 60)
        await gateway.allow(YES)
        links = Links.load_or_create(gateway.settings.unsubscribe.key_file)
        token = links.seal(Link(parse_contact(YES), Purpose.REFUSE, None, now_ms()))
        async with Client(smtp) as client:
            await client.begin(YES, sender=f"<{SENDER}>")
            assert "1 forwarded" in await client.data(MAILING)
        async with Client(inbound) as client:
            await client.begin("unsubscribe@mail.lamisnet.fi", sender="<>")
            reply = await client.data(f"Subject: {token}\r\n\r\nstop\r\n".encode())
            assert reply.startswith("250 "), reply
        async with Client(inbound) as client:
            await client.begin("unsubscribe@mail.lamisnet.fi", sender="<>")
            assert (await client.data(b"Subject: stop\r\n\r\nstop\r\n")).startswith("550 5.7.1")
        async with Client(smtp) as client:
            await client.begin(YES, sender=f"<{SENDER}>")
            assert "1 suppressed" in await client.data(MAILING)
        assert await gateway.stop() == 0
    finally:
        gateway.clean_up()


def _taken(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True
