"""Servers that die or hand over their slots under traffic: no acknowledged ban is overlooked.

Many ask and one bans, all the time.  Whoever's ban was acknowledged before he was asked
about is never let through; what cannot be asked is deferred.
"""

import asyncio
import gc
import random

import pytest

from gateway.contacts.parse import parse_email
from gateway.decision.facts import Kind, Outcome
from gateway.decision.load import find_rules, load_rules
from gateway.entry.event import Event, EventKind
from gateway.failure import RegisterUnavailable
from gateway.gate import Gate
from gateway.message.traits import Traits
from gateway.register.importing import import_file
from gateway.register.register import Register
from tests.peers.topology import PROGRAM, Servers, command, until

pytestmark = [
    pytest.mark.skipif(PROGRAM is None, reason="redis-server is needed"),
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # redis-py leaves the sockets of a server that has gone to the collector.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

RULES = load_rules(find_rules("opt-out"))
MARKETING = Traits(Kind.MARKETING, topic="newsletter", opt_out="list")


@pytest.fixture(autouse=True)
def collected():
    """What is left to the collector is collected here, and not in another test."""
    yield
    gc.collect()


class Traffic:
    """Bans and questions, on and on, until the ``with`` ends."""

    def __init__(self, register):
        self.register = register
        self.gate = Gate(register)
        self.banned = []
        self.unknown = 0
        self.asked = self.deferred = 0
        self._over = False
        self._tasks = []

    async def __aenter__(self):
        self._tasks = [asyncio.create_task(self._ban())]
        self._tasks += [asyncio.create_task(self._ask()) for _ in range(4)]
        await self.goes_on()
        return self

    async def __aexit__(self, kind, *exc):
        # They end by themselves: a client of a Cluster may lose a cancellation.
        self._over = True
        async with asyncio.timeout(60):
            await asyncio.gather(*self._tasks)

    async def _ban(self):
        number = 0
        while not self._over:
            number += 1
            contact = parse_email(f"person{number}@example.com")
            try:
                event = Event(kind=EventKind.BAN, at=number, actor="test")
                await self.register.apply(event, contact)
            except RegisterUnavailable:
                self.unknown += 1
                await asyncio.sleep(0.05)
            else:
                self.banned.append(contact)
            await asyncio.sleep(0.002)

    async def _ask(self):
        while not self._over:
            known = random.sample(self.banned, min(20, len(self.banned)))
            strangers = [parse_email(f"stranger{random.random()}@example.com") for _ in range(5)]
            verdicts = await self.gate.judge(MARKETING, [*known, *strangers], RULES)
            outcomes = [verdict.outcome for verdict in verdicts]
            if Outcome.DEFER in outcomes:
                assert set(outcomes) == {Outcome.DEFER}
                self.deferred += 1
                await asyncio.sleep(0.05)
            else:
                assert outcomes == [Outcome.SUPPRESS] * len(known) + [Outcome.FORWARD] * 5
                self.asked += 1
            await asyncio.sleep(0.002)

    async def goes_on(self, more=50):
        """Wait until so many more were banned and asked about."""
        banned, asked = len(self.banned) + more, self.asked + more

        async def enough():
            for task in self._tasks:
                if task.done():
                    task.result()
            return len(self.banned) >= banned and self.asked >= asked

        await until(enough)

    async def check(self):
        """Whoever was banned is banned, and whatever was banned is in the log, once."""
        for start in range(0, len(self.banned), 500):
            part = self.banned[start : start + 500]
            for contact, standing in zip(part, await self.register.look_up(part), strict=True):
                assert standing.exact.bans, contact
        for contact in random.sample(self.banned, 20):
            logged = {event.id for event in await self.register.history(contact)}
            assert len(logged) == 1


async def imported(register, path, count=20_000):
    """Import a list, twice: replicas have it, and the second time it changes nothing."""
    path.write_text("email,ban\n" + "".join(f"p{n}@example.com,all\n" for n in range(count)))
    first = await import_file(path, register, actor="test")
    again = await import_file(path, register, actor="test")
    assert (first.changed, again.changed, again.unchanged) == (count, 0, count)
    people = [parse_email(f"p{n}@example.com") for n in range(0, count, 101)]
    assert all(standing.exact.bans for standing in await register.look_up(people))


async def test_a_cluster_whose_master_dies_and_whose_slots_move(ring, tmp_path):
    with Servers() as servers:
        ports = await servers.cluster(masters=3, replicas=1)
        url = "cluster://" + ",".join(f"127.0.0.1:{port}" for port in ports)
        async with await Register.open(url, ring, timeout=2) as register:
            await imported(register, tmp_path / "list.csv")
            async with Traffic(register) as traffic:
                masters = [port for port in ports if await servers.is_master(port)]
                assert len(masters) == 3
                servers.kill(masters[0])

                async def followed():
                    now = [p for p in ports if p != masters[0] and await servers.is_master(p)]
                    return len(now) == 3

                await until(followed)
                await traffic.goes_on()
                assert traffic.deferred
                await servers.start_again(masters[0])
                await until(lambda: servers.linked(masters[0]))
                assert not await servers.is_master(masters[0])
                await traffic.goes_on()

                # Slots move while their contacts are asked about and banned.
                names = [(await command(port, "CLUSTER", "MYID")).strip() for port in masters[1:]]
                moved = await command(
                    masters[1],
                    *("--cluster", "reshard", f"127.0.0.1:{masters[1]}"),
                    *("--cluster-from", names[0], "--cluster-to", names[1]),
                    *("--cluster-slots", 2000, "--cluster-yes"),
                )
                assert "Moving slot" in moved
                await traffic.goes_on()
            await traffic.check()


async def test_a_master_that_dies_behind_sentinel(ring):
    with Servers() as servers:
        master, replica, watching = await servers.sentinel(3)
        url = "sentinel://" + ",".join(f"127.0.0.1:{port}" for port in watching) + "/sg"
        async with await Register.open(url, ring, timeout=2) as register:
            async with Traffic(register) as traffic:
                servers.kill(master)
                await until(lambda: servers.is_master(replica))
                await traffic.goes_on()
                assert traffic.deferred
                # It comes back as what it no longer is, and is made a replica.
                await servers.start_again(master)

                async def follows():
                    return not await servers.is_master(master) and await servers.linked(master)

                await until(follows)
                await traffic.goes_on()
            await traffic.check()


async def test_a_change_that_no_replica_confirms_is_not_acknowledged(ring):
    """A replica that has stopped reading: the ban is in effect, and nobody says it lasts."""
    with Servers() as servers:
        _, replica, watching = await servers.sentinel(1)
        async with await Register.open(
            f"sentinel://127.0.0.1:{watching[0]}/sg", ring, write_timeout=2
        ) as register:
            contact = parse_email("anna@example.com")
            event = Event(kind=EventKind.BAN, at=1, actor="test")
            await register.apply(event, parse_email("bo@example.com"))
            servers.stop(replica)
            with pytest.raises(RegisterUnavailable, match=r"no replica|did not answer"):
                await register.apply(event, contact)
            (standing,) = await register.look_up([contact])
            assert standing.exact.bans
            servers.go_on(replica)
            await until(lambda: servers.linked(replica))
            await register.apply(event, contact)
