"""The feed of archived events: in the chain's order, from any place, of this archive alone."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.records import feed as module
from gateway.records.act import Act, Action
from gateway.records.archive import Archive
from gateway.records.database import Database
from gateway.records.entry import ACT, RECORDS
from gateway.records.feed import BEGINNING, Feed, Place, PlaceError
from gateway.records.journal import StreamEntry
from gateway.records.seal import Sealer
from tests.peers.postgresql import sql

SEALER = Sealer({"c1": bytes(range(32))}, "c1")
STREAM = b"sg:{s00}:ev"


def event(number):
    told = Event(
        kind=EventKind.BAN,
        at=1_795_000_000_000 + number,
        actor="a",
        scope=Scope.ALL,
        id=f"{number:026}",
        recorded=1_795_000_000_000 + number,
        subject="k1:00",
    )
    return StreamEntry(STREAM, b"1-%d" % number, {b"e": told.to_json()}, True)


def act(number):
    entry = {ACT: Act(action=Action.READ, actor="anna").to_json()}
    return StreamEntry(RECORDS, b"1-%d" % number, entry)


class Writer:
    """Archives events and other rows between them."""

    def __init__(self, database):
        self._archive = Archive(database, SEALER)
        self._numbers = itertools.count(1)
        self.ids = []

    async def write(self, events, others=0):
        fence, _ = await self._archive.take_over()
        batch = []
        for _ in range(events):
            number = next(self._numbers)
            batch.append(event(number))
            self.ids.append(f"{number:026}/k1:00")
        await self._archive.store(batch, {STREAM: b"1-%d" % len(self.ids)}, fence)
        if others:
            acts = [act(next(self._numbers)) for _ in range(others)]
            await self._archive.store(acts, {RECORDS: b"1-%d" % next(self._numbers)}, fence)


@pytest.fixture
async def database(archive_place):
    database = await Database.open(archive_place)
    yield database
    await database.aclose()


async def read(feed, limit, place=BEGINNING):
    found = []
    while True:
        page = await feed.after(place, limit)
        assert len(page.events) <= limit
        found += [each.id for each in page.events]
        place = Place.parse(str(page.place))
        if not page.more:
            return found, place


@pytest.mark.parametrize("limit", [1, 7, 256, 1000])
async def test_pages_of_any_size_are_the_events_in_their_order(database, monkeypatch, limit):
    monkeypatch.setattr(module, "_LINKS", 3)
    monkeypatch.setattr(module, "_ROUNDS", 2)
    feed, writer = Feed(database), Writer(database)
    assert await read(feed, limit) == ([], BEGINNING)
    chance = random.Random(5)
    for _ in range(12):
        await writer.write(chance.choice([1, 40, 300]) if limit > 1 else 5, chance.randrange(4))
    found, place = await read(feed, limit)
    assert found == writer.ids
    assert place == await feed.end()
    assert place.row == await feed.head()
    # On from there: only what came since.
    assert (await read(feed, limit, place))[0] == []
    before = len(writer.ids)
    await writer.write(3)
    assert (await read(feed, limit, place))[0] == writer.ids[before:]


async def test_a_long_stretch_without_events_is_passed(database, monkeypatch):
    monkeypatch.setattr(module, "_LINKS", 2)
    monkeypatch.setattr(module, "_ROUNDS", 2)
    feed, writer = Feed(database), Writer(database)
    await writer.write(1)
    for _ in range(20):
        await writer.write(0, 1)
    await writer.write(1)
    assert (await read(feed, 10))[0] == writer.ids


async def test_events_that_are_gone_are_passed_over(database, archive_place):
    feed, writer = Feed(database), Writer(database)
    await writer.write(10)
    sql(archive_place, f"DELETE FROM event WHERE id IN ('{writer.ids[3]}', '{writer.ids[9]}')")
    found, place = await read(feed, 4)
    assert found == [*writer.ids[:3], *writer.ids[4:9]]
    await writer.write(1)
    assert (await read(feed, 4, place))[0] == writer.ids[10:]


async def test_a_place_of_another_history_is_refused(database, tmp_path):
    feed, writer = Feed(database), Writer(database)
    await writer.write(4)
    _, place = await read(feed, 10)
    other = await Database.open(tmp_path / "other.sqlite")
    try:
        # As long, but of other rows.
        elsewhere = Writer(other)
        await elsewhere.write(0, 4)
        with pytest.raises(PlaceError, match="another archive"):
            await Feed(other).after(place, 10)
    finally:
        await other.aclose()
    for wrong in (Place(place.row + 1, place.mark), Place(2, bytes(8)), Place(0, b"12345678")):
        with pytest.raises(PlaceError):
            await feed.after(wrong, 10)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=8, max_size=8))
def test_a_place_survives_its_word(row, mark):
    assert Place.parse(str(Place(row, mark))) == Place(row, mark)


@given(st.text(max_size=30))
def test_any_word_is_a_place_or_an_error(text):
    try:
        place = Place.parse(text)
    except PlaceError:
        return
    assert Place.parse(str(place)) == place
