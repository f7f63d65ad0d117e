"""A running gateway whose mail server is a real Postfix: bounces come home by themselves."""

import asyncio
import os
import re
import signal
import smtplib
import time
from email import message_from_bytes
from email.message import EmailMessage

import pytest

from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.unsubscribe.link import Link, Links, Purpose
from tests.bounce.samples import feedback
from tests.clients.conftest import run, tool
from tests.inbound.conftest import (
    BILLING,
    BOUNCES,
    CLIENTS,
    OURS,
    STRANGER,
    UNSUBSCRIBE,
    Caller,
)
from tests.inbound.mta import Mta
from tests.inbound.test_report import HARD
from tests.inbound.test_unsubscribe import mail
from tests.peers.house import INVOICE, MAILING
from tests.peers.port import free_port
from tests.peers.process import RunningGateway, until
from tests.peers.scripted import ScriptedUpstream

pytestmark = pytest.mark.slow
MAIJA, GONE, FULL = "maija@example.com", "gone@asiakas.example", "full@asiakas.example"


def gateway_in(folder, upstream, **inbound) -> RunningGateway:
    return RunningGateway(
        folder,
        upstream=upstream,
        clients=CLIENTS,
        unsubscribe={"address": UNSUBSCRIBE},
        inbound={"listen": ["127.0.0.1:0"], "bounces": [BOUNCES], **inbound},
    )


@pytest.fixture
async def gateway(tmp_path):
    """A gateway whose upstream takes everything."""
    async with ScriptedUpstream() as upstream, gateway_in(tmp_path, upstream) as one:
        yield one


def token(gateway, address: str) -> str:
    links = Links.load_or_create(gateway.settings.unsubscribe.key_file)
    return links.seal(Link(parse_contact(address), Purpose.REFUSE, None, now_ms()))


async def sent(gateway, address: str, source: str = OURS, sender: str = BOUNCES) -> str:
    """What becomes of marketing, or from ``BILLING`` of an invoice."""
    async with Caller(gateway.smtp, source) as client:
        await client.begin(address, sender=f"<{sender}>")
        return await client.data(INVOICE if source == BILLING else MAILING)


async def brought(gateway, recipient: str, message: bytes) -> str:
    async with Caller(gateway.inbound, OURS) as client:
        await client.begin(recipient, sender="<>")
        return await client.data(message)


async def kept_bringing(gateway, recipient: str, message: bytes, within: float = 30) -> None:
    """As a mail server does: what is answered 4xx is brought again."""
    end = time.monotonic() + within
    while not (reply := await brought(gateway, recipient, message)).startswith("250"):
        assert reply[0] == "4", reply
        assert time.monotonic() < end, reply
        await asyncio.sleep(0.2)


@pytest.fixture
async def chain(tmp_path):
    """The gateway, its Postfix, and the server of the recipients, which knows two names."""
    if os.getuid() != 0:
        pytest.skip("postfix(1) has to be started by root")
    inbound, relay = free_port(), free_port()
    async with ScriptedUpstream() as world:
        world.refuse_rcpt(r"gone", "550 5.1.1 User unknown")
        world.refuse_rcpt(r"full", "552 5.2.2 Mailbox full")
        routes = {BOUNCES.partition("@")[2]: inbound, "*": world.port}
        async with (
            Mta(relay, routes) as mta,
            gateway_in(tmp_path, relay, listen=[f"127.0.0.1:{inbound}"]) as gateway,
        ):
            await gateway.allow(GONE, FULL, MAIJA)
            yield gateway, mta, world


async def test_a_real_bounce_stops_the_next_marketing(chain):
    gateway, mta, _ = chain
    for address in (GONE, FULL, MAIJA):
        assert "1 forwarded" in await sent(gateway, address)
    await mta.logged("status=bounced", 2)
    await mta.emptied()
    assert "1 suppressed" in await sent(gateway, GONE)
    assert "1 forwarded" in await sent(gateway, FULL)
    assert "1 forwarded" in await sent(gateway, MAIJA)
    # An invoice still goes out: no ban stands against it.
    assert "1 forwarded" in await sent(gateway, GONE, BILLING)
    await mta.logged(f"to=<{BOUNCES}>", 2)
    assert gateway.said("report_taken")["form"] == "notification"
    assert GONE not in gateway.text


async def test_a_stranger_reaches_the_listener_through_postfix_for_one_thing(chain):
    """As docs/inbound.md sets Postfix up."""
    gateway, mta, _ = chain
    async with Caller(mta.port, STRANGER) as client:
        await client.say("MAIL FROM:<maija@other.example>")
        for address in (BOUNCES, BOUNCES.replace("@", "+x@")):
            assert "Access denied" in await client.say(f"RCPT TO:<{address}>")
        assert (await client.say("RCPT TO:<x@mail.lamisnet.fi>")).startswith("550 5.1.1")
        assert (await client.say("RCPT TO:<x@elsewhere.example>")).startswith("554 5.7.1")
        assert (await client.say(f"RCPT TO:<{UNSUBSCRIBE}>")).startswith("250")
        assert (await client.data(mail(token(gateway, MAIJA)))).startswith("250")
    await mta.logged("it is in force")
    assert "1 suppressed" in await sent(gateway, MAIJA)


async def test_a_strangers_mail_that_bounces_at_our_postfix_suppresses_nobody(chain):
    """As docs/inbound.md sets Postfix up: nobody outside makes it write to the bounces' address."""
    gateway, mta, _ = chain
    refused = f"{UNSUBSCRIBE.partition('@')[0]}+{'x' * 240}@{UNSUBSCRIBE.partition('@')[2]}"
    async with Caller(mta.port, STRANGER) as client:
        await client.say(f"MAIL FROM:<{BOUNCES}>")
        reply = await client.say(f"RCPT TO:<{refused}> ORCPT=rfc822;{MAIJA}")
        assert reply.startswith("554 5.7.1"), reply
        assert "Sender address rejected" in reply
    # One of our own network's clients can; still it is not believed of whom it names.
    async with Caller(mta.port, OURS) as client:
        await client.say(f"MAIL FROM:<{BOUNCES}>")
        assert (await client.say(f"RCPT TO:<{refused}> ORCPT=rfc822;{MAIJA}")).startswith("250")
        assert (await client.data(mail("x"))).startswith("250")
    await mta.logged("status=bounced")
    await mta.emptied()
    await gateway.line("report_taken", within=30)
    assert "1 forwarded" in await sent(gateway, MAIJA)


async def test_a_bounce_outlasts_the_register_and_the_gateway(chain):
    gateway, mta, _ = chain
    register = gateway.register_pid
    assert "1 forwarded" in await sent(gateway, GONE)
    os.kill(register, signal.SIGSTOP)
    try:
        await mta.logged("451 4.3.0 The suppression register cannot be reached", within=40)
    finally:
        os.kill(register, signal.SIGCONT)
    gateway.signal(signal.SIGKILL)
    gateway.clean_up()
    await gateway.start()
    await mta.flush()
    await mta.emptied(60)
    assert "1 suppressed" in await sent(gateway, GONE)


async def test_what_was_answered_250_survives_a_kill(gateway):
    await gateway.allow(MAIJA)
    assert (await brought(gateway, UNSUBSCRIBE, mail(token(gateway, MAIJA)))).startswith("250 ")
    gateway.signal(signal.SIGKILL)
    gateway.clean_up()
    await gateway.start()
    end = time.monotonic() + 60
    while (reply := await sent(gateway, MAIJA)).startswith("4"):
        assert time.monotonic() < end
        await asyncio.sleep(0.2)
    assert "1 suppressed" in reply


async def test_killed_again_and_again_each_ends_as_if_once(gateway):
    """Whoever hears no 250 brings it again: then all are in force."""
    names = [f"reader{number}@example.com" for number in range(30)]
    await gateway.allow(*names)
    messages = [mail(token(gateway, name)) for name in names]

    async def bring(message):
        end = time.monotonic() + 60
        while True:
            try:
                if (await brought(gateway, UNSUBSCRIBE, message)).startswith("250"):
                    return
            except (ConnectionError, OSError, AssertionError):
                pass
            assert time.monotonic() < end
            await asyncio.sleep(0.2)

    bringing = [asyncio.create_task(bring(message)) for message in messages]
    for _ in range(2):
        await asyncio.sleep(0.2)
        [front] = [pid for pid, line in gateway.processes().items() if '"front": true' in line]
        os.kill(front, signal.SIGKILL)
        await until(
            lambda gone=front: any(
                '"front": true' in line and pid != gone for pid, line in gateway.processes().items()
            ),
            30,
        )
    await asyncio.gather(*bringing)
    for name in names:
        assert "1 suppressed" in await sent(gateway, name)


async def test_two_hundred_at_once(gateway):
    gateway.configure(inbound={**gateway.how["inbound"], "max_connections": 400})
    gateway.signal(signal.SIGHUP)
    await gateway.line("public_reloaded")
    names = [f"reader{number}@example.com" for number in range(200)]
    messages = [mail(token(gateway, name)) for name in names]
    began = time.monotonic()
    await asyncio.gather(*(kept_bringing(gateway, UNSUBSCRIBE, one) for one in messages))
    assert time.monotonic() - began < 120
    found = await gateway.found(count=200, within=30)
    assert len(found) == 200
    async with gateway.register() as tongue:
        for name in names:
            assert (await tongue._register.show(parse_contact(name))).bans


async def test_not_spam_and_a_strangers_bounce_suppress_nobody(gateway):
    await gateway.allow(MAIJA)
    bounce = HARD.replace(b"matti@asiakas.example", MAIJA.encode())
    assert await brought(gateway, BOUNCES, feedback("not-spam", f"Original-Rcpt-To: {MAIJA}"))
    gateway.configure(inbound={**gateway.how["inbound"], "networks": ["192.0.2.0/24"]})
    gateway.signal(signal.SIGHUP)
    await gateway.line("public_reloaded")
    async with Caller(gateway.inbound, OURS) as client:
        assert (await client.begin(BOUNCES)) == ["550 5.1.1 No such mailbox here"]
        assert (await client.data(bounce)).startswith("554")
    assert "1 forwarded" in await sent(gateway, MAIJA)


async def test_swaks_and_smtplib_unsubscribe(gateway):
    swaks = [tool("swaks"), "--server", "127.0.0.1", "--port", str(gateway.inbound)]
    done = await run(
        *swaks,
        *("--from", "maija@other.example", "--to", UNSUBSCRIBE, "--pipeline"),
        *("--header", f"Subject: Re: {token(gateway, MAIJA)}", "--timeout", "10"),
    )
    assert done.status == 0, done.out
    assert "it is in force" in done.out
    done = await run(*swaks, "--from", "x@other.example", "--to", MAIJA, "--timeout", "10")
    assert done.status == 24, done.out

    def with_smtplib() -> None:
        message = EmailMessage()
        message["From"], message["To"] = "liisa@other.example", UNSUBSCRIBE
        message["Subject"] = token(gateway, "liisa@example.com")
        message.set_content("Kiitos, ei enää.")
        with smtplib.SMTP("127.0.0.1", gateway.inbound, timeout=10) as client:
            assert client.send_message(message) == {}

    await asyncio.to_thread(with_smtplib)
    async with gateway.register() as tongue:
        for address in (MAIJA, "liisa@example.com"):
            assert (await tongue._register.show(parse_contact(address))).bans
    await until(lambda: gateway.text.count('"unsubscribed"') == 2, 40)


async def test_what_came_in_is_counted(gateway):
    await brought(gateway, UNSUBSCRIBE, mail(token(gateway, MAIJA)))
    await brought(gateway, UNSUBSCRIBE, mail("stop"))
    await brought(gateway, BOUNCES, HARD)
    await brought(gateway, BOUNCES, feedback("abuse"))
    wanted = {
        'gateway_inbound_total{what="unsubscribe"} 1.0',
        'gateway_inbound_total{what="unsubscribe_without_link"} 1.0',
        'gateway_inbound_total{what="hard_bounce"} 1.0',
        'gateway_inbound_total{what="feedback_abuse"} 1.0',
    }
    end = time.monotonic() + 60
    while not wanted <= set((await gateway.get("/metrics"))[1].splitlines()):
        assert time.monotonic() < end
        await asyncio.sleep(0.2)


async def test_the_link_that_the_gateway_added_leads_back(tmp_path):
    """By mail, and by a complaint that leaves the recipient out."""
    plain = b"From: LamisNET <uutiset@lamisnet.fi>\r\nSubject: Uutiset\r\n\r\nHei!\r\n"
    async with ScriptedUpstream() as upstream:
        gateway = gateway_in(tmp_path, upstream)
        gateway.configure(
            public={"listen": ["127.0.0.1:0"], "url": "https://preferences.example"},
            unsubscribe={"address": UNSUBSCRIBE, "add": True},
        )
        async with gateway:
            await gateway.allow(MAIJA, GONE)
            for address in (MAIJA, GONE):
                assert "1 forwarded" in await gateway.send(address, message=plain)
            to_maija, to_gone = (one.content for one in upstream.messages)
            field = message_from_bytes(to_maija)["List-Unsubscribe"]
            recipient, subject = re.search(r"<mailto:([^?>]+)\?subject=([^>]+)>", field).groups()
            assert recipient == UNSUBSCRIBE
            assert (await brought(gateway, recipient, mail(f"Re: {subject}"))).startswith("250 ")
            before, _, _ = feedback("abuse").partition(b"Received: from tool")
            complaint = before + to_gone + b"\r\n--part1_13d.2e68ed54_boundary--\r\n"
            assert GONE.encode() not in complaint
            assert (await brought(gateway, BOUNCES, complaint)).startswith("250 ")
            for address in (MAIJA, GONE):
                assert "1 suppressed" in await gateway.send(address, message=plain)


async def test_it_drains_when_it_is_told_to_end(gateway):
    async with Caller(gateway.inbound, OURS) as client:
        await client.begin(UNSUBSCRIBE)
        assert (await client.say("DATA")).startswith("354")
        gateway.signal(signal.SIGTERM)
        await gateway.line("stopping")
        assert (await client.body(mail(token(gateway, MAIJA)))).startswith("250 ")
    assert await gateway.ended() == 0
