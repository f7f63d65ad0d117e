"""A content key is dropped only when nothing lies under it."""

from base64 import b64encode

import pytest

from gateway.custody.custody import Custody
from gateway.entry.event import Event, EventKind
from gateway.records import keyusage
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.binding import Binding
from gateway.records.content import ContentStore
from gateway.records.entry import RECORDS
from gateway.records.keyusage import KeyUsage
from gateway.records.recorder import Recorder
from gateway.records.resealing import Resealer
from gateway.records.seal import Sealer, fingerprint
from tests.peers.postgresql import sql_of

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
EVENTS = b"sg:{0}:events"


@pytest.fixture(params=[1, 2, 5000])
def page(request, monkeypatch) -> int:
    monkeypatch.setattr(keyusage, "_PAGE", request.param)
    monkeypatch.setattr(keyusage, "_STREAM_PAGE", b"%d" % request.param)
    return request.param


async def test_every_place_that_a_text_may_lie_in_is_looked_at(
    wire, sealer: Sealer, database, rules, make_message, page: int
):
    archive, contents = Archive(database, sealer), ContentStore(database, sealer)

    async def pieces():
        yield b"x" * 600_000

    recorder = Recorder(wire, sealer)
    await recorder.announce(rules)
    for number in range(3):
        await contents.put(f"c{number}", pieces())
        message = make_message(2, content=f"c{number}")
        await recorder.append(message, b"Subject: x\r\n", ["a@b.fi", "c@d.fi"], "s@b.fi")
    sealed = sealer.seal(b"a@b.fi", b"address:k1:1")
    for number, how in enumerate(({"sealed": sealed}, {"sealed_evidence": sealed}, {}, {})):
        event = Event(kind=EventKind.BAN, at=1, actor="x", id=f"e{number}", subject="k1:1", **how)
        await wire.exchange([(b"XADD", EVENTS, b"*", b"e", event.to_json())], 5)
    await recorder.aclose()
    used, unused = KeyUsage(database, fingerprint(OLD)), KeyUsage(database, fingerprint(NEW))
    streams = [RECORDS, EVENTS]
    assert await used.streams(wire, streams, 5) == 3 + 2
    assert await unused.streams(wire, streams, 5) == 0
    await Archiver(wire, archive, events=[EVENTS]).run_once()
    assert await used.streams(wire, streams, 5) == 0
    octets = f"x'{sealed.hex()}'"
    # As contents of before they had keys, and of a held message.
    sql_of(
        database,
        f"UPDATE content_chunk SET data = {octets} WHERE content_id = 'c0'",
        "INSERT INTO held VALUES ('h1', 'held', 1, 'm', 'crm', 'main', 'unclear', NULL, 'c1', "
        f"{octets}, NULL, '', '', 'email', NULL)",
        f"INSERT INTO person VALUES ('p', 1, 1, 'x', NULL, NULL, {octets})",
    )
    query = "SELECT count(*) FROM content_chunk WHERE content_id = 'c0'"
    [(chunks,)] = sql_of(database, query)
    assert await used.archive() == {
        "header sections": 3,
        "envelope senders": 3,
        "addresses of records": 6,
        "contents": 3,
        "pieces of contents": chunks,
        "held messages": 1,
        "rows of person": 1,
        "register events": 2,
    }
    assert await unused.archive() == {}


async def test_what_the_archiver_has_sealed_anew_lies_under_no_content_key(
    wire, sealer, database, rules, make_message, tmp_path
):
    custody = await Custody.at(tmp_path / "keys.sqlite", sealer)
    contents = ContentStore(database, sealer, custody=custody)

    async def pieces():
        yield b"x"

    await contents.put("c1", pieces())
    recorder = Recorder(wire, sealer)
    await recorder.announce(rules)
    await recorder.append(
        make_message(2, content="c1"), b"S: x\r\n", ["a@b.fi", "c@d.fi"], "s@b.fi"
    )
    sealed = sealer.seal(b"a@b.fi", b"address:k1:1")
    event = Event(kind=EventKind.BAN, at=1, actor="x", id="e", subject="k1:1", sealed=sealed)
    assert b64encode(sealed)[:6] in event.to_json()
    await wire.exchange([(b"XADD", EVENTS, b"*", b"e", event.to_json())], 5)
    await recorder.aclose()
    archive = Archive(database, sealer, custody)
    await Archiver(
        wire,
        archive,
        events=[EVENTS],
        resealer=Resealer(sealer, custody),
        binding=Binding(database, sealer, contents),
    ).run_once()
    assert await KeyUsage(database, fingerprint(OLD)).archive() == {}
    await custody.aclose()
