import asyncio
import base64
import os
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.custody import custody as custody_module
from gateway.custody.cipher import MESSAGE, OVERHEAD, PERSON, new_key, open_sealed, seal
from gateway.custody.custody import Custody, KeyDestroyed
from gateway.custody.table import KeyTable
from gateway.failure import InputError, RecordsUnavailable, SealError
from gateway.records.seal import Sealer

OLD, NEW = bytes(range(32)), bytes(range(1, 33))
MATTI, MAIJA = "k1:" + 32 * "a", "k1:" + 32 * "b"


def sealer(*keys: bytes) -> Sealer:
    by_id = {f"c{number}": key for number, key in enumerate(keys or (OLD,), 1)}
    return Sealer(by_id, f"c{len(by_id)}")


def octets(place: Path) -> bytes:
    """The file and whatever SQLite keeps beside it."""
    return b"".join(each.read_bytes() for each in sorted(place.parent.glob(place.name + "*")))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "keys.sqlite"


@pytest.fixture
async def custody(place: Path) -> AsyncIterator[Custody]:
    opened = await Custody.at(place, sealer())
    yield opened
    await opened.aclose()


@given(st.binary(max_size=200), st.binary(max_size=20), st.sampled_from((PERSON, MESSAGE)))
def test_a_sealed_text_opens_with_its_key_context_and_version_only(data, context, version):
    key = new_key()
    sealed = seal(version, key, data, context)
    assert len(sealed) == len(data) + OVERHEAD
    assert open_sealed(version, key, sealed, context) == data
    other = PERSON if version == MESSAGE else MESSAGE
    for attempt in (
        (version, new_key(), sealed, context),
        (version, key, sealed, context + b"x"),
        (version, key, sealed[:-1], context),
        (other, key, sealed, context),
        (other, key, other + sealed[1:], context),
    ):
        with pytest.raises(SealError):
            open_sealed(*attempt)
    with pytest.raises(SealError):
        sealer().open(sealed, context)


async def test_what_is_sealed_for_a_person_opens_in_any_process_with_the_content_key(
    custody: Custody, place: Path
):
    sealed = await custody.seal(MATTI, b"matti@esimerkki.fi", b"here")
    assert stat.S_IMODE(place.stat().st_mode) == 0o600
    again = await Custody.at(place, sealer(), create=False)
    assert await again.open(MATTI, sealed, b"here") == b"matti@esimerkki.fi"
    for owner, context in ((MAIJA, b"here"), (MATTI, b"there")):
        with pytest.raises(SealError):
            await again.open(owner, sealed, context)
    await again.aclose()
    stranger = await Custody.at(place, sealer(NEW), create=False)
    with pytest.raises(SealError):
        await stranger.open(MATTI, sealed, b"here")
    await stranger.aclose()


async def test_many_at_once_open_as_they_were_sealed_and_others_stay_closed(custody: Custody):
    owners = [f"k1:{number % 700:032x}" for number in range(2000)]
    data = [b"%d" % number for number in range(2000)]
    contexts = [b"c%d" % number for number in range(2000)]
    sealed = await custody.seal_all(owners, data, contexts)
    assert await custody.open_all(owners, sealed, contexts) == data
    assert await custody.count() == (700, 0)
    await custody.destroy(owners[:1])
    opened = await custody.open_all(owners, sealed, contexts)
    assert [one is None for one in opened] == [owner == owners[0] for owner in owners]
    resealed = await custody.seal_all(owners, data, contexts)
    assert [one == b"" for one in resealed] == [owner == owners[0] for owner in owners]
    assert await custody.open_all([MAIJA], sealed[:1], contexts[:1]) == [None]
    assert await custody.count() == (699, 1)


async def test_a_destroyed_key_never_comes_back(custody: Custody, place: Path):
    sealed = await custody.seal(MATTI, b"x", b"")
    assert await custody.destroy([MATTI, MAIJA], 7) == 2
    assert await custody.destroy([MATTI], 8) == 0
    assert await custody.destroyed([MATTI, MAIJA, "p:1"]) == {MATTI: 7, MAIJA: 7}
    again = await Custody.at(place, sealer())
    for one in (custody, again):
        with pytest.raises(KeyDestroyed):
            await one.open(MATTI, sealed, b"")
        for owner in (MATTI, MAIJA):
            with pytest.raises(KeyDestroyed):
                await one.seal(owner, b"x", b"")
    await again.aclose()


async def test_a_key_that_another_process_destroyed_is_not_used_from_the_cache(
    custody: Custody, place: Path
):
    sealed = await custody.seal(MATTI, b"x", b"")
    other = await Custody.at(place, sealer())
    await other.destroy([MATTI])
    with pytest.raises(KeyDestroyed):
        await custody.open(MATTI, sealed, b"")
    assert MATTI not in custody._cache
    await other.aclose()


async def test_the_octets_of_destroyed_keys_leave_the_file_and_its_log(place: Path):
    # Destroyed here and there in a file of many pages, by one process while another reads.
    table = KeyTable(place, sealer(), 10.0, create=True)
    owners = [f"k1:{os.urandom(16).hex()}" for _ in range(3000)]
    for at in range(0, 3000, 250):
        table.find_or_make(owners[at : at + 250], 1)
    wrapped = {owner: row[0] for owner, row in table._rows(table._connected(), owners).items()}
    raw = octets(place)
    assert all(each in raw for each in wrapped.values())
    reader = KeyTable(place, sealer(), 10.0, create=False)
    gone, kept = owners[::3], [owner for at, owner in enumerate(owners) if at % 3]
    for at in range(0, len(gone), 100):
        reader.find(kept[:5])
        table.destroy(gone[at : at + 100], 2)
    raw = octets(place)
    # Neither the whole nor the half of any.
    assert not [owner for owner in gone if wrapped[owner][-40:] in raw]
    assert all(wrapped[owner] in raw for owner in kept)
    assert set(table.find(kept)) == set(kept)
    table.close()
    reader.close()


async def test_a_destruction_waits_for_a_reader_or_says_that_it_is_not_done(place: Path):
    quick = await Custody.at(place, sealer(), timeout=0.5)
    await quick.seal(MATTI, b"x", b"")
    reader = KeyTable(place, sealer(), 0.5, create=False)
    reader._connected().execute("BEGIN")
    reader._connected().execute("SELECT * FROM person_key").fetchall()
    with pytest.raises(RecordsUnavailable):
        await quick.destroy([MATTI])
    patient = await Custody.at(place, sealer(), timeout=30)
    ends = asyncio.get_running_loop().call_later(0.2, reader._connected().execute, "COMMIT")
    await patient.destroy([MATTI])
    assert ends.when() <= asyncio.get_running_loop().time()
    assert MATTI in await patient.destroyed([MATTI])
    reader.close()
    await patient.aclose()
    await quick.aclose()


KILLED = """
import asyncio, sys
from gateway.custody.custody import Custody
from gateway.records.seal import Sealer

async def main():
    custody = await Custody.at(sys.argv[1], Sealer({"c1": bytes(range(32))}, "c1"))
    for number in range(100_000):
        owner = f"k1:{number:032x}"
        await custody.seal(owner, b"x", b"")
        print("sealed", owner, flush=True)
        await custody.destroy([owner], number)
        print("destroyed", owner, flush=True)

asyncio.run(main())
"""


async def test_a_kill_loses_no_key_and_brings_none_back(place: Path):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(place)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    told = [process.stdout.readline() for _ in range(41)]
    os.kill(process.pid, signal.SIGKILL)
    told += process.communicate()[0].splitlines(keepends=True)
    destroyed = {line.split()[1].decode() for line in told if line.startswith(b"destroyed")}
    made = {line.split()[1].decode() for line in told if line.startswith(b"sealed")}
    custody = await Custody.at(place, sealer())
    found = await custody.keys(made, make=False)
    assert set(found) == made
    assert {owner for owner in destroyed if found[owner] is not None} == set()
    assert len(made) - len(destroyed) <= 1
    await custody.aclose()


async def test_keys_are_wrapped_anew_and_the_old_content_key_opens_nothing(place: Path):
    custody = await Custody.at(place, sealer(OLD))
    sealed = await custody.seal_all([MATTI, MAIJA], [b"m", b"k"], [b"", b""])
    await custody.destroy([MAIJA])
    before = octets(place)
    both = sealer(OLD, NEW)
    assert await custody.rewrap(both) == 1
    assert await custody.open(MATTI, sealed[0], b"") == b"m"
    await custody.aclose()
    later = await Custody.at(place, sealer(NEW))
    assert await later.open(MATTI, sealed[0], b"") == b"m"
    assert MAIJA in await later.destroyed([MAIJA])
    await later.aclose()
    with pytest.raises(SealError):
        KeyTable(place, sealer(OLD), 1.0, create=False).find([MATTI])
    # The wrapping of before is gone from the file as well.
    table = KeyTable(place, sealer(NEW), 1.0, create=False)
    (wrapped, _), *_ = table._rows(table._connected(), [MATTI]).values()
    assert wrapped in octets(place)
    assert wrapped not in before
    table.close()


async def test_the_cache_is_bounded(custody: Custody, monkeypatch):
    monkeypatch.setattr(custody_module, "CACHED", 10)
    owners = [f"p:{number}" for number in range(50)]
    sealed = await custody.seal_all(owners, [b"x"] * 50, [b""] * 50)
    assert len(custody._cache) == 10
    assert await custody.open_all(owners, sealed, [b""] * 50) == [b"x"] * 50


async def test_two_processes_agree_on_one_key(place: Path):
    first, second = await asyncio.gather(Custody.at(place, sealer()), Custody.at(place, sealer()))
    owners = [f"p:{number}" for number in range(300)]
    ours, theirs = await asyncio.gather(first.keys(owners), second.keys(reversed(owners)))
    assert ours == theirs
    await first.aclose()
    await second.aclose()


async def test_a_file_that_vanishes_is_not_begun_anew(custody: Custody, place: Path):
    await custody.seal(MATTI, b"x", b"")
    with pytest.raises(RecordsUnavailable):
        await Custody.at(place.with_name("other.sqlite"), sealer(), create=False)
    again = await Custody.at(place, sealer(), create=False)
    place.unlink()
    with pytest.raises(RecordsUnavailable):
        await again.seal(MATTI, b"x", b"")
    assert not place.exists()
    await again.aclose()


async def test_another_file_is_refused(tmp_path: Path):
    wrong = tmp_path / "text"
    wrong.write_bytes(base64.b64encode(bytes(3000)))
    with pytest.raises(InputError, match="not a file of people's keys"):
        await Custody.at(wrong, sealer())
