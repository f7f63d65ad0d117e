"""Mail while a master of the register dies, in a Cluster and behind Sentinel."""

import asyncio

import pytest

from tests.peers.topology import Servers, until

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(240)]


async def test_a_master_of_the_cluster_dies(build):
    with Servers() as servers:
        ports = await servers.cluster(masters=3, replicas=1)
        url = "cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        masters = [port for port in ports if await servers.is_master(port)]
        async with build(seed=31, register={"url": url, "bucket_bits": 8}) as place:

            async def die():
                await asyncio.sleep(1)
                servers.kill(masters[0])

                async def followed():
                    now = [p for p in ports if p != masters[0] and await servers.is_master(p)]
                    return len(now) == 3

                await until(followed)
                await servers.start_again(masters[0])
                await until(lambda: servers.linked(masters[0]))

            sender = await place.send(300, die(), over=8)
            assert sender.failures, "nobody had to wait"
            await place.end(crashed=True)


async def test_the_master_dies_behind_sentinel(build):
    with Servers() as servers:
        master, replica, watching = await servers.sentinel(3)
        url = "sentinel://" + ",".join(f"127.0.0.1:{port}" for port in watching) + "/sg"
        async with build(seed=32, register={"url": url, "bucket_bits": 8}) as place:

            async def die():
                await asyncio.sleep(1)
                servers.kill(master)
                await until(lambda: servers.is_master(replica))

            sender = await place.send(300, die(), over=8)
            assert sender.failures, "nobody had to wait"
            await place.end(crashed=True)
