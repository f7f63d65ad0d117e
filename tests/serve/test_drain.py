"""SIGTERM: what has begun is finished and recorded, the rest is told to go."""

import asyncio
import signal

import pytest

from tests.peers.house import MAILING
from tests.peers.process import until
from tests.peers.scripted import Stage

pytestmark = pytest.mark.slow

YES, NO = "yes@example.com", "no@example.com"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_hand_over_is_finished_and_idle_clients_hear_421(gateway, upstream, number):
    await gateway.allow(YES)
    gate = asyncio.Event()
    upstream.on(Stage.END, gate=gate)
    async with gateway.client() as busy, gateway.client() as idle, gateway.client() as between:
        await between.begin(YES)
        await busy.begin(YES)
        await busy.say("DATA")
        busy.writer.write(MAILING + b".\r\n")
        await until(lambda: upstream.refused_messages)

        gateway.signal(number)
        assert (await idle.reply()).startswith("421 4.3.2 ")
        # A transaction before its DATA is one that the client has begun: it may end it.
        assert (await between.say("NOOP")).startswith("250")
        # Nobody new is let in.
        with pytest.raises((ConnectionError, AssertionError)):
            async with gateway.client():
                pass
        assert gateway.running
        gate.set()
        assert (await busy.reply()).endswith("1 forwarded")
        assert (await busy.reply()).startswith("421 4.3.2 ")
        upstream.forget_script()
        assert (await between.data()).endswith("1 forwarded")

    assert await gateway.ended() == 0
    await until(lambda: not gateway.processes(), 30, "processes left running")
    assert gateway.said("drained")["finished"] is True
    assert len(upstream.messages) == 2
    # The last pass of the archiver was after the workers' end: all is in the archive.
    assert await gateway.results(YES, 2, within=0) == ["forwarded", "forwarded"]


async def test_it_takes_no_longer_than_it_may(build, upstream):
    async with build(drain_timeout=1) as gateway:
        await gateway.allow(YES)
        gate = asyncio.Event()
        upstream.on(Stage.END, gate=gate)
        async with gateway.client() as busy, gateway.client() as begun:
            await begun.begin(YES)
            await busy.begin(YES)
            await busy.say("DATA")
            busy.writer.write(MAILING + b".\r\n")
            await until(lambda: upstream.refused_messages)
            loop = asyncio.get_running_loop()
            start = loop.time()
            assert await gateway.stop(within=60) == 0
            assert loop.time() - start < 30
            # Not 250: what became of the message nobody knows, the client keeps it.
            with pytest.raises(ConnectionError):
                await busy.reply()
            with pytest.raises(ConnectionError):
                await begun.reply()
        assert gateway.said("drained")["finished"] is False
        gate.set()

        await gateway.start()
        assert await gateway.results(YES) == ["unknown"]
