"""A Cluster whose server is emptied, and a fail-over to what lagged: refused, and made anew."""

import asyncio
import contextlib

import pytest

from gateway.clock import now_ms
from gateway.contacts.parse import parse_email
from gateway.entry.event import Event, EventKind
from gateway.failure import RegisterUnavailable
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.database import Database
from gateway.records.events import EventArchive
from gateway.records.seal import Sealer
from gateway.register import layout
from gateway.register.register import Register
from gateway.register.whole import NotWhole
from gateway.serve.rebuilding import rebuild
from tests.peers.topology import PROGRAM, Servers, command, until

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="redis-server is needed"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
]


@contextlib.asynccontextmanager
async def site(url, ring, folder):
    """A guarded register, its archive's events, and what archives."""
    async with await Register.open(url, ring, guarded=True, timeout=5, bits=6) as register:
        database = await Database.open(folder / "archive.sqlite")
        try:
            archive = Archive(database, Sealer.load_or_create(folder / "content.json"))
            archiver = Archiver(register.connections.wire, archive, events=layout.event_streams())
            yield register, EventArchive(database), archiver
        finally:
            await database.aclose()


async def ban(register, *contacts):
    event = Event(kind=EventKind.BAN, at=now_ms(), actor="test")
    await register.apply_many([(event, contact) for contact in contacts])


async def all_banned(register, contacts):
    for standing in await register.look_up(contacts):
        assert standing.exact.bans


async def test_a_cluster_of_which_one_server_is_emptied(ring, tmp_path):
    people = [parse_email(f"p{number}@example.com") for number in range(100)]
    with Servers() as servers:
        ports = await servers.cluster(3, 0)
        url = f"cluster://127.0.0.1:{ports[0]}"
        async with site(url, ring, tmp_path) as (register, events, archiver):
            with pytest.raises(NotWhole):
                await register.look_up(people)
            assert (await register.current.examine(await events.cursors())).whole
            await ban(register, *people)
            await archiver.run_once()
            await all_banned(register, people)
            await command(ports[1], "FLUSHALL")
            # Whoever lies there is refused, together with whom he is asked about.
            with pytest.raises(RegisterUnavailable):
                await register.look_up(people)
            assert (await register.current.examine(await events.cursors())).behind
            done = await rebuild(register, events, ring.key_ids)
            assert done.contacts == len(people)
            await all_banned(register, people)
            done = await rebuild(register, events, ring.key_ids, bits=9)
            assert (done.bits, done.contacts) == (9, len(people))
            await all_banned(register, people)
            await ban(register, parse_email("new@example.com"))
            await archiver.run_once()
            assert (await register.current.examine(await events.cursors())).whole
            # One that was restarted is refused until it has been compared.
            servers.kill(ports[2])
            await servers.start_again(ports[2])

            async def refused():
                try:
                    await register.look_up(people)
                except NotWhole:
                    return True
                except RegisterUnavailable:
                    return False
                raise AssertionError("answered without having been compared")

            await until(refused)

            async def whole():
                with contextlib.suppress(RegisterUnavailable):
                    return (await register.current.examine(await events.cursors())).whole
                return False

            await until(whole)
            await all_banned(register, people)


async def test_a_fail_over_to_a_replica_that_lagged(ring, tmp_path):
    people = [parse_email(f"p{number}@example.com") for number in range(40)]
    with Servers() as servers:
        master, replica, watching = await servers.sentinel(1)
        url = f"sentinel://127.0.0.1:{watching[0]}/sg"
        async with site(url, ring, tmp_path) as (register, events, archiver):
            await register.current.examine(await events.cursors())
            await ban(register, *people[:20])
            await archiver.run_once()
            await all_banned(register, people[:20])
            # Cut off, so that it has none of what comes now; not waited for either.
            await command(replica, "REPLICAOF", "NO", "ONE")

            async def alone():
                return "connected_slaves:0" in await command(master, "INFO", "replication")

            await until(alone)
            await ban(register, *people[20:])
            await archiver.run_once()
            await all_banned(register, people)
            servers.kill(master)

            async def promoted():
                told = await command(watching[0], "SENTINEL", "get-master-addr-by-name", "sg")
                return str(replica) in told

            await until(promoted)
            refused = 0
            async with asyncio.timeout(60):
                while True:
                    try:
                        state = await register.current.examine(await events.cursors())
                        break
                    except RegisterUnavailable:
                        await asyncio.sleep(0.1)
            for _ in range(10):
                with contextlib.suppress(RegisterUnavailable):
                    await register.look_up(people)
                    raise AssertionError("a register that lost bans has answered")
                refused += 1
            assert state.behind
            assert refused == 10
            await rebuild(register, events, ring.key_ids)
            await all_banned(register, people)
