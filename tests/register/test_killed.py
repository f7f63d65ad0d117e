"""An import that is killed half-way and started again ends as if it had been run once."""

import asyncio
import re
import subprocess
import sys

import pytest

from gateway.contacts.digest import subject_of
from gateway.contacts.email import parse_email
from gateway.entry.codec import encode
from gateway.entry.entry import Ban, Entry, Scope
from gateway.register.importing import import_file
from gateway.register.layout import event_streams
from gateway.register.register import Register
from tests.peers.process import environment

NOW = 1_795_379_602_872
EVERY_BAD = 1000

CHILD = """
import asyncio, sys
from pathlib import Path
from gateway.contacts.digest import KeyRing
from gateway.register.importing import import_file
from gateway.register.register import Register

async def run(url, path):
    ring = KeyRing({"k1": bytes(range(32))}, "k1")
    async with await Register.open(url, ring, seal=str.encode) as register:
        await import_file(
            Path(path), register, actor="test", skip_bad=True, clock=lambda: %d,
            progress=lambda octets: print(octets, flush=True),
        )

asyncio.run(run(*sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "count", [200_000, pytest.param(1_000_000, marks=[pytest.mark.slow, pytest.mark.timeout(600)])]
)
async def test_killed_half_way_and_started_again(register_url, ring, tmp_path, count):
    path = tmp_path / "list.csv"
    bad = {*range(0, count, EVERY_BAD)}
    with path.open("w") as file:
        file.write("email,ban\n")
        for number in range(count):
            file.write("nobody,all\n" if number in bad else f"p{number}@example.com,all\n")
    size = path.stat().st_size
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD % NOW, register_url, path],
        stdout=subprocess.PIPE,
        env=environment(),
    )
    for line in child.stdout:
        if int(line) > size * 3 // 2:
            child.kill()
            break
    assert child.wait() == -9
    child.stdout.close()

    good = count - len(bad)
    async with await Register.open(register_url, ring, seal=str.encode) as register:
        redis = register.connections.stream

        async def logged():
            return sum([await redis.xlen(stream) for stream in event_streams()])

        half = -1
        while half != (half := await logged()):  # the server may still read what was sent
            await asyncio.sleep(0.3)
        assert 0 < half < good
        result = await import_file(
            path, register, actor="test", skip_bad=True, clock=lambda: NOW + 60_000
        )
        assert (result.bad_count, result.rows) == (len(bad), good)
        assert result.changed + result.unchanged == good
        assert result.bad[1].line == EVERY_BAD + 2
        assert result.unchanged == half
        assert await logged() == good

        # Each contact has one ban, of the run that wrote it, and one event.
        times = {encode(Entry((Ban(Scope.ALL, at),))): 0 for at in (NOW, NOW + 60_000)}
        pipeline = redis.pipeline()
        async for key in redis.scan_iter(b"sg:{s*}:k1:*", count=5000):
            pipeline.hgetall(key)
        fields = 0
        for bucket in await pipeline.execute():
            fields += len(bucket) - 1
            for field, value in bucket.items():
                if field != b"@":
                    times[value] += 1
        assert fields == good
        assert list(times.values()) == [half, good - half]
        subjects = set()
        for stream in event_streams():
            for _, members in await redis.xrange(stream):
                subjects.add(re.search(rb'"subject":"k1:([0-9a-f]{32})"', members[b"e"])[1])
        assert len(subjects) == good
        for number in (1, count // 2 + 1, count - 1):
            digest = ring.digest(subject_of(parse_email(f"p{number}@example.com")))
            assert digest.value.hex().encode() in subjects
