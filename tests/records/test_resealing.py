"""Each person's part of the archive opens with the person's key alone."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest

from gateway.custody.custody import Custody
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.failure import InputError, RecordsUnavailable, SealError
from gateway.keyfile import add_key
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.binding import Binding
from gateway.records.content import ContentMissing, ContentStore
from gateway.records.database import Database
from gateway.records.entry import address_context, evidence_context
from gateway.records.erased import destroy_again
from gateway.records.events import EventArchive
from gateway.records.recorder import Recorder
from gateway.records.resealing import Resealer
from gateway.records.seal import Sealer
from gateway.records.unsealing import Unsealer
from tests.peers.postgresql import sql, sql_of

MATTI, MAIJA = "matti.meikalainen@esimerkki.fi", "maija.virtanen@esimerkki.fi"
HEADERS = b"Subject: Hei Matti\r\n"
EVENTS = b"sg:{0}:events"
TEXT = b"Subject: Lasku\r\n\r\nHyva Matti\r\n"


class Place:
    """An archive, the keys of people and who moves records into it."""

    def __init__(self, wire, sealer: Sealer, database: Database, custody: Custody, rules) -> None:
        self.wire, self.sealer, self.database, self.custody = wire, sealer, database, custody
        self.rules = rules
        self.archive = Archive(database, sealer, custody)
        self.contents = ContentStore(database, sealer, custody=custody)
        self.binding = Binding(database, sealer, self.contents)

    def archiver(self, **how) -> Archiver:
        return Archiver(
            self.wire,
            self.archive,
            events=[EVENTS],
            resealer=Resealer(self.sealer, self.custody),
            binding=self.binding,
            **how,
        )

    async def record(self, message, *addresses: str) -> None:
        recorder = Recorder(self.wire, self.sealer)
        await recorder.announce(self.rules)
        await recorder.append(message, HEADERS, addresses, "bounce@esimerkki.fi")
        await recorder.aclose()

    async def event(self, event: Event) -> None:
        await self.wire.exchange([(b"XADD", EVENTS, b"*", b"e", event.to_json())], 5)

    def rows(self, *statements: str) -> list[tuple]:
        return sql_of(self.database, *statements)

    async def shown(self, message, at: int = 0) -> tuple:
        shown = await self.archive.show(message.recipients[at].id)
        return shown.address, shown.sender, shown.headers

    async def content(self, content_id: str) -> bytes:
        return b"".join([piece async for piece in self.contents.open(content_id)])

    async def put(self, content_id: str) -> None:
        async def pieces():
            yield TEXT

        await self.contents.put(content_id, pieces())


@pytest.fixture
async def place(
    wire, sealer: Sealer, database: Database, rules, tmp_path: Path
) -> AsyncIterator[Place]:
    custody = await Custody.at(tmp_path / "keys.sqlite", sealer)
    yield Place(wire, sealer, database, custody, rules)
    await custody.aclose()


async def test_every_recipient_opens_the_message_and_nobody_else_s_address(place, make_message):
    message = make_message(2)
    await place.record(message, MATTI, MAIJA)
    await place.archiver().run_once()
    for at, address in enumerate((MATTI, MAIJA)):
        assert await place.shown(message, at) == (address, "bounce@esimerkki.fi", HEADERS)
    [(headers, sender)] = place.rows("SELECT sealed_headers, sealed_sender FROM message")
    sealed = [row[0] for row in place.rows("SELECT sealed_address FROM record")]
    assert (headers[:1], sender[:1], {one[:1] for one in sealed}) == (b"\3", b"\3", {b"\2"})
    # Neither the content key alone nor anybody's record in another's place opens it.
    bare = await Archive(place.database, place.sealer).show(message.recipients[0].id)
    assert (bare.address, bare.headers) == (None, None)
    unsealer = Unsealer(place.sealer, place.custody)
    row = {"id": message.recipients[0].id, "digest": message.recipients[0].digest}
    (moved,) = await unsealer.records([{**row, "sealed_address": sealed[1]}])
    assert (moved.address, moved.key) == (None, None)
    assert (await place.archive.verify()).whole


async def test_one_erased_recipient_is_gone_and_the_other_still_reads(place, make_message):
    message = make_message(2)
    await place.record(message, MATTI, MAIJA)
    await place.archiver().run_once()
    await place.custody.destroy([message.recipients[0].digest])
    assert await place.shown(message, 0) == (None, None, None)
    assert await place.shown(message, 1) == (MAIJA, "bounce@esimerkki.fi", HEADERS)
    await place.custody.destroy([message.recipients[1].digest])
    assert await place.shown(message, 1) == (None, None, None)
    # The chain does not mind: what was sealed stays as it was.
    assert (await place.archive.verify()).whole


@pytest.mark.parametrize("archive_place", ["sqlite"], indirect=True)
async def test_no_backup_of_the_archive_brings_an_erased_person_back(place, make_message, tmp_path):
    message = make_message(1, content="c1")
    await place.put("c1")
    await place.record(message, MATTI)
    digest = message.recipients[0].digest
    sealed = place.sealer.seal(MATTI.encode(), address_context(digest))
    await place.event(ban(digest, sealed=sealed, evidence="Älkää lähettäkö, Matti"))
    await place.archiver().run_once()
    connection = sqlite3.connect(place.database.path)
    backup = sqlite3.connect(tmp_path / "backup.sqlite")
    connection.backup(backup)
    connection.close()
    backup.close()
    await place.custody.destroy([digest])

    copy = await Database.open(tmp_path / "backup.sqlite")
    for database in (place.database, copy):
        shown = await Archive(database, place.sealer, place.custody).show(message.recipients[0].id)
        assert (shown.address, shown.sender, shown.headers) == (None, None, None)
        contents = ContentStore(database, place.sealer, custody=place.custody)
        with pytest.raises(ContentMissing, match="erased"):
            [piece async for piece in contents.open("c1")]
        (event,) = map(Event.from_json, await EventArchive(database).of([digest]))
        unsealer = Unsealer(place.sealer, place.custody)
        assert await unsealer.addresses([event]) == [None]
        assert (await unsealer.with_evidence([event]))[0].evidence == ""
    await copy.aclose()
    assert not opens_with(place, tmp_path / "backup.sqlite")


def opens_with(place, where: Path | str) -> list[str]:
    """The tables whose sealed texts the content key opens, in any place: it never should."""
    found = []
    for table, column in (
        ("message", "sealed_headers"),
        ("message", "sealed_sender"),
        ("record", "sealed_address"),
        ("content", "sealed_key"),
        ("content_chunk", "data"),
    ):
        for (sealed,) in sql(where, f"SELECT {column} FROM {table}"):
            if place.sealer.can_open(sealed):
                found.append(table)
    return found


def ban(subject: str, **how) -> Event:
    return Event(
        **{
            "kind": EventKind.BAN,
            "at": 5,
            "actor": "tester",
            "scope": Scope.ALL,
            "subject": subject,
            "id": "01EVENT",
            "recorded": 6,
            **how,
        }
    )


async def test_what_comes_for_an_erased_person_is_recorded_by_digest_only(place, make_message):
    message, other = make_message(1, content="c1"), make_message(2)
    erased = message.recipients[0].digest
    await place.custody.destroy([erased])
    await place.put("c1")
    await place.record(message, MATTI)
    await place.record(other, MATTI, MAIJA)
    sealed = place.sealer.seal(MATTI.encode(), address_context(erased))
    await place.event(ban(erased, sealed=sealed, evidence="Matti"))
    await place.archiver().run_once()
    assert [found.record_id for found in await place.archive.search(digests=[erased], limit=9)]
    assert await place.shown(message) == (None, None, None)
    assert place.rows(
        f"SELECT sealed_headers, sealed_sender FROM message WHERE id = '{message.id}'"
    ) == [(b"", b"")]
    assert await place.shown(other, 1) == (MAIJA, "bounce@esimerkki.fi", HEADERS)
    with pytest.raises(ContentMissing, match="erased"):
        await place.content("c1")
    (body,) = await EventArchive(place.database).of([erased])
    assert "Matti" not in body
    assert "evidence" not in body
    assert (await place.archive.verify()).whole


async def test_an_archiver_that_was_cut_off_seals_nothing_twice(place, make_message):
    messages = [make_message(2, content=f"c{number}") for number in range(30)]
    for number, message in enumerate(messages):
        await place.put(f"c{number}")
        await place.record(message, MATTI, MAIJA)
    assert await place.archiver(trim=False).run_once()
    before = place.rows("SELECT * FROM record"), place.rows("SELECT * FROM message")
    keys = place.rows("SELECT id, sealed_key, loose FROM content")
    # The cursors were lost too, as with an older copy of the stream: all is read again.
    place.rows("DELETE FROM cursor")
    assert await place.archiver().run_once()
    assert (place.rows("SELECT * FROM record"), place.rows("SELECT * FROM message")) == before
    assert place.rows("SELECT id, sealed_key, loose FROM content") == keys
    assert [row[2] for row in keys] == [0] * 30
    for number, message in enumerate(messages):
        assert await place.shown(message, 1) == (MAIJA, "bounce@esimerkki.fi", HEADERS)
        assert await place.content(f"c{number}") == TEXT
    assert await place.custody.count() == (2, 0)


async def test_records_of_before_people_had_keys_still_open(place, make_message):
    old, new = make_message(1, content="old"), make_message(1, content="new")
    await place.put("old")
    await place.record(old, MATTI)
    await Archiver(place.wire, place.archive).run_once()  # as it archived before
    await place.put("new")
    await place.record(new, MAIJA)
    await place.archiver().run_once()
    assert await place.shown(old) == (MATTI, "bounce@esimerkki.fi", HEADERS)
    assert await place.shown(new) == (MAIJA, "bounce@esimerkki.fi", HEADERS)
    for content_id in ("old", "new"):
        assert await place.content(content_id) == TEXT
    assert (await place.archive.verify()).whole


async def test_a_content_is_bound_to_its_people_once_nothing_waits_for_it(place, make_message):
    message = make_message(2, content="c1")
    await place.put("c1")
    place.rows(
        f"INSERT INTO held VALUES ('h1', 'held', 1, '{message.id}', 'crm', 'main', 'unclear', "
        "NULL, 'c1', x'00', NULL, '', '', 'email', NULL)"
    )
    await place.record(message, MATTI, MAIJA)
    await place.archiver().run_once()
    # A worker, which has no keys of people, can still release it.
    worker = ContentStore(place.database, place.sealer)
    assert b"".join([piece async for piece in worker.open("c1")]) == TEXT
    assert await place.binding.bind() == 0
    place.rows("UPDATE held SET state = 'released'")
    assert await place.binding.bind() == 1
    assert await place.binding.bind() == 0
    with pytest.raises(ContentMissing, match="no key here"):
        [piece async for piece in worker.open("c1")]
    await place.custody.destroy([message.recipients[0].digest])
    assert await place.content("c1") == TEXT
    await place.custody.destroy([message.recipients[1].digest])
    with pytest.raises(ContentMissing, match="erased"):
        await place.content("c1")
    assert not opens_with(place, place.database.place)


async def test_a_content_whose_people_were_erased_while_it_waited_is_closed_for_good(
    place, make_message
):
    message = make_message(1, content="c1")
    await place.put("c1")
    await place.record(message, MATTI)
    await Archiver(
        place.wire, place.archive, resealer=Resealer(place.sealer, place.custody)
    ).run_once()  # ended before the content's turn came
    await place.custody.destroy([message.recipients[0].digest])
    assert await place.binding.bind() == 1
    assert place.rows("SELECT sealed_key, loose FROM content") == [(b"", 0)]
    with pytest.raises(ContentMissing, match="erased"):
        await place.content("c1")


async def test_evidence_is_sealed_whether_the_register_sealed_it_or_not(place):
    digest = "k1:" + 32 * "a"
    sealed = place.sealer.seal(MATTI.encode(), address_context(digest))
    words = "En halua mainoksia. T. Matti Meikäläinen, 040 1234567"
    told = place.sealer.seal(words.encode(), evidence_context("01A"))
    await place.event(ban(digest, id="01A", sealed=sealed, sealed_evidence=told))
    await place.event(ban(digest, id="01B", evidence=words))
    await place.event(ban(digest, id="01C", origin=b"abcd", cause="01A", evidence=words))
    await place.archiver().run_once()
    bodies = await EventArchive(place.database).of([digest])
    assert not any("Matti" in body for body in bodies)
    assert not any(place.sealer.can_open(event.sealed or b"") for event in parsed(bodies))
    unsealer = Unsealer(place.sealer, place.custody)
    events = {event.id: event for event in await unsealer.with_evidence(parsed(bodies))}
    assert [events[one].evidence for one in ("01A", "01B", "01C")] == [words, words, ""]
    assert await unsealer.addresses([events["01A"]]) == [MATTI]


def parsed(bodies: list[str]) -> list[Event]:
    return [Event.from_json(body) for body in bodies]


async def test_what_is_no_record_is_set_aside_as_ever_and_stops_nothing(place, make_message):
    message = make_message()
    await place.wire.exchange(
        [
            (b"XADD", b"sg:{rec}:records", b"*", b"m", b"{", b"s", b"x"),
            (b"XADD", b"sg:{rec}:records", b"*", b"m", orjson.dumps({"id": "1"}), b"s", b""),
            (b"XADD", EVENTS, b"*", b"e", b"[1]"),
            (b"XADD", EVENTS, b"*", b"e", b'{"evidence":"x","subject":7,"sealed":"?"}'),
            (b"XADD", EVENTS, b"*", b"e", b'{"sealed":"*","subject":"k1:a","id":"5"}'),
        ],
        5,
    )
    await place.record(message, MATTI)
    await place.archiver().run_once()
    assert len(place.rows("SELECT entry FROM unreadable")) == 3
    assert await place.shown(message) == (MATTI, "bounce@esimerkki.fi", HEADERS)


async def test_without_its_keys_the_archiver_waits_and_loses_nothing(
    place, make_message, tmp_path, settle
):
    message = make_message()
    await place.record(message, MATTI)
    keys = tmp_path / "keys.sqlite"
    shutil.move(keys, tmp_path / "away")
    archiver = place.archiver(poll=0.01)
    with pytest.raises(RecordsUnavailable):
        await archiver.run_once()
    assert await place.archive.search() == []
    running = asyncio.create_task(archiver.run())
    await settle(lambda: archiver.status.failing)
    shutil.move(tmp_path / "away", keys)
    await settle(lambda: archiver.status.rows > 0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert await place.shown(message) == (MATTI, "bounce@esimerkki.fi", HEADERS)


async def test_a_released_message_is_read_by_either_of_its_records(place, make_message):
    # What was held is recorded again when it is released, with the same content.
    message = make_message(2, content="c1", id="c1")
    release = make_message(1, content="c1", decided=message.decided + 1)
    await place.put("c1")
    await place.record(message, MATTI, MAIJA)
    await place.record(release, MATTI)
    await place.archiver().run_once()
    assert await place.content("c1") == TEXT
    # It lies under the key of the first, for it has all who were meant.
    await place.custody.destroy([message.recipients[0].digest])
    assert await place.content("c1") == TEXT
    await place.custody.destroy([message.recipients[1].digest])
    with pytest.raises(ContentMissing, match="erased"):
        await place.content("c1")


async def test_an_event_of_erasure_takes_the_key_whoever_was_cut_off(place, make_message):
    message = make_message(2)
    own, other = (one.digest for one in message.recipients)
    await place.record(message, MATTI, MAIJA)
    await place.archiver().run_once()
    erasure = {"kind": EventKind.ERASE, "scope": None, "evidence": "GDPR 17"}
    await place.event(ban(own, id="01A", **erasure))
    await place.event(ban(other, id="01B", origin=b"abcd", cause="01A", **erasure))
    await place.archiver().run_once()
    assert await place.shown(message, 0) == (None, None, None)
    assert await place.shown(message, 1) == (MAIJA, "bounce@esimerkki.fi", HEADERS)
    assert await place.custody.destroyed([own, other]) == {own: pytest.approx(0, abs=2**50)}
    assert len(place.rows("SELECT id FROM event")) == 2


async def test_keys_from_an_older_backup_do_not_bring_the_erased_back(
    place, make_message, tmp_path
):
    message = make_message(2)
    own, other = (one.digest for one in message.recipients)
    await place.record(message, MATTI, MAIJA)
    await place.custody.keys(["p:1", "p:2"])
    await place.archiver().run_once()
    await place.custody.backup(tmp_path / "older.sqlite")
    erasure = {"kind": EventKind.ERASE, "scope": None}
    await place.event(ban(own, id="01A", **erasure))
    await place.event(ban(other, id="01B", origin=b"abcd", cause="01A", **erasure))
    await place.archiver().run_once()
    place.rows(
        "INSERT INTO person VALUES ('1', 1, 1, 'erased', NULL, NULL, x'00')",
        "INSERT INTO person VALUES ('2', 1, 1, 'active', NULL, NULL, x'00')",
    )
    restored = await Custody.at(tmp_path / "older.sqlite", place.sealer)
    assert await restored.name() == await place.custody.name()
    assert not await restored.destroyed([own, "p:1"])
    assert await destroy_again(place.database, restored) == 2
    assert (await restored.destroyed([own, other, "p:1", "p:2"])).keys() == {own, "p:1"}
    assert await destroy_again(place.database, restored) == 0
    with pytest.raises(InputError, match="exists"):
        await restored.backup(tmp_path / "older.sqlite")
    await restored.aclose()


async def test_identity_codes_of_a_held_message_are_masked_once_it_has_ended(place, make_message):
    """It has to be released as it came; what is kept of it afterwards tells no code."""
    text = b"Subject: Hei\r\n\r\nTunnuksesi on 131052-308T.\r\n" + 500_000 * b"x"
    message = make_message(1, content="c1")

    async def pieces():
        yield text[:100_000]
        yield text[100_000:]

    await place.contents.put("c1", pieces())
    place.rows(
        f"INSERT INTO held VALUES ('h1', 'held', 1, '{message.id}', 'crm', 'main', 'unclear', "
        "NULL, 'c1', x'00', NULL, '', '', 'email', NULL)"
    )
    await place.record(message, MATTI)
    await place.archiver().run_once()
    assert await place.content("c1") == text
    place.rows("UPDATE held SET state = 'released'")
    assert await place.binding.bind() == 1
    assert await place.content("c1") == text.replace(b"131052-308T", 11 * b"*")
    assert (await place.archive.verify()).whole


async def test_the_archiver_waits_for_a_content_key_that_another_machine_has(
    place, make_message, tmp_path
):
    path = tmp_path / "content-keys.json"
    elsewhere = Sealer.load_or_create(path)
    message, told = make_message(), ban("k1:" + 32 * "a")
    (tmp_path / "ours").mkdir()
    ours = tmp_path / "ours" / path.name
    shutil.copy2(path, ours)
    here = Sealer.load(ours)
    add_key(path)
    elsewhere.refresh()
    place.sealer = elsewhere
    await place.record(message, MATTI)
    sealed = elsewhere.seal(MATTI.encode(), address_context(told.subject))
    await place.event(replace(told, sealed=sealed))
    place.sealer = here
    place.archive = Archive(place.database, here, place.custody)
    with pytest.raises(SealError, match="newest key file"):
        await place.archiver().run_once()
    assert await place.archive.search() == []
    shutil.copy2(path, tmp_path / "ours" / "new")
    (tmp_path / "ours" / "new").replace(ours)
    await place.archiver().run_once()
    assert await place.shown(message) == (MATTI, "bounce@esimerkki.fi", HEADERS)
    assert not opens_with(place, place.database.place)
