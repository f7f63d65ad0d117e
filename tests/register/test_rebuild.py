"""The register made anew from its events, and refused for as long as it lacks some."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.digest import KeyRing, subject_of
from gateway.contacts.parse import parse_email
from gateway.entry.codec import decode, encode
from gateway.entry.entry import EMPTY, Entry, Scope
from gateway.entry.event import Attributes, Event, EventKind
from gateway.entry.projection import project
from gateway.failure import InputError, RegisterUnavailable
from gateway.records import schema, streams
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.database import Database
from gateway.records.events import EventArchive
from gateway.records.seal import Sealer
from gateway.register import layout
from gateway.register.rebuild import Rebuild
from gateway.register.rebuild_script import Disturbed
from gateway.register.register import Register
from gateway.register.replay import replayed
from gateway.register.whole import NotWhole
from gateway.serve.rebuilding import REBUILDER, Elsewhere, rebuild
from tests.peers.losing import LosingServer

RING = KeyRing({"k1": bytes(range(32))}, "k1")
PEOPLE = [parse_email(name) for name in ("a+x@example.com", "a@example.com", "b@x.org", "c@x.org")]
BITS = 6


class Site:
    """A register with its archive."""

    def __init__(self, server: LosingServer, register: Register, database: Database) -> None:
        self.server = server
        self.register = register
        self.database = database
        self.events = EventArchive(database)
        self._seal = Sealer.load_or_create(server.folder / "content.json")

    async def archive(self) -> None:
        """Archive what there is."""
        archive = Archive(self.database, self._seal)
        wire = self.register.connections.wire
        await Archiver(wire, archive, events=layout.event_streams()).run_once()

    async def examine(self):
        """Compare the two."""
        return await self.register.current.examine(await self.events.cursors())

    async def put_back(self, which: int = 0) -> None:
        """Put an older copy back, whose lease's holder is no more."""
        await self.server.put_back(which)
        async with self.server.client() as client:
            await client.delete(REBUILDER)

    async def rebuild(self, **how):
        """Rebuild as the gateway does."""
        return await rebuild(self.register, self.events, RING.key_ids, **how)

    async def truth(self) -> dict[str, Entry]:
        """What all events say that are anywhere, by subject; made without the code under test."""
        found = {}

        async def rows(connection):
            query = select(schema.event.c.stream, schema.event.c.entry, schema.event.c.body)
            return (await connection.execute(query)).all()

        for stream, number, body in await self.database.read(rows):
            found[stream, number] = body
        async with self.server.client() as client:
            for stream in layout.event_streams():
                for number, members in await client.xrange(stream):
                    found[stream.decode(), number.decode()] = members[b"e"]
        entries: dict[str, Entry] = {}
        for key in sorted(found, key=lambda key: tuple(map(int, key[1].split("-")))):
            event = Event.from_json(found[key])
            entries[event.subject] = project(entries.get(event.subject, EMPTY), event)
        return entries

    async def check(self, *, answered: bool = False) -> bool:
        """A look-up says what the events say, or nothing; whether it was answered."""
        try:
            standings = await self.register.look_up(PEOPLE)
        except RegisterUnavailable:
            assert not answered
            return False
        truth = await self.truth()
        for contact, standing in zip(PEOPLE, standings, strict=True):
            wanted = truth.get(str(RING.digest(subject_of(contact))), EMPTY)
            assert standing.exact == wanted, contact.canonical
        return True


@contextlib.asynccontextmanager
async def made(folder: Path, *, bits: int = BITS, timeout: float = 2) -> AsyncIterator[Site]:
    async with contextlib.AsyncExitStack() as stack:
        server = await stack.enter_async_context(LosingServer())
        register = await Register.open(server.url, RING, bits=bits, timeout=timeout, guarded=True)
        await stack.enter_async_context(register)
        database = await Database.open(folder / "archive.sqlite")
        stack.push_async_callback(database.aclose)
        yield Site(server, register, database)


@pytest.fixture
async def site(tmp_path):
    async with made(tmp_path) as one:
        yield one


async def ban(site: Site, *contacts, **how):
    event = Event(kind=EventKind.BAN, at=now_ms(), actor="test", **how)
    await site.register.apply_many([(event, contact) for contact in contacts])


async def fields(server: LosingServer) -> dict[bytes, dict[bytes, bytes]]:
    """Every bucket."""
    async with server.client() as client:
        keys = [key async for key in client.scan_iter("sg:{s*}:k1:*")]
        return {key: await client.hgetall(key) for key in keys}


# -- whole or not


async def test_a_fresh_register_is_whole_once_it_was_compared(site):
    with pytest.raises(NotWhole):
        await site.register.look_up(PEOPLE)
    assert (await site.examine()).whole
    assert await site.check(answered=True)


async def test_what_is_not_archived_yet_needs_no_rebuild(site):
    await site.examine()
    await ban(site, *PEOPLE)
    assert (await site.examine()).whole
    await site.archive()
    await ban(site, *PEOPLE, scope=Scope.CONTACT)
    assert (await site.examine()).whole
    await site.server.restart()
    assert not await site.check()
    assert (await site.examine()).whole
    assert await site.check(answered=True)


async def test_an_emptied_register_is_refused_by_the_very_next_look_up(site):
    await site.examine()
    await ban(site, *PEOPLE)
    await site.archive()
    assert await site.check()
    await site.server.flush()
    with pytest.raises(NotWhole):
        await site.register.look_up(PEOPLE)
    # Nobody makes it whole by asking again, by changing something or by opening it anew.
    await ban(site, PEOPLE[3])
    async with await Register.open(site.server.url, RING, guarded=True) as other:
        with pytest.raises(NotWhole):
            await other.look_up(PEOPLE)
    state = await site.examine()
    assert state.behind
    assert not state.whole
    await site.archive()
    assert (await site.examine()).behind
    await site.rebuild()
    assert await site.check(answered=True)


async def test_an_older_copy_is_refused_though_its_mark_was_good(site):
    await site.examine()
    await ban(site, PEOPLE[0])
    await site.archive()
    assert await site.check()
    site.server.copy()
    await ban(site, *PEOPLE)
    await site.archive()
    await site.put_back()
    assert not await site.check()
    # A change of the older copy is numbered behind what it has lost.
    await ban(site, PEOPLE[2], scope=Scope.CONTACT)
    await site.archive()
    assert (await site.examine()).behind
    assert not await site.check()
    await site.rebuild()
    assert await site.check(answered=True)
    await site.archive()
    assert (await site.examine()).whole


async def test_an_unban_of_what_is_lost_is_refused_rather_than_called_needless(site):
    await site.examine()
    await ban(site, PEOPLE[3])
    await site.archive()
    await site.server.flush()
    unban = Event(kind=EventKind.UNBAN, at=now_ms(), actor="test", scope=Scope.ALL)
    with pytest.raises(NotWhole):
        await site.register.apply_many([(unban, PEOPLE[3])], only_changes=True)
    await site.rebuild()
    assert await site.register.apply_many([(unban, PEOPLE[3])], only_changes=True)


async def test_positions_go_on_rising(site):
    await site.examine()
    await ban(site, *PEOPLE)
    before = [one.position for one in await site.register.look_up(PEOPLE)]
    await site.archive()
    await site.server.flush()
    await site.rebuild()
    assert [one.position for one in await site.register.look_up(PEOPLE)] == before
    async with site.server.client() as client:
        shard = layout.Layout().place(RING.digest(subject_of(PEOPLE[3]))).stream
        assert (await client.xinfo_stream(shard))["last-generated-id"].decode() in before[3]
    await ban(site, *PEOPLE, scope=Scope.CONTACT)
    after = [one.position for one in await site.register.look_up(PEOPLE)]
    assert all(late > early for early, late in zip(before, after, strict=True))


async def test_only_one_rebuilds(site):
    await site.examine()
    await ban(site, *PEOPLE)
    await site.archive()
    await site.server.flush()
    reached = asyncio.Event()

    async def slowly(shards, events):
        reached.set()
        await asyncio.sleep(0.01)

    first = asyncio.create_task(site.rebuild(progress=slowly))
    await reached.wait()
    with pytest.raises(Elsewhere):
        await site.rebuild()
    await first
    assert await site.check(answered=True)


async def test_an_archive_that_another_machine_shared_is_no_source(site, tmp_path):
    await site.examine()
    await ban(site, PEOPLE[3])
    await site.archive()
    second = await Database.open(tmp_path / "second.sqlite")
    try:
        other = Site(site.server, site.register, second)
        await ban(site, *PEOPLE, scope=Scope.CONTACT)
        # It takes over where the first has archived, and knows that it lacks the rest.
        await other.archive()
        assert (await other.examine()).whole
        await site.server.flush()
        with pytest.raises(InputError, match="lacks the events"):
            await other.rebuild()
        done = await other.rebuild(although_lacking=True)
        assert done.events
    finally:
        await second.aclose()


async def test_what_else_is_kept_with_the_cursors_does_no_harm(site):
    async def work(connection):
        row = {"stream": "noted checkpoint", "last": "38b80669a8b0fe77"}
        await connection.execute(schema.cursor.insert().values(**row))

    await site.database.write(work)
    await ban(site, *PEOPLE)
    await site.archive()
    assert (await site.examine()).whole


async def test_a_register_outlives_the_loss_of_its_archive(site, tmp_path):
    await site.examine()
    await ban(site, *PEOPLE)
    await site.archive()
    second = await Database.open(tmp_path / "second.sqlite")
    try:
        other = Site(site.server, site.register, second)
        await site.server.restart()
        # Nobody can say yet, but nothing is made anew from an archive that has nothing.
        state = await other.examine()
        assert not state.whole
        assert not state.behind
        await other.archive()
        assert (await other.examine()).whole
        found = await site.register.look_up(PEOPLE)
        assert all(one.exact.bans for one in found)
        await site.server.flush()
        assert (await other.examine()).behind
        with pytest.raises(InputError, match="lacks the events"):
            await other.rebuild()
    finally:
        await second.aclose()


async def test_a_key_that_the_ring_lacks_is_named(site):
    await site.examine()
    await ban(site, PEOPLE[0])
    await site.archive()
    with pytest.raises(InputError, match="key k1, which the key file lacks"):
        await rebuild(site.register, site.events, ["k2"])


async def test_what_no_event_tells_of_is_kept(site):
    await site.examine()
    await ban(site, PEOPLE[0])
    strange = encode(project(EMPTY, Event(kind=EventKind.BAN, at=5, actor="x")))
    bucket, field = site.register.current.places.bucket(b"k1", bytes(range(16)))
    async with site.server.client() as client:
        await client.hset(bucket, field, strange)
    done = await site.rebuild(bits=12)
    assert done.kept == 1
    bucket, field = site.register.current.places.bucket(b"k1", bytes(range(16)))
    async with site.server.client() as client:
        assert await client.hget(bucket, field) == strange


# -- another layout


@pytest.mark.parametrize("bits", [6, 9, 16])
async def test_a_register_grows_and_shrinks(site, bits):
    await site.examine()
    many = [parse_email(f"p{number}@example.com") for number in range(300)]
    await ban(site, *many[:200])
    await site.archive()
    await ban(site, *many[100:])
    async with await Register.open(site.server.url, RING, guarded=True) as reader:
        wanted = await reader.look_up(many)
        done = await site.rebuild(bits=bits)
        assert done.bits == bits
        # A process that knew the old buckets hears nothing rather than old news.
        with pytest.raises(RegisterUnavailable):
            await reader.look_up(many)
        async with asyncio.timeout(30):
            while True:
                with contextlib.suppress(RegisterUnavailable):
                    found = await reader.look_up(many)
                    break
                await asyncio.sleep(0.01)
        assert [one.exact for one in found] == [one.exact for one in wanted]
        # What it changes goes to the new buckets.
        event = Event(kind=EventKind.BAN, at=now_ms(), actor="test", scope=Scope.DISCLOSURE)
        await reader.apply(event, many[0])
    (standing,) = await site.register.look_up(many[:1])
    assert standing.disclosure_banned
    old = [key for key in await fields(site.server) if b":k1:1." not in key]
    assert old == []
    async with await Register.open(site.server.url, RING) as again:
        assert again.current.places.bits == bits


async def test_changes_and_look_ups_go_on_while_it_grows(site):
    await site.examine()
    many = [parse_email(f"p{number}@example.com") for number in range(200)]
    await ban(site, *many)
    await site.archive()
    over = asyncio.Event()
    banned: list = list(many)
    heard = refused = 0

    async def change(other):
        number = 0
        while not over.is_set():
            contact = parse_email(f"new{number}@example.com")
            event = Event(kind=EventKind.BAN, at=now_ms(), actor="test")
            await other.apply(event, contact)
            banned.append(contact)
            number += 1
            await asyncio.sleep(0.01)
            if number % 20 == 0:
                await site.archive()

    async def look(other):
        nonlocal heard, refused
        while not over.is_set():
            some = banned[-100:]
            await asyncio.sleep(0.005)
            try:
                found = await other.look_up(some)
            except RegisterUnavailable:
                refused += 1
                continue
            heard += 1
            assert all(one.exact.bans for one in found)

    async with (
        await Register.open(site.server.url, RING, guarded=True) as one,
        await Register.open(site.server.url, RING, guarded=True) as two,
    ):
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(change(one))
            tasks.create_task(look(two))
            for bits in (10, 7):
                await site.rebuild(bits=bits)
                await asyncio.sleep(0.1)
            over.set()
    assert heard > refused
    found = await site.register.look_up(banned)
    assert all(one.exact.bans for one in found)
    await site.archive()
    assert (await site.examine()).whole


# -- killed half-way


class Killed(Exception):
    """Stands for a kill: nothing more is sent."""


@pytest.mark.parametrize("emptied", [True, False])
@pytest.mark.parametrize("at", [1, 30, 64])
async def test_a_rebuild_that_is_killed_goes_on_where_it_was(site, at, emptied):
    await site.examine()
    many = [parse_email(f"p{number}@example.com") for number in range(300)]
    await ban(site, *many)
    await site.archive()
    if emptied:
        await site.server.flush()

    async def kill(shards, events):
        if shards == at:
            raise Killed

    with pytest.raises(Killed):
        await site.rebuild(bits=8, progress=kill)
    # What happens in between is not lost.
    await ban(site, *PEOPLE)
    if not emptied:
        await site.archive()
    done = await site.rebuild(bits=8)
    assert done.resumed
    assert await site.check(answered=True)
    once = await fields(site.server)
    assert not any(b":k1:2." in key for key in once)
    found = await site.register.look_up(many)
    assert all(one.exact.bans for one in found)
    # As if it had been run once.
    await site.rebuild(bits=8)
    twice = await fields(site.server)
    strip = lambda all_of: {key.rpartition(b".")[2]: each for key, each in all_of.items()}  # noqa: E731
    assert strip(once) == strip(twice)


async def test_a_register_emptied_while_it_is_rebuilt_is_begun_anew(site):
    await site.examine()
    await ban(site, *PEOPLE)
    await site.archive()
    await site.server.flush()
    times = 0

    async def empty(shards, events):
        nonlocal times
        if shards == 40 and not times:
            times += 1
            await site.server.flush()

    one = Rebuild(
        site.register.connections.wire,
        await site.register.current.refresh(),
        site.events,
        RING.key_ids,
        progress=empty,
    )
    with pytest.raises((Disturbed, RegisterUnavailable)):
        await one.run()
    assert not await site.check()
    await site.rebuild()
    assert await site.check(answered=True)


async def test_an_older_copy_in_the_midst_of_a_rebuild(site):
    await site.examine()
    await ban(site, *PEOPLE[:1])
    await site.archive()

    async def copy_then_kill(shards, events):
        if shards == 64:
            site.server.copy()
            raise Killed

    with pytest.raises(Killed):
        await site.rebuild(bits=8, progress=copy_then_kill)
    await ban(site, *PEOPLE)
    await site.archive()
    await site.put_back()
    assert not await site.check()
    assert (await site.examine()).behind
    await site.rebuild(bits=8)
    assert await site.check(answered=True)


async def test_what_a_copy_that_went_its_own_way_has_logged_is_not_passed_over(site):
    """Found by the interleavings: its id lies before the archive's cursor."""
    await site.examine()
    site.server.copy()
    await ban(site, PEOPLE[3])
    site.server.copy()
    await site.put_back(0)
    assert (await site.examine()).whole
    await ban(site, PEOPLE[3], scope=Scope.CONTACT)
    await site.archive()
    await site.put_back(1)
    assert (await site.examine()).behind
    await site.rebuild()
    await site.archive()
    assert await site.check(answered=True)
    (standing,) = await site.register.look_up([PEOPLE[3]])
    assert len(standing.exact.bans) == 2
    await site.server.flush()
    await site.rebuild()
    assert [standing.exact] == [one.exact for one in await site.register.look_up([PEOPLE[3]])]


# -- any interleaving

_who = st.integers(0, len(PEOPLE) - 1)
_steps = st.one_of(
    st.tuples(st.just("ban"), _who),
    st.tuples(st.just("ban"), _who),
    st.tuples(st.just("unban"), _who),
    st.tuples(st.just("consent"), _who),
    st.tuples(st.just("describe"), _who),
    st.tuples(st.just("erase"), _who),
    st.tuples(st.just("archive"), st.just(0)),
    st.tuples(st.just("archive"), st.just(0)),
    st.tuples(st.just("examine"), st.just(0)),
    st.tuples(st.just("flush"), st.just(0)),
    st.tuples(st.just("kill"), st.just(0)),
    st.tuples(st.just("copy"), st.just(0)),
    st.tuples(st.just("put back"), st.integers(0, 3)),
    st.tuples(st.just("rebuild"), st.sampled_from([6, 7, 9])),
    st.tuples(st.just("begin"), st.integers(1, 64)),
)


async def step(site: Site, what: str, which: int) -> None:
    register = site.register
    event = None
    if what == "ban":
        event = Event(kind=EventKind.BAN, at=now_ms(), actor="t")
    elif what == "unban":
        event = Event(kind=EventKind.UNBAN, at=now_ms(), actor="t", scope=Scope.ALL)
    elif what == "consent":
        event = Event(
            kind=EventKind.CONSENT,
            at=now_ms(),
            actor="t",
            channel=Channel.EMAIL,
            proven=True,
            lifts=True,
        )
    elif what == "describe":
        groups = frozenset({f"g{which}"})
        event = Event(
            kind=EventKind.DESCRIBE,
            at=now_ms(),
            actor="t",
            attributes=Attributes(product_groups=groups),
        )
    elif what == "erase":
        event = Event(kind=EventKind.ERASE, at=now_ms(), actor="t")
    if event is not None:
        with contextlib.suppress(NotWhole):
            await register.apply(event, PEOPLE[which])
    elif what == "archive":
        await site.archive()
    elif what == "examine":
        await site.examine()
    elif what == "flush":
        await site.server.flush()
    elif what == "kill":
        await site.server.restart()
    elif what == "copy":
        site.server.copy()
    elif what == "put back":
        await site.put_back(which)
    elif what == "rebuild":
        await site.rebuild(bits=which)
    elif what == "begin":

        async def kill(shards, events):
            if shards == which:
                raise Killed

        with contextlib.suppress(Killed):
            await site.rebuild(progress=kill)


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(_steps, min_size=4, max_size=12))
def test_any_interleaving_ends_in_what_the_events_say(steps):
    """Whatever happens in whatever order, a look-up says what the events say, or nothing."""
    folder = Path(tempfile.mkdtemp(prefix="sg-"))

    async def run():
        async with made(folder) as site:
            await site.examine()
            for what, which in steps:
                await step(site, what, which)
                await site.check()
            if not (await site.examine()).whole:
                await site.rebuild()
            await site.check(answered=True)

    try:
        asyncio.run(run())
    finally:
        shutil.rmtree(folder, ignore_errors=True)


# -- replay

_events = st.builds(
    lambda kind, at, scope, channel, topic, delivery, expires, origin, imported, undated, source: (
        Event(
            kind=kind,
            at=at,
            actor="somebody",
            scope=scope if kind in (EventKind.BAN, EventKind.UNBAN) else None,
            channel=channel,
            topic=topic,
            delivery=delivery if kind is EventKind.UNDELIVERABLE else None,
            expires=expires,
            origin=origin,
            imported=imported,
            undated=undated,
            source=source,
            id="01J",
            evidence="e",
        )
    ),
    kind=st.sampled_from(list(EventKind)),
    at=st.one_of(st.integers(0, 1 << 45), st.integers(1_600_000_000_000, 1_800_000_000_000)),
    scope=st.sampled_from(["all", "channel", "topic", "organisation", "contact", "disclosure"]),
    channel=st.sampled_from(["email", "sms"]),
    topic=st.sampled_from(["news", "y"]),
    delivery=st.sampled_from(["hard_bounce", "complaint", "rejected"]),
    expires=st.none() | st.integers(1_600_000_000_000, 1_800_000_000_000),
    origin=st.sampled_from([b"", b"abcd"]),
    imported=st.booleans(),
    undated=st.booleans(),
    source=st.sampled_from(["", "shop"]),
)


@given(events=st.lists(_events, min_size=1, max_size=4))
def test_replayed_octets_are_those_of_the_projection(events):
    """What is worked out once for many events is what each of them says."""
    events = [Event.from_json(event.to_json()) for event in events]
    entry = EMPTY
    for event in events:
        entry = project(entry, event)
    octets = replayed(b"", [event.to_json() for event in events])
    assert (decode(octets) if octets else EMPTY) == entry


def test_archiver_and_register_mean_the_same_keys():
    for shard, stream in enumerate(layout.event_streams()):
        assert streams.archived_key(stream) == layout.archived_key(shard)
        assert streams.hold_key(stream) == layout.hold_key(shard)
