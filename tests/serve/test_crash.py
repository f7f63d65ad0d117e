"""kill -9 and frozen processes: nothing acknowledged is lost, nothing leaks, all heals."""

import asyncio
import json
import os
import signal

import pytest

from tests.peers.house import INVOICE, client_table
from tests.peers.process import until
from tests.peers.scripted import Stage

pytestmark = pytest.mark.slow

YES, NO = "yes@example.com", "no@example.com"


async def test_a_killed_supervisor_takes_all_with_it_and_nothing_is_lost(gateway, upstream):
    await gateway.allow(YES, NO)
    async with gateway.client() as client:
        assert (await client.mail(YES)).endswith("1 forwarded")
        # Acknowledged, then killed at once: before the archiver comes round.
        await gateway.ban(NO)
        assert (await client.mail(YES, NO)).endswith("1 forwarded, 1 suppressed")
        gateway.signal(signal.SIGKILL)
        # A worker whose supervisor is gone drains like one that is told to.
        assert (await client.reply()).startswith("421 4.3.2 ")
    await until(lambda: not gateway.processes(), 30, "workers or register outlive it")

    await gateway.start()
    async with gateway.client() as client:
        assert (await client.mail(NO, YES)).endswith("1 forwarded, 1 suppressed")
    # The archiver's lease of the killed one has to run out first.  The outcome of the
    # message before the kill may have been lost with the register, never the record.
    for _ in range(300):
        found = await gateway.found(YES)
        if len(found) == 3 and found[2].result is not None:
            break
        await asyncio.sleep(0.1)
    results = [one.result.value if one.result else None for one in found]
    assert (results[0], results[2]) == ("forwarded", "forwarded")
    assert results[1] in ("forwarded", None)
    assert [one.outcome.value for one in await gateway.found(NO)] == ["suppress"] * 2
    assert [message.recipients for message in upstream.messages] == [[YES]] * 3
    done = gateway.command("register", "history", NO, "--json")
    assert [row["kind"] for row in done.rows] == ["describe", "consent", "ban"]


async def test_a_restart_need_not_wait_for_what_a_killed_one_left(gateway):
    """As a service manager does it: killed, and started anew at once."""
    for _ in range(2):
        gateway.signal(signal.SIGKILL)
        await gateway.ended()
        await gateway.start()
    assert len(gateway.processes()) == 3


async def test_a_killed_register_is_4xx_meanwhile_and_comes_back(gateway, upstream):
    await gateway.allow(YES, NO)
    await gateway.ban(NO)
    async with gateway.client() as client:
        assert (await client.mail(YES)).endswith("1 forwarded")
        (begun,) = await client.begin(YES)
        assert begun.startswith("250")
        os.kill(gateway.register_pid, signal.SIGKILL)
        # Judged at RCPT and allowed; at the final dot nobody can say so any more.
        reply = await client.data()
        assert reply.startswith("451 4.3.0 "), reply
        assert len(upstream.messages) == 1
    await gateway.line("register_restarted")
    await gateway.keep_sending(YES)
    async with gateway.client() as client:
        assert (await client.mail(NO)).endswith("1 suppressed")
    assert all(message.recipients == [YES] for message in upstream.messages)


async def test_a_frozen_register_is_4xx_within_seconds(build, upstream):
    clients = [
        client_table(),
        client_table(name="bills", networks=["127.0.0.2/32"], kind="transactional"),
    ]
    async with build(clients=clients) as gateway:
        await gateway.allow(YES)
        async with gateway.client() as client, gateway.client() as other:
            register = gateway.register_pid
            os.kill(register, signal.SIGSTOP)
            try:
                loop = asyncio.get_running_loop()
                start = loop.time()
                (reply,) = await client.begin(YES)
                assert reply.startswith("451 4.3.0 "), reply
                assert loop.time() - start < 15
                assert (await client.say("DATA")).startswith("554")
                # A contract message is not asked about at RCPT; it waits all the same.
                reader, writer = await asyncio.open_connection(
                    "127.0.0.1", gateway.smtp, local_addr=("127.0.0.2", 0)
                )
                writer.write(
                    b"EHLO x\r\nMAIL FROM:<a@lamisnet.fi>\r\nRCPT TO:<%b>\r\nDATA\r\n"
                    % YES.encode()
                    + INVOICE
                    + b".\r\nQUIT\r\n"
                )
                async with asyncio.timeout(40):
                    answers = (await reader.read()).decode()
                writer.close()
                await writer.wait_closed()
                assert "\r\n451 4.3.0 " in answers, answers
                assert upstream.messages == []
                # Nobody waits behind it: what needs no register is answered at once.
                start = loop.time()
                assert (await other.say("NOOP")).startswith("250")
                assert loop.time() - start < 1
            finally:
                os.kill(register, signal.SIGCONT)
        await gateway.keep_sending(YES)


async def test_an_upstream_that_is_down_at_the_start_is_451_until_it_is_up(build, upstream):
    await upstream.aclose()
    async with build() as gateway:
        await gateway.allow(YES)
        await gateway.ban(NO)
        async with gateway.client() as client:
            (reply,) = await client.begin(YES)
            assert reply.startswith("451 4.4.1 "), reply
            # Whom nothing is sent to, the upstream's state is nothing to.
            assert (await client.mail(NO)).endswith("1 suppressed")
        await upstream.start()
        await gateway.keep_sending(YES)
        assert len(upstream.messages) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_a_worker_that_ends_in_a_hand_over_leaves_an_honest_record(build, upstream, number):
    """Killed with the final dot sent: nobody knows, and the record does not pretend to."""
    async with build(records={"unknown_after_minutes": 1}) as gateway:
        await gateway.allow(YES)
        gate = asyncio.Event()
        upstream.on(Stage.END, gate=gate)
        async with gateway.client() as client:
            await client.begin(YES)
            await client.say("DATA")
            client.writer.write(
                b"From: a@lamisnet.fi\r\nList-Unsubscribe: <https://x>\r\n\r\n.\r\n"
            )
            await until(lambda: upstream.refused_messages)
            os.kill(gateway.workers[0], number)
            if number == signal.SIGTERM:
                gate.set()
                assert (await client.reply()).endswith("1 forwarded")
            else:
                with pytest.raises(ConnectionError):
                    await client.reply()
        gate.set()
        await gateway.line("worker_started", count=2)
        if number == signal.SIGTERM:
            assert await gateway.results(YES) == ["forwarded"]
        else:
            (found,) = await gateway.found(YES)
            assert found.result is None


@pytest.mark.parametrize("stage", [Stage.CONNECT, Stage.EHLO])
async def test_an_upstream_that_falls_silent_keeps_nobody_from_starting(build, upstream, stage):
    upstream.on(stage, silent=True)
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with build(drain_timeout=1) as gateway:
        assert loop.time() - start < 50
        await gateway.ban(NO)
        assert (await gateway.send(NO)).endswith("1 suppressed")
        start = loop.time()
        status, body = await gateway.get("/readyz")
        assert status == 503
        assert json.loads(body)["checks"]["upstreams"] != "ok"
        assert loop.time() - start < 25
