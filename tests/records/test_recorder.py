import asyncio
import signal

import pytest

from gateway.failure import RecordsUnavailable
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.entry import RECORDS, parse
from gateway.records.record import Result
from gateway.records.recorder import Recorder
from gateway.register.connect import connect


async def entries(wire, stream=RECORDS):
    (reply,) = await wire.exchange([(b"XRANGE", stream, b"-", b"+")], 5)
    return [dict(zip(flat[::2], flat[1::2], strict=True)) for _, flat in reply]


class Counting:
    """Passes exchanges on and keeps the number of commands of each."""

    def __init__(self, wire):
        self.wire, self.trips = wire, []

    async def exchange(self, commands, within):
        self.trips.append(len(commands))
        return await self.wire.exchange(commands, within)


class Forgetting:
    """Passes exchanges on and loses the replies to the first."""

    def __init__(self, wire):
        self.wire, self.lost = wire, False

    async def exchange(self, commands, within):
        replies = await self.wire.exchange(commands, within)
        if not self.lost:
            self.lost = True
            raise RecordsUnavailable("lost")
        return replies


async def test_concurrent_appends_share_a_trip(wire, sealer, rules, make_message):
    counting = Counting(wire)
    recorder = Recorder(counting, sealer)
    await recorder.announce(rules)
    messages = [make_message() for _ in range(50)]
    await asyncio.gather(*[recorder.append(m, b"Subject: x\r\n", ["a@b.fi"]) for m in messages])
    assert counting.trips == [2, 51]
    assert recorder.appended == 50
    assert recorder.backlog == 51
    assert len(await entries(wire)) == 51
    await recorder.aclose()


async def test_rule_sets_are_announced_first(wire, sealer, make_message):
    recorder = Recorder(wire, sealer)
    with pytest.raises(RecordsUnavailable, match="not announced"):
        await recorder.append(make_message(), None, ["a@b.fi"])
    await recorder.aclose()


async def test_outcomes_are_stored_soon_and_on_close(
    wire, sealer, rules, make_message, outcome_of, settle
):
    recorder = Recorder(wire, sealer)
    await recorder.announce(rules)
    message = make_message(2)
    await recorder.append(message, None, ["a@b.fi", "c@d.fi"])
    recorder.note_outcome(outcome_of(message, Result.FORWARDED))
    await settle(lambda: recorder.outcomes_waiting == 0)
    assert b"o" in (await entries(wire))[-1]
    recorder.note_outcome(outcome_of(message, Result.SUPPRESSED, n=1))
    await recorder.aclose()
    assert recorder.outcomes_waiting == recorder.outcomes_lost == 0
    assert len(await entries(wire)) == 4
    with pytest.raises(RecordsUnavailable, match="closed"):
        await recorder.append(make_message(), None, ["a@b.fi"])


async def test_the_outcome_queue_is_bounded(wire, sealer, make_message, outcome_of):
    recorder = Recorder(wire, sealer, outcomes_max=3)
    message = make_message()
    recorder.note_outcome(*[outcome_of(message, Result.FORWARDED) for _ in range(5)])
    assert recorder.outcomes_waiting == 3
    assert recorder.outcomes_lost == 2
    await recorder.aclose()
    assert recorder.outcomes_lost == 2


async def test_of_outcomes_that_are_alike_the_queue_takes_what_it_has_room_for(wire, sealer):
    recorder = Recorder(wire, sealer, outcomes_max=5)
    ids = [f"r{n}" for n in range(4)]
    recorder.note_alike([], 1, Result.HELD)
    recorder.note_alike(ids, 1, Result.FORWARDED, 250, "2.0.0 ok", "main")
    recorder.note_alike(ids, 2, Result.SUPPRESSED)
    recorder.note_alike(ids, 3, Result.HELD)
    assert (recorder.outcomes_waiting, recorder.outcomes_lost) == (5, 7)
    await recorder.aclose()
    recorder.note_alike(ids, 4, Result.HELD)
    assert (recorder.outcomes_waiting, recorder.outcomes_lost) == (0, 11)
    (entry,) = await entries(wire)
    told = [(each.record_id, each.at, each.result) for each in parse(entry)]
    assert told == [(one, 1, Result.FORWARDED) for one in ids] + [("r0", 2, Result.SUPPRESSED)]


async def test_an_outcome_that_is_stored_again_keeps_its_id(wire, sealer):
    """Its acknowledgement was lost: the archive must know it for the same."""
    forgetting = Forgetting(wire)
    recorder = Recorder(forgetting, sealer)
    recorder.note_alike(["r0", "r1"], 1, Result.FORWARDED)
    await recorder.aclose()
    one, other = await entries(wire)
    assert parse(one) == parse(other)
    assert recorder.outcomes_lost == 0


async def test_a_killed_server_keeps_what_was_acknowledged(
    own_server, sealer, rules, make_message, outcome_of, settle
):
    own_server.start()
    connections = connect(own_server.url)
    recorder = Recorder(connections.wire, sealer)
    await recorder.announce(rules)
    message = make_message()
    await recorder.append(message, b"To: Matti <matti@example.fi>\r\n", ["matti@example.fi"])
    own_server.kill()
    recorder.note_outcome(outcome_of(message, Result.FORWARDED))
    for _ in range(3):
        with pytest.raises(RecordsUnavailable):
            await recorder.append(make_message(), None, ["a@b.fi"])
    assert recorder.outcomes_waiting == 1
    own_server.start()
    await recorder.append(make_message(), None, ["a@b.fi"])
    await settle(lambda: recorder.outcomes_waiting == 0)
    kept = await entries(connections.wire)
    assert [next(iter(each)) for each in kept].count(b"m") == 2
    assert sum(b"o" in each for each in kept) == 1
    files = [path for path in own_server.folder.rglob("*") if path.is_file()]
    octets = b"".join(path.read_bytes() for path in files)
    assert message.id.encode() in octets
    assert b"matti@" not in octets
    await recorder.aclose()
    await connections.aclose()


async def test_a_silent_server_costs_the_timeout_and_no_more(
    own_server, sealer, make_message, settle
):
    own_server.start()
    connections = connect(own_server.url)
    recorder = Recorder(connections.wire, sealer, timeout=2)
    own_server.signal(signal.SIGSTOP)
    loop = asyncio.get_running_loop()

    async def late(delay):
        await asyncio.sleep(delay)
        began = loop.time()
        with pytest.raises(RecordsUnavailable):
            await recorder.append(make_message(rule_set_hash=""), None, ["a@b.fi"])
        return loop.time() - began

    waits = await asyncio.gather(*[late(0.05 * n) for n in range(8)])
    assert max(waits) < 4
    own_server.signal(signal.SIGCONT)
    await recorder.append(make_message(rule_set_hash=""), None, ["a@b.fi"])
    await recorder.aclose()
    await connections.aclose()


async def test_a_full_server_is_unavailable_until_it_has_room(own_server, sealer, make_message):
    own_server.start("--maxmemory-policy", "noeviction")
    connections = connect(own_server.url)
    recorder = Recorder(connections.wire, sealer)
    own_server.cli("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(RecordsUnavailable, match=r"OutOfMemory|OOM"):
        await recorder.append(make_message(rule_set_hash=""), None, ["a@b.fi"])
    own_server.cli("CONFIG", "SET", "maxmemory", "0")
    await recorder.append(make_message(rule_set_hash=""), None, ["a@b.fi"])
    await recorder.aclose()
    await connections.aclose()


async def test_a_backlog_stops_appends_until_it_is_archived(
    wire, sealer, archive: Archive, make_message
):
    recorder = Recorder(wire, sealer, backlog_max=3)
    for _ in range(4):
        await recorder.append(make_message(rule_set_hash=""), None, ["a@b.fi"])
    for _ in range(3):
        with pytest.raises(RecordsUnavailable, match="not taken 4 entries"):
            await recorder.append(make_message(rule_set_hash=""), None, ["a@b.fi"])
    assert await Archiver(wire, archive).run_once() == 4
    await asyncio.sleep(0.3)
    await recorder.append(make_message(rule_set_hash=""), None, ["a@b.fi"])
    assert recorder.backlog == 1
    await recorder.aclose()


async def test_a_cancelled_caller_takes_nothing_from_the_others(wire, sealer, make_message):
    recorder = Recorder(wire, sealer)
    tasks = [
        asyncio.create_task(recorder.append(make_message(rule_set_hash=""), None, ["a@b.fi"]))
        for _ in range(10)
    ]
    await asyncio.sleep(0)
    tasks[3].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results].count(type(None)) == 9
    await recorder.aclose()


async def test_several_streams_share_the_entries(wire, sealer, archive: Archive, make_message):
    streams = (b"sg:{r0}:records", b"sg:{r1}:records")
    recorder = Recorder(wire, sealer, streams=streams)
    for _ in range(4):
        await recorder.append(make_message(rule_set_hash=""), None, ["a@b.fi"])
    assert [len(await entries(wire, stream)) for stream in streams] == [2, 2]
    assert recorder.backlog == 4
    assert await Archiver(wire, archive, records=streams).run_once() == 4
    await recorder.aclose()
