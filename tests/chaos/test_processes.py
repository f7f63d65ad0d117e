"""kill -9 under load: of everything, of one worker, of the register."""

import asyncio
import os
import random
import signal

import pytest

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


async def test_the_gateway_is_killed_at_random_and_started_again(build):
    dice = random.Random(11)
    async with build(seed=11) as place:

        async def kill():
            for turn in range(5):
                await asyncio.sleep(dice.uniform(0.4, 1.5))
                if turn % 2:
                    # All at one blow; otherwise the kernel ends the others with SIGTERM.
                    for pid in place.gateway.processes():
                        os.kill(pid, signal.SIGKILL)
                else:
                    place.gateway.signal(signal.SIGKILL)
                await place.gateway.ended()
                await place.gateway.start()

        await place.send(500, kill(), over=9, within=80)
        findings = await place.end(crashed=True)
        assert findings.counts["attempts"] > 500


async def test_one_worker_of_three_is_killed_again_and_again(build):
    dice = random.Random(12)
    async with build(workers=3, seed=12) as place:

        async def kill():
            for _ in range(8):
                await asyncio.sleep(dice.uniform(0.2, 0.8))
                if workers := place.gateway.workers:
                    os.kill(dice.choice(workers), signal.SIGKILL)

        await place.send(400, kill(), over=6)
        await place.end(crashed=True)


async def test_the_register_is_killed_again_and_again(build):
    dice = random.Random(13)
    async with build(seed=13) as place:

        async def kill():
            for turn in range(1, 5):
                await asyncio.sleep(dice.uniform(0.3, 1.2))
                os.kill(place.gateway.register_pid, signal.SIGKILL)
                await place.gateway.line("register_restarted", count=turn)

        await place.send(300, kill(), over=5)
        await place.end(crashed=True)
        assert len(place.gateway.processes()) == 0


async def test_the_register_stands_still_again_and_again(build):
    dice = random.Random(14)
    async with build(seed=14) as place:

        async def freeze():
            register = place.gateway.register_pid
            for _ in range(4):
                await asyncio.sleep(dice.uniform(0.3, 1.0))
                os.kill(register, signal.SIGSTOP)
                try:
                    await asyncio.sleep(dice.uniform(0.2, 3.5))
                finally:
                    os.kill(register, signal.SIGCONT)

        await place.send(300, freeze(), over=7)
        await place.end(crashed=True)
