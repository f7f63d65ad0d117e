"""A register that is slow or full, and a full disk under archive and register."""

import asyncio
import random

import pytest

from tests.chaos.apart import Apart
from tests.chaos.disk import fill, small_disk
from tests.chaos.proxy import QUIET, Proxy, Trouble
from tests.chaos.store import Store

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]


async def test_the_register_is_slow_now_and_then(build):
    with Apart() as apart:
        async with Store() as store, Proxy(apart, lambda: store.port) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}"
            async with build(seed=21, register={"url": url, "bucket_bits": 8}) as place:

                async def slow():
                    for seconds in (0.02, 0.1, 0.4, 1.2, 0.05, 3):
                        proxy.trouble = Trouble(share=1, delay=(seconds / 2, seconds))
                        await proxy.renew()
                        await asyncio.sleep(1)
                    proxy.trouble = QUIET
                    await proxy.renew()

                await place.send(300, slow(), over=6)
                proxy.trouble = QUIET
                await place.end(crashed=True)


async def test_the_register_is_full_now_and_then(build):
    async with Store() as store:
        url = f"redis://127.0.0.1:{store.port}"
        async with build(seed=22, register={"url": url, "bucket_bits": 8}) as place:

            async def crowd():
                for _ in range(4):
                    await asyncio.sleep(0.6)
                    await store.say("CONFIG", "SET", "maxmemory", await store.used_memory())
                    await asyncio.sleep(0.8)
                    await store.say("CONFIG", "SET", "maxmemory", 0)

            sender = await place.send(300, crowd(), over=5)
            assert sender.failures, "it was never too full for a record"
            await place.end(crashed=True)


async def test_the_disk_of_the_archive_is_full_now_and_then(build, tmp_path):
    with small_disk(tmp_path / "disk", 24) as disk:
        records = {"archive": str(disk / "archive.sqlite"), "backlog_max": 60}
        async with build(seed=23, records=records) as place:

            async def crowd():
                for _ in range(3):
                    await asyncio.sleep(0.5)
                    filler = fill(disk)
                    await asyncio.sleep(1.5)
                    filler.unlink()

            sender = await place.send(300, crowd(), over=6)
            assert sender.failures, "it was never so full that mail had to wait"
            await place.end()


async def test_the_disk_of_the_register_is_full_now_and_then(build, tmp_path):
    dice = random.Random(24)
    with small_disk(tmp_path / "data" / "register", 24) as disk:
        async with build(seed=24) as place:

            async def crowd():
                for _ in range(3):
                    await asyncio.sleep(dice.uniform(0.4, 1))
                    filler = fill(disk)
                    await asyncio.sleep(1.2)
                    filler.unlink()

            await place.send(300, crowd(), over=5)
            await place.end(crashed=True)
