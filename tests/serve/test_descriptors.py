"""Where the system allows few open files at first, the settings' own bounds hold all the same."""

import asyncio
import contextlib
import resource

import pytest

from tests.peers.house import client_table

pytestmark = pytest.mark.slow

FEW, MANY = 256, 400


async def test_more_connections_than_files_that_a_login_allows(build):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4 * MANY:
        pytest.skip(f"only {hard} open files are allowed")
    gateway = build(workers=1, clients=[client_table(max_connections=2 * MANY)])
    resource.setrlimit(resource.RLIMIT_NOFILE, (FEW, hard))
    try:
        await gateway.start()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4 * MANY)), hard))
    try:
        await gateway.allow("yes@example.com")
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(MANY):
                reader, writer = await asyncio.open_connection("127.0.0.1", gateway.smtp)
                stack.callback(writer.close)
                async with asyncio.timeout(20):
                    assert (await reader.readline()).startswith(b"220 ")
            assert "1 forwarded" in await gateway.send("yes@example.com")
        assert await gateway.stop() == 0
    finally:
        gateway.clean_up()
