"""Archives of earlier versions, as the programs of those versions wrote them.

``archives/versionN.sql`` is what ``.dump`` says of one: a message of two recipients with
outcome, event and rule set, its content, and a held message.
"""

import asyncio
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from gateway.contacts.contact import Channel
from gateway.failure import InputError, RecordsUnavailable
from gateway.held.message import State
from gateway.held.store import HeldStore
from gateway.records import schema
from gateway.records.archive import Archive
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.record import Result
from gateway.records.seal import Sealer
from tests.peers.postgresql import sql

SEALER = Sealer({"c1": bytes(range(32))}, "c1")
RECORDED, HELD = "01R0000000000000000000000A", "01R0000000000000000000000B"


@pytest.fixture(params=[2, 3, 4])
def version(request) -> int:
    return request.param


@pytest.fixture
def old(archive_place: Path | str, version: int) -> Path | str:
    """Where an archive of an earlier version is."""
    dump = Path(__file__).with_name("archives") / f"version{version}.sql"
    sql(archive_place, *filter(str.strip, dump.read_text().split(";\n")))
    return archive_place


def columns(place: Path | str) -> set[tuple[str, str, bool]]:
    """Each column of each table, and whether it must be there."""
    if isinstance(place, Path):
        return set(
            sql(
                place,
                'SELECT m.name, c.name, c."notnull" FROM sqlite_master m, pragma_table_info(m.name)'
                " c WHERE m.type = 'table'",
            )
        )
    return set(
        sql(
            place,
            "SELECT table_name, column_name, is_nullable FROM information_schema.columns "
            "WHERE table_schema = 'public'",
        )
    )


def indices(place: Path | str) -> set[tuple[str]]:
    if isinstance(place, Path):
        return set(
            sql(place, "SELECT name FROM sqlite_master WHERE type='index' AND sql IS NOT NULL")
        )
    return set(
        sql(
            place,
            "SELECT indexname FROM pg_indexes WHERE schemaname = 'public' "
            "AND indexname NOT LIKE '%_pkey'",
        )
    )


async def test_it_is_brought_to_this_version_with_all_that_is_in_it(old, tmp_path, request):
    opened = await asyncio.gather(*(Database.open(old) for _ in range(3)))
    for other in opened[1:]:
        await other.aclose()
    database = opened[0]
    assert sql(old, "SELECT schema_version FROM archive") == [(schema.SCHEMA_VERSION,)]
    archive = Archive(database, SEALER)
    verification = await archive.verify()
    assert (verification.links, verification.faults) == (6, ())
    shown = await archive.show(RECORDED)
    assert (shown.address, shown.headers) == ("matti@example.fi", b"Subject: x\r\n")
    assert [outcome.result for outcome in shown.outcomes] == [Result.SUPPRESSED]

    contents = ContentStore(database, SEALER)
    store = HeldStore(database, SEALER, contents)
    (held,) = await store.list()
    assert (held.state, held.message.recipients[0].record_id) == (State.HELD, HELD)
    assert (held.message.channel, held.next_try) == (Channel.EMAIL, None)
    await store.claim(held.id)
    pieces = [piece async for piece in store.open_content(held.id)]
    assert b"".join(pieces).endswith(b"Hei\r\n")
    await store.mark_released(held.id, "anna", "checked", 1)
    await database.aclose()

    # Nobody can tell it from one that was made at this version.
    if isinstance(old, Path):
        new: Path | str = tmp_path / "new.sqlite"
    else:
        new = request.getfixturevalue("postgresql").database()
    await (await Database.open(new)).aclose()
    assert columns(old) == columns(new)
    assert indices(old) == indices(new)


async def test_a_process_of_the_old_version_goes_on_writing(old, version):
    names = (
        "state, created, message_id, client, upstream, kind, topic, content_id, "
        "sealed_envelope, ended, person, reason"
    )
    await (await Database.open(old)).aclose()
    sql(old, f"INSERT INTO held (id, {names}) SELECT 'another', {names} FROM held")
    assert sql(old, "SELECT channel, due FROM held") == [("email", None)] * 2


@pytest.mark.parametrize("version", [2], indirect=True)
async def test_who_must_not_make_an_archive_does_not_change_one(old):
    with pytest.raises((InputError, RecordsUnavailable), match="schema version 2"):
        await Database.open(old, create=False)
    assert sql(old, "SELECT schema_version FROM archive") == [(2,)]


KILLED = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from gateway.records import migration
    from gateway.records.database import Database

    last = max(migration._STEPS)

    async def and_dies(connection, step=migration._STEPS[last]):
        await step(connection)
        os.kill(os.getpid(), signal.SIGKILL)

    migration._STEPS[last] = and_dies
    place = sys.argv[1]
    asyncio.run(Database.open(place if "://" in place else Path(place)))
"""


@pytest.mark.parametrize("version", [2], indirect=True)
async def test_killed_between_its_steps_it_is_the_old_one_and_can_be_brought_again(old):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(old)],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    before = columns(old)
    assert ("held", "due") not in {(table, column) for table, column, _ in before}
    assert "act" not in {table for table, _, _ in before}
    assert sql(old, "SELECT schema_version FROM archive") == [(2,)]
    database = await Database.open(old)
    assert (await Archive(database, SEALER).verify()).whole
    await database.aclose()
