"""Backup and restore within one process: what is refused, and what a fault leaves."""

import hashlib
import json
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest

from gateway.backup.gap import Gap
from gateway.backup.manifest import Manifest, fingerprints
from gateway.backup.restoring import restore
from gateway.backup.taking import take
from gateway.clock import now_ms
from gateway.contacts.parse import parse_email
from gateway.custody.custody import Custody
from gateway.failure import InputError
from gateway.held.message import State
from gateway.keyfile import add_key
from gateway.records.act import Action
from gateway.records.database import Database
from gateway.records.recorder import Recorder
from gateway.register.lock import FolderLock
from gateway.register.whole import NotWhole
from gateway.serve.keys import sealer
from gateway.serve.rebuilding import rebuild
from gateway.serve.stores import open_stores
from gateway.settings.load import load_settings
from gateway.unsubscribe.link import Links
from tests.held.test_store import message as held_message
from tests.peers.postgresql import sql
from tests.peers.process import Tongue, tables, write_config


async def pieces():
    yield b"Subject: x\r\n\r\nHei\r\n"


class House:
    """A configuration, its archive, and what happens there."""

    def __init__(self, folder: Path, url: str | None, make_message, rules) -> None:
        self.folder = folder
        changes = {"records": {"url": url}} if url else {}
        self.config = write_config(folder, tables(**changes))
        self.settings = load_settings(self.config)
        self.place = url or self.settings.records.archive
        self.backup, self.keys = folder / "backup", folder / "keys"
        self._make, self._rules = make_message, rules

    async def happen(self, *banned: str) -> None:
        """A message, a held one, and bans; all archived."""
        async with open_stores(self.settings) as stores:
            recorder = Recorder(stores.register.connections.wire, stores.seal)
            await recorder.announce(self._rules)
            content = await stores.contents.put(f"c{now_ms()}", pieces())
            message = self._make(2, decided=now_ms(), content=content)
            await recorder.append(message, b"Subject: x\r\n", ["a@b.fi"] * 2, "c@d.fi")
            await recorder.aclose()
            await stores.held.commit(await stores.held.prepare(held_message(content)))
            await Tongue(stores.register).ban(*banned)
            await stores.catch_up()

    async def take(self) -> Manifest:
        return await take(
            self.settings, self.config, self.backup, by="anna", reason="nightly", keys=self.keys
        )

    async def restore(self, folder: Path | None = None, **how):
        return await restore(self.config, folder or self.backup, by="anna", **how)

    async def seen(self) -> dict[str, object]:
        """What of the archive matters to people."""
        async with open_stores(self.settings) as stores:
            verification = await stores.archive.verify()
            return {
                "records": len(await stores.archive.search()),
                "events": len([body async for body in stores.events.all()]),
                "held": sorted(one.state for one in await stores.held.list(list(State))),
                "faults": verification.faults,
                "head": verification.head,
            }


@pytest.fixture
def house(archive_place, tmp_path, make_message, rules) -> House:
    url = archive_place if isinstance(archive_place, str) else None
    return House(tmp_path, url, make_message, rules)


in_a_file = pytest.mark.parametrize("archive_place", ["sqlite"], indirect=True)


async def test_both_acts_are_in_the_journal_with_who_and_why(house):
    await house.happen("b@example.com")
    manifest = await house.take()
    await house.restore(force=True, reason="an exercise")
    acts = sql(house.place, "SELECT action, actor, reason, detail FROM act ORDER BY at")
    assert [act[:3] for act in acts] == [
        (Action.BACKUP, "anna", "nightly"),
        (Action.RESTORE, "anna", "an exercise"),
    ]
    assert json.loads(acts[1][3])["backup_seq"] == manifest.seq
    seen = await house.seen()
    assert seen["faults"] == ()
    # What a copy without its keys shows of people is nothing.
    octets = b"".join(path.read_bytes() for path in house.backup.rglob("*") if path.is_file())
    for word in (b"b@example.com", b"a@b.fi", b"Subject: x", b"Hei"):
        assert word not in octets


@in_a_file
async def test_a_backup_is_whole_or_not_there(house, monkeypatch):
    await house.happen()
    (house.folder / "backup").mkdir()
    (house.folder / "backup" / "note").touch()
    with pytest.raises(InputError, match="is there already"):
        await house.take()
    (house.folder / "backup" / "note").unlink()
    with pytest.raises(InputError, match="apart"):
        await take(
            house.settings, house.config, house.backup, by="anna", keys=house.backup / "keys"
        )
    monkeypatch.setattr(Manifest, "to_json", lambda _: 1 / 0)
    before = sorted(house.folder.iterdir())
    with pytest.raises(ZeroDivisionError):
        await house.take()
    assert sorted(house.folder.iterdir()) == before
    assert not any(house.backup.iterdir())


@in_a_file
async def test_a_changed_backup_is_refused_and_changes_nothing(house):
    await house.happen("b@example.com")
    await house.take()
    before = await house.seen()
    archive = house.backup / "archive.sqlite"
    with closing(sqlite3.connect(archive)) as connection, connection:
        connection.execute("UPDATE event SET kind='lift'")
    with pytest.raises(InputError, match="not as the manifest has it"):
        await house.restore(force=True)
    # Whoever changes the manifest as well is found by the chain.
    path = house.backup / "manifest.json"
    manifest = json.loads(path.read_text())
    octets = archive.read_bytes()
    noted = {"size": len(octets), "sha256": hashlib.sha256(octets).hexdigest()}
    manifest["files"]["archive.sqlite"] = noted
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"event .* was changed"):
        await house.restore(force=True)
    manifest["files"]["../config.toml"] = noted
    path.write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="outside the backup"):
        await house.restore(force=True)
    for text in ("{}", "[]", '{"format": 9}', "?"):
        path.write_text(text)
        with pytest.raises(InputError, match="manifest"):
            await house.restore(force=True)
    with pytest.raises(InputError, match="name a backup's folder"):
        await house.restore(house.folder, force=True)
    assert await house.seen() == before
    assert not list(house.folder.rglob("*.restoring*"))


@in_a_file
async def test_other_keys_a_running_gateway_and_an_archive_that_is_there_stop_a_restore(house):
    await house.happen()
    await house.take()
    before = await house.seen()
    with pytest.raises(InputError, match="--force"):
        await house.restore()
    with FolderLock(house.settings.data_dir / "gateway.lock") as lock:
        assert lock.try_exclusive()
        with pytest.raises(InputError, match="a gateway runs"):
            await house.restore(force=True)
    for name in ("digest-keys.json", "content-keys.json"):
        path = house.settings.data_dir / "secrets" / name
        mine = path.read_text()
        other = json.loads(mine)
        other["keys"] = dict.fromkeys(other["keys"], "ab" * 32)
        path.write_text(json.dumps(other))
        with pytest.raises(InputError, match="put the keys back"):
            await house.restore(force=True)
        path.write_text(mine)
    assert await house.seen() == before


@pytest.mark.parametrize("archive_place", ["postgresql"], indirect=True)
async def test_nobody_else_may_be_connected_to_a_server_s_archive(house):
    await house.happen()
    await house.take()
    other = await Database.open(house.place)
    with pytest.raises(InputError, match="stop every gateway"):
        await house.restore(force=True)
    await other.aclose()
    await house.restore(force=True)


async def test_a_restore_that_fails_at_the_last_step_leaves_the_archive_as_it_was(
    house, monkeypatch
):
    await house.happen()
    await house.take()
    await house.happen("b@example.com")
    before = await house.seen()
    with monkeypatch.context() as broken:
        if isinstance(house.place, Path):
            broken.setattr(Path, "replace", lambda *_: 1 / 0)
        else:
            # Within the transaction, when the old tables have gone and new ones are filled.
            broken.setattr("gateway.backup.transfer._LARGE", {"request": "not a number"})
        with pytest.raises((ZeroDivisionError, TypeError)):
            await house.restore(force=True)
    assert await house.seen() == before
    await house.restore(force=True)
    after = await house.seen()
    assert (after["records"], after["events"], after["faults"]) == (4, 1, ())


KILLED = """
    import asyncio, os, signal, sys
    from pathlib import Path
    from gateway.backup import restoring, transfer

    def dying(owner, name, after):
        work = getattr(owner, name)

        def died(*arguments, **named):
            if after:
                work(*arguments, **named)
            os.kill(os.getpid(), signal.SIGKILL)

        setattr(owner, name, died)

    config, folder, point = sys.argv[1:]
    match point:
        case "united":
            dying(restoring, "_record", after=True)
        case "kept":
            dying(Path, "replace", after=False)
        case "exchanged":
            dying(Path, "replace", after=True)
        case "loading":
            dying(transfer, "_portions", after=False)
    asyncio.run(restoring.restore(Path(config), Path(folder), by="anna", force=True))
"""


@pytest.mark.parametrize(
    ("archive_place", "point", "done"),
    [
        ("sqlite", "united", False),
        ("sqlite", "kept", False),
        ("sqlite", "exchanged", True),
        ("postgresql", "loading", False),
    ],
    indirect=["archive_place"],
)
async def test_killed_anywhere_the_archive_is_the_old_one_or_the_new_one(house, point, done):
    await house.happen()
    await house.take()
    await house.happen("b@example.com")
    before = await house.seen()
    killed = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), house.config, house.backup, point],
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    after = await house.seen()
    if done:
        # The restore itself is one row more.
        assert after.pop("head") != before.pop("head")
    assert after == before
    if not done:
        await house.restore(force=True)
        assert (await house.seen())["faults"] == ()
    assert not list(house.folder.rglob("*.restoring*"))


@in_a_file
async def test_a_backup_of_a_damaged_archive_says_so_and_comes_back_by_force_alone(house):
    await house.happen("b@example.com")
    sql(house.place, "UPDATE event SET kind='lift'")
    manifest = await house.take()
    assert [fault.split(" (")[0].split()[0] for fault in manifest.faults] == ["event"]
    house.place.unlink()
    with pytest.raises(InputError, match="was not whole"):
        await house.restore()
    assert not house.place.exists()
    done = await house.restore(force=True)
    assert done.verification.faults == manifest.faults


@in_a_file
async def test_an_archive_that_cannot_be_read_is_kept_and_what_it_had_is_told(house):
    await house.happen()
    await house.take()
    await house.happen("b@example.com")
    octets = bytearray(house.place.read_bytes())
    octets[100:8192] = bytes(8092)
    house.place.write_bytes(octets)
    with pytest.raises(InputError, match="--from-backup-only"):
        await house.restore(force=True)
    assert house.place.read_bytes() == octets
    done = await house.restore(force=True, backup_only=True)
    assert Path(done.replaced).read_bytes()[100:] == octets[100:]
    assert done.carried is None
    assert done.doubted == 1
    events = [gap for gap in done.gaps if gap.stream.endswith(":ev")]
    assert [gap.certain for gap in events] == [True]
    # What is gone is passed over; nobody waits for it.
    told = sql(house.place, "SELECT stream, last FROM cursor")
    assert {(gap.stream, gap.last) for gap in done.gaps} <= set(told)
    seen = await house.seen()
    # The ban is in force and its event is gone, which is what the gap says.
    assert (seen["records"], seen["events"], seen["faults"]) == (2, 0, ())
    assert seen["held"] == ["uncertain"]


@in_a_file
async def test_no_register_is_made_from_a_restored_archive_that_lacks_its_bans(house):
    await house.happen()
    await house.take()
    await house.happen("b@example.com")
    house.place.unlink()
    await house.restore()
    async with open_stores(house.settings) as stores:
        # In force, and so it stays: the register has it, and the archive does not.
        (standing,) = await stores.register.look_up([parse_email("b@example.com")])
        assert standing.exact.bans
        await stores.register.connections.stream.flushall()
        with pytest.raises(InputError, match="lack bans"):
            await rebuild(stores.register, stores.events, stores.ring.key_ids)
        with pytest.raises(NotWhole):
            await stores.register.look_up([parse_email("b@example.com")])


@in_a_file
async def test_what_waits_in_the_streams_is_no_gap(house):
    await house.happen("b@example.com")
    await house.take()
    house.place.unlink()
    done = await house.restore()
    # Trimmed as far as the backup has it, and nothing since.
    assert [gap for gap in done.gaps if gap.stream.endswith(":ev")] == []


async def test_on_a_new_machine_backup_and_keys_are_enough_in_either_kind_of_database(
    house, postgresql, monkeypatch
):
    await house.happen("b@example.com")
    await house.take()
    new = house.folder / "new"
    new.mkdir()
    config = new / "config.toml"
    if isinstance(house.place, str):
        monkeypatch.setenv("GATEWAY_RECORDS__URL", postgresql.database())
    with pytest.raises(InputError, match="key file"):
        await restore(config, house.backup, by="anna")
    assert not config.exists()
    (new / "data").mkdir(exist_ok=True)
    shutil.copytree(house.keys, new / "data" / "secrets")
    # Other people's keys, as of a gateway that was started here before.
    theirs, people = house.settings.records.keys, new / "data" / "keys.sqlite"
    custody = await Custody.at(people, sealer(house.settings))
    await custody.aclose()
    with pytest.raises(InputError, match="not the keys"):
        await restore(config, house.backup, by="anna")
    people.unlink()
    done = await restore(config, house.backup, by="anna")
    assert (done.placed, done.gaps, done.doubted) == ((config,), None, 1)
    assert done.keyless == str(people)
    shutil.copyfile(theirs, people)
    people.chmod(0o600)
    settings = load_settings(config)
    async with open_stores(settings) as stores:
        found = await stores.archive.search()
        assert len(found) == 2
        assert (await stores.archive.show(found[0].record_id)).address == "a@b.fi"
        assert (await stores.archive.verify()).whole


@in_a_file
async def test_keys_of_links_go_along_and_are_missed(house):
    await house.happen()
    file = house.settings.unsubscribe.key_file
    assert "link" not in (await house.take()).keys
    assert not (house.keys / file.name).exists()
    shutil.rmtree(house.keys)
    shutil.rmtree(house.backup)
    Links.load_or_create(file)
    manifest = await house.take()
    copy = house.keys / file.name
    assert copy.read_bytes() == file.read_bytes()
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert manifest.keys["link"] == fingerprints(file)
    assert (await house.restore(force=True)).linkless == ""
    # A key that was added since is no loss; one that is gone, or another's, is told.
    add_key(file)
    assert (await house.restore(force=True)).linkless == ""
    file.unlink()
    assert (await house.restore(force=True)).linkless == str(file)
    Links.load_or_create(file)
    assert (await house.restore(force=True)).linkless == str(file)
    # A file that cannot be read stops it before anything changes.
    before = await house.seen()
    file.write_text("{}")
    with pytest.raises(InputError, match="not a key file"):
        await house.restore(force=True)
    assert await house.seen() == before


async def test_an_archive_moves_from_a_file_into_a_server_and_back(house, postgresql, monkeypatch):
    await house.happen("b@example.com")
    await house.take()
    before = await house.seen()
    if isinstance(house.place, str):
        house.config = write_config(house.folder, tables())
    else:
        url = postgresql.database()
        house.config = write_config(house.folder, tables(records={"url": url}))
    house.settings = load_settings(house.config)
    done = await house.restore()
    assert done.differs == (house.config,)
    after = await house.seen()
    assert (after["records"], after["events"], after["faults"]) == (2, 1, ())
    assert before["records"] == after["records"]


def test_a_gap_is_what_was_trimmed_beyond_the_cursor():
    from gateway.backup.gap import _gap

    def gap(cursor, last, first, trimmed):
        return _gap("s", cursor, [last, first, trimmed])

    assert gap("5-0", b"9-0", b"", 3) == Gap("s", 5, 9, certain=True, last="9-0")
    assert gap("5-0", b"9-0", b"7-0", 3) == Gap("s", 5, 7, certain=False, last="9-0")
    assert gap("5-0", b"9-0", b"5-0", 3) is None
    assert gap("5-0", b"9-0", b"7-0", 0) is None
    assert gap("9-0", b"9-0", b"", 3) is None
    assert gap("0-0", b"0-0", b"", 0) is None
