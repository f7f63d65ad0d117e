"""Postfix as the client that tries again, while gateway, register and upstream fail."""

import asyncio
import os
import random
import re
import signal
from pathlib import Path

import pytest

from tests.chaos.fault import Fault, Manner, Stage
from tests.clients.conftest import PASSWORD, USER
from tests.clients.postfix import Postfix
from tests.peers.house import client_table

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

COUNT = 150
_TAKEN = re.compile(r"to=<([^>]+)>.*status=sent \(250 2\.0\.0 Ok ([0-9A-Z]{26}): ")
_QUEUED = re.compile(r" ([0-9A-Za-z]+): from=<([^@>]+)@")


async def test_postfix_loses_nothing_while_everything_fails(build, tmp_path):
    if os.getuid() != 0:
        pytest.skip("postfix(1) has to be started by root")
    if not any(Path("/usr/lib").glob("*/sasl2/libplain.so*")):
        pytest.skip("libsasl2-modules is not installed")
    (tmp_path / "password").write_text(PASSWORD + "\n")
    login = client_table(networks=None, username=USER, password_file="password")
    dice = random.Random(71)
    async with build(seed=71, clients=[login], client_tls=True, workers=2) as place:
        authority = place.folder / "certificate.pem"
        async with Postfix(place.port, (USER, PASSWORD), authority) as postfix:

            async def fail():
                for turn in range(3):
                    await asyncio.sleep(dice.uniform(0.5, 1))
                    os.kill(dice.choice(place.gateway.workers), signal.SIGKILL)
                    place.sink.fault = Fault(Stage.STORED, list(Manner)[turn % 2], times=6)
                    await asyncio.sleep(dice.uniform(0.5, 1))
                    os.kill(place.gateway.register_pid, signal.SIGKILL)
                    await asyncio.sleep(dice.uniform(0.5, 1))
                    place.sink.fault = Fault(Stage.BODY, Manner.BUSY, times=6)
                place.sink.fault = None
                place.gateway.signal(signal.SIGKILL)
                await place.gateway.ended()
                await place.gateway.start()

            letters = place.write(COUNT)
            room = asyncio.Semaphore(4)

            async def give(letter):
                async with room:
                    await postfix.send(letter.sender, *letter.recipients, message=letter.message)

            await asyncio.gather(fail(), *map(give, letters))
            await postfix.emptied(60)
            log = postfix.log
        assert "status=bounced" not in log
        remember(letters, log)
        await place.end(crashed=True)


def remember(letters, log):
    """What Postfix was told, out of its log."""
    names = {found[1]: found[2] for found in _QUEUED.finditer(log)}
    by_name = {letter.id: letter for letter in letters}
    for line in log.splitlines():
        if found := _TAKEN.search(line):
            queue_id = line.split("]: ", 1)[1].split(":")[0]
            by_name[names[queue_id]].taken[found[1]] = found[2]
    for letter in letters:
        # Which answers it missed, its log does not say.
        letter.unclear = len(letter.recipients)
