import asyncio
import re

import orjson
import pytest

from gateway.decision.facts import Outcome
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.failure import InputError, RecordsUnavailable
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.entry import MESSAGE, RECORDS, SEALED, pack
from gateway.records.journal import StreamEntry
from gateway.records.record import OutcomeRecord, Result
from gateway.records.recorder import Recorder
from gateway.records.seal import Sealer
from gateway.register.connect import connect
from tests.peers.postgresql import sql_of

EVENTS = b"sg:{s00}:ev"
ADDRESS = "matti.meikalainen@example.fi"

in_a_file = pytest.mark.parametrize("archive_place", ["sqlite"], indirect=True)
"""What only a file can do or suffer."""


async def recorded(wire, sealer, rules, *messages, outcomes=()):
    recorder = Recorder(wire, sealer)
    await recorder.announce(rules)
    for message in messages:
        addresses = [ADDRESS] * len(message.recipients)
        await recorder.append(message, b"Subject: Hei\r\n", addresses, "bounce@example.com")
    recorder.note_outcome(*outcomes)
    await recorder.aclose()


def count(database, table):
    ((rows,),) = sql_of(database, f"SELECT count(*) FROM {table}")
    return rows


def change(database, statement):
    sql_of(database, statement)


async def length(wire, stream=RECORDS):
    return (await wire.exchange([(b"XLEN", stream)], 5))[0]


async def test_a_message_is_found_and_shown_whole(
    wire, sealer, archive: Archive, rules, make_message, outcome_of
):
    message = make_message(2)
    outcomes = [outcome_of(message, Result.FORWARDED), outcome_of(message, Result.SUPPRESSED, n=1)]
    await recorded(wire, sealer, rules, message, outcomes=outcomes)
    archiver = Archiver(wire, archive)
    assert await archiver.run_once() == 3
    assert await length(wire) == 0

    found = await archive.search(digests=[message.recipients[1].digest])
    assert [each.record_id for each in found] == [message.recipients[1].id]
    assert found[0].result is Result.SUPPRESSED
    shown = await archive.show(message.recipients[1].id)
    assert shown.recipient == message.recipients[1]
    assert shown.message.client == "crm"
    assert shown.rule == rules.rules[0]
    assert shown.outcomes == (outcomes[1],)
    assert (shown.address, shown.sender) == (ADDRESS, "bounce@example.com")
    assert shown.headers == b"Subject: Hei\r\n"
    verification = await archive.verify()
    assert verification.whole
    assert verification.links == 8
    with pytest.raises(InputError):
        await archive.show("01J")


@in_a_file
async def test_the_archive_is_unreadable_without_the_key(
    wire, sealer, archive: Archive, database, rules, make_message
):
    message = make_message()
    await recorded(wire, sealer, rules, message)
    await Archiver(wire, archive).run_once()
    files = [path.read_bytes() for path in database.path.parent.iterdir()]
    secrets = (b"meikalainen", b"Subject: Hei", b"bounce")
    assert any(message.id.encode() in octets for octets in files)
    assert not any(part in octets for octets in files for part in secrets)
    other = Archive(database, Sealer({"c9": b"\7" * 32}, "c9"))
    shown = await other.show(message.recipients[0].id)
    assert (shown.address, shown.sender, shown.headers) == (None, None, None)


async def test_a_crash_between_commit_and_trim_doubles_nothing(
    wire, sealer, archive: Archive, database, rules, make_message, outcome_of
):
    messages = [make_message() for _ in range(40)]
    outcomes = [outcome_of(message, Result.FORWARDED) for message in messages]
    await recorded(wire, sealer, rules, *messages, outcomes=outcomes)
    assert await Archiver(wire, archive, trim=False).run_once() == 42
    assert await length(wire) == 42
    assert await Archiver(wire, archive, trim=False).run_once() == 0
    # The cursors lost as well (an older copy of the archive's bookkeeping): known by id.
    change(database, "DELETE FROM cursor")
    assert await Archiver(wire, archive).run_once() == 42
    assert await length(wire) == 0
    assert count(database, "record") == count(database, "outcome") == 40
    assert (await archive.verify()).links == 122


async def test_a_new_leader_trims_what_the_last_one_committed(
    wire, sealer, archive: Archive, rules, make_message
):
    await recorded(wire, sealer, rules, make_message())
    await Archiver(wire, archive, trim=False).run_once()
    assert await Archiver(wire, archive).run_once() == 0
    assert await length(wire) == 0


async def test_only_one_archives_and_a_paused_one_writes_nothing(
    wire, sealer, archive: Archive, rules, make_message, settle
):
    first = Archiver(wire, archive, poll=0.02)
    task = asyncio.create_task(first.run())
    await settle(lambda: first.status.leading)
    assert await Archiver(wire, archive).run_once() == 0
    fence, _ = await archive.take_over()
    with pytest.raises(RecordsUnavailable, match="taken over"):
        await archive.store((), {}, fence - 1)
    # The one that was overtaken notices, and takes over again since the lease is its own.
    await recorded(wire, sealer, rules, make_message())
    await settle(lambda: first.status.rows == 4)
    assert first.status.failures == 1
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not first.status.leading
    assert await wire.exchange([(b"EXISTS", b"sg:{rec}:archiver")], 5) == [0]


async def test_events_are_archived_as_they_are(wire, archive: Archive, database):
    event = Event(
        kind=EventKind.BAN, at=5, actor="hook", id="01J", subject="k1:ff", scope=Scope.ALL
    )
    for text in (event.to_json(), event.to_json(), b"no json"):
        await wire.exchange([(b"XADD", EVENTS, b"*", b"e", text)], 5)
    archiver = Archiver(wire, archive, events=[EVENTS])
    assert await archiver.run_once() == 3
    assert archiver.status.unreadable == 1
    assert count(database, "event") == count(database, "unreadable") == 1
    ((kind, subject, body),) = sql_of(database, "SELECT kind, subject, body FROM event")
    assert (kind, subject, Event.from_json(body)) == ("ban", "k1:ff", event)
    assert await length(wire, EVENTS) == 0


async def test_what_cannot_be_read_is_set_aside(
    wire, sealer, archive: Archive, database, rules, make_message
):
    bad = make_message(client="c\0d")
    await wire.exchange([(b"XADD", RECORDS, b"*", b"m", b"{}")], 5)
    await wire.exchange([(b"XADD", RECORDS, b"*", b"z", b"?")], 5)
    await recorded(wire, sealer, rules, bad, make_message())
    archiver = Archiver(wire, archive)
    assert await archiver.run_once() == 5
    assert archiver.status.unreadable == 3
    assert count(database, "record") == 1


async def test_a_store_that_was_begun_anew_is_read_from_its_start(
    wire, sealer, archive: Archive, database, rules, make_message
):
    await recorded(wire, sealer, rules, make_message())
    await Archiver(wire, archive).run_once()
    await wire.exchange([(b"DEL", RECORDS)], 5)
    await wire.exchange([(b"XADD", RECORDS, b"1-1", b"r", rules.to_json())], 5)
    await wire.exchange(
        [(b"XADD", RECORDS, b"2-1", b"m", make_message().to_json(), b"s", b"\0" * 12)], 5
    )
    assert await Archiver(wire, archive).run_once() == 2
    assert count(database, "record") == 2


async def test_outcomes_before_their_record_and_late_ones_count(
    wire, sealer, archive: Archive, rules, make_message, outcome_of
):
    message = make_message()
    record_id = message.recipients[0].id
    early = OutcomeRecord(record_id=record_id, at=5, result=Result.DEFERRED)
    await recorded(wire, sealer, rules, outcomes=[early])
    await Archiver(wire, archive).run_once()
    await recorded(wire, sealer, rules, message)
    await Archiver(wire, archive).run_once()
    assert (await archive.search())[0].result is Result.DEFERRED
    late = OutcomeRecord(record_id=record_id, at=9, result=Result.RELEASED, person="anna")
    earlier = OutcomeRecord(record_id=record_id, at=7, result=Result.HELD)
    await recorded(wire, sealer, rules, outcomes=[late, earlier])
    await Archiver(wire, archive).run_once()
    assert (await archive.search())[0].result is Result.RELEASED
    shown = await archive.show(record_id)
    assert [each.result for each in shown.outcomes] == ["deferred", "held", "released"]


async def test_an_outcome_that_never_came_is_unknown_until_it_does(
    wire, sealer, archive: Archive, rules, make_message, outcome_of
):
    old, new = make_message(decided=1_000), make_message(decided=3_000_000)
    await recorded(wire, sealer, rules, old, new)
    archiver = Archiver(wire, archive, clock=lambda: 3_700_000)
    await archiver.run_once()
    assert archiver.status.unknown == 1
    results = {each.message_id: each.result for each in await archive.search()}
    assert results == {old.id: Result.UNKNOWN, new.id: None}
    await recorded(wire, sealer, rules, outcomes=[outcome_of(old, Result.FORWARDED, at=1_001)])
    await Archiver(wire, archive).run_once()
    assert (await archive.search(result=Result.FORWARDED))[0].message_id == old.id
    assert (await archive.verify()).whole


async def test_search_narrows_and_pages(wire, sealer, archive: Archive, rules, make_message):
    messages = [make_message(2, decided=n, client=f"c{n % 2}") for n in range(1, 11)]
    await recorded(wire, sealer, rules, *messages)
    await Archiver(wire, archive).run_once()
    every = await archive.search()
    assert [each.decided for each in every] == sorted((n // 2 for n in range(2, 22)), reverse=True)
    page: list = []
    while more := await archive.search(limit=7, before=page[-1].record_id if page else None):
        page += more
    assert page == every
    assert {each.decided for each in await archive.search(since=3, until=5)} == {3, 4}
    assert {each.client for each in await archive.search(client="c1")} == {"c1"}
    assert len(await archive.search(rule="R11")) == 10
    assert len(await archive.search(outcome=Outcome.SUPPRESS, client="c0")) == 5
    assert await archive.search(result=Result.FORWARDED) == []


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE record SET outcome='forward' WHERE rule='R11'", "record .* was changed"),
        ("UPDATE outcome SET reply_code=550", "outcome .* was changed"),
        ("UPDATE outcome SET result='refused'", "outcome .* was changed"),
        ("DELETE FROM record WHERE rule='R11'", "record .* is missing"),
        ("DELETE FROM record WHERE rule='R40'", "record .* is missing"),
        ("DELETE FROM chain WHERE kind='record'", "link 3 is missing"),
        ("DELETE FROM chain WHERE kind='record'", "record .* was added"),
        ("DELETE FROM chain WHERE seq>4", "was added|cut off"),
        ("INSERT INTO rule_set VALUES ('h','n','v','t','[]')", "rule_set h was added"),
        (
            "INSERT INTO record SELECT 'x',message_id,client,decided,digest,outcome,rule,"
            "address_class,tier,facts,register_position,retain_until,sealed_address,result,"
            "result_at FROM record LIMIT 1",
            "record x was added",
        ),
        ("UPDATE chain SET digests=x'00' WHERE seq=2", "link 2 does not follow"),
        (
            "UPDATE chain SET digests=CAST(digests||digests AS BLOB) WHERE seq=2",
            "link 2 does not follow",
        ),
        ("UPDATE chain SET hash=x'00' WHERE seq=2", "link 2 does not follow"),
        ("UPDATE chain SET kind='message' WHERE kind='record'", "message .* is missing"),
        ("UPDATE chain SET ids='[' WHERE kind='record'", "does not follow"),
        ("UPDATE chain SET ids='{}' WHERE kind='record'", "does not follow"),
        ("UPDATE chain SET ids='[1,2]' WHERE kind='record'", "does not follow"),
        ("UPDATE chain SET ids='[]' WHERE kind='record'", "record .* was added|does not follow"),
        ("UPDATE chain SET seq=seq+10 WHERE seq>1", "link 2 is missing"),
    ],
)
async def test_tampering_is_found(
    wire, sealer, archive, database, rules, make_message, outcome_of, statement, fault
):
    message = make_message(2)
    await recorded(wire, sealer, rules, message, outcomes=[outcome_of(message, Result.FORWARDED)])
    await Archiver(wire, archive).run_once()
    assert (await archive.verify()).whole
    change(database, statement)
    verification = await archive.verify()
    assert not verification.whole
    assert any(re.search(fault, each) for each in verification.faults)


@in_a_file
@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        (
            "UPDATE record SET sealed_address=lower(hex(sealed_address)) WHERE rule='R11'",
            "record .* was changed",
        ),
        ("UPDATE message SET sealed_headers=lower(hex(sealed_headers))", "message .* was changed"),
        ("UPDATE chain SET digests='abc' WHERE seq=2", "link 2 does not follow"),
        ("UPDATE chain SET hash='abc' WHERE seq=2", "link 2 does not follow"),
        ("UPDATE archive SET head='abc'", "end of the chain"),
    ],
)
async def test_octets_that_became_a_text_are_found_and_end_no_walk(
    wire, sealer, archive, database, rules, make_message, statement, fault
):
    await recorded(wire, sealer, rules, make_message(2))
    await Archiver(wire, archive).run_once()
    change(database, statement)
    assert any(re.search(fault, each) for each in (await archive.verify()).faults)


@in_a_file
@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE record SET rule=CAST(x'52ff' AS TEXT) WHERE rule='R11'", "record .* was changed"),
        ("UPDATE chain SET ids=CAST(x'ff' AS TEXT) WHERE seq=2", "link .* does not follow"),
        ("UPDATE chain SET kind=CAST(x'ff' AS TEXT) WHERE seq=2", r"\\udcff .* is missing"),
    ],
)
async def test_a_text_that_is_no_utf_8_any_more_is_named_like_any_other_change(
    wire, sealer, archive, database, rules, make_message, statement, fault
):
    await recorded(wire, sealer, rules, make_message(2))
    await Archiver(wire, archive).run_once()
    change(database, statement)
    assert any(re.search(fault, each) for each in (await archive.verify()).faults)
    # The connections read as before.
    assert await database.read(lambda connection: connection.exec_driver_sql("SELECT 'ä'"))


async def test_a_link_before_the_first_one_hides_no_row_that_was_added(
    wire, sealer, archive, database, rules, make_message
):
    """The head stays the same, so one that was noted elsewhere does not tell either."""
    await recorded(wire, sealer, rules, make_message())
    await Archiver(wire, archive).run_once()
    change(database, "INSERT INTO rule_set VALUES ('h','n','v','t','[]')")
    change(
        database,
        "INSERT INTO chain VALUES (0,'rule_set','[\"h\"]',zeroblob(32),zeroblob(32))",
    )
    assert (await archive.verify()).faults == ("link 0 was added", "rule_set h was added")


async def test_tampering_is_found_in_links_of_hundreds_of_rows(
    archive: Archive, database, make_message
):
    messages = [make_message(150) for _ in range(5)]
    entries = [
        StreamEntry(b"s", b"1-%d" % n, {MESSAGE: m.to_json(), SEALED: pack([b"x"] * 152)})
        for n, m in enumerate(messages)
    ]
    fence, _ = await archive.take_over()
    await archive.store(entries, {}, fence)
    verification = await archive.verify()
    assert verification.whole
    assert verification.links == 5 * 151 + 2
    runs = sql_of(database, "SELECT ids FROM chain")
    assert max(len(orjson.loads(ids)) for (ids,) in runs) == 256
    changed, removed = messages[3].recipients[77].id, messages[2].recipients[149].id
    change(database, f"UPDATE record SET rule='R12' WHERE id='{changed}'")
    change(database, f"DELETE FROM record WHERE id='{removed}'")
    change(
        database,
        "INSERT INTO message SELECT 'added',direction,received,decided,controller,register,"
        "client,campaign,upstream,channel,kind_declared,kind,topic,product_group,body_hash,size,"
        "opt_out,sender,sender_digest,rule_set,rule_set_version,rule_set_hash,content,"
        "sealed_headers,sealed_sender FROM message LIMIT 1",
    )
    faults = (await archive.verify()).faults
    assert sorted(re.sub(r" \(link \d+\)", "", fault) for fault in faults) == sorted(
        [f"record {changed} was changed", f"record {removed} is missing", "message added was added"]
    )
    assert (await archive.verify()).faults == faults


@in_a_file
async def test_an_archive_that_vanishes_loses_nothing(
    wire, sealer, archive: Archive, database, rules, make_message, settle
):
    archiver = Archiver(wire, archive, poll=0.02, clock=lambda: make_message().decided)
    task = asyncio.create_task(archiver.run())
    await recorded(wire, sealer, rules, make_message())
    await settle(lambda: archiver.status.rows == 4)
    away = database.path.parent / "away"
    away.mkdir()
    for path in list(database.path.parent.glob("archive.sqlite*")):
        path.rename(away / path.name)
    await recorded(wire, sealer, rules, make_message())
    await settle(lambda: archiver.status.failing)
    assert await length(wire) == 2
    for path in list(away.iterdir()):
        path.rename(database.path.parent / path.name)
    await settle(lambda: archiver.status.rows == 6)
    await settle(lambda: not archiver.status.failing)
    assert (await archive.verify()).links == 6
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_killed_store_is_followed_again(
    own_server, sealer, archive: Archive, rules, make_message, settle
):
    own_server.start()
    connections = connect(own_server.url)
    archiver = Archiver(connections.wire, archive, poll=0.02)
    task = asyncio.create_task(archiver.run())
    await recorded(connections.wire, sealer, rules, make_message())
    await settle(lambda: archiver.status.rows == 4)
    own_server.kill()
    await settle(lambda: archiver.status.failing)
    own_server.start()
    await recorded(connections.wire, sealer, rules, make_message())
    await settle(lambda: archiver.status.rows == 6)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await connections.aclose()
