"""Whoever can write the archive can make a new chain, and cannot sign it."""

import os
import sqlite3
import stat
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failure import InputError
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.checkpoint import Checkpoint, CheckpointFile
from gateway.records.checkpointing import Checkpointer
from gateway.records.line import DIGEST, digest_of, link
from gateway.records.recorder import Recorder
from gateway.records.signing import Signer, Verifier


@pytest.fixture(scope="module")
def signer(tmp_path_factory) -> Signer:
    return Signer.load_or_create(tmp_path_factory.mktemp("key") / "secrets" / "signing-key.pem")


class Signed:
    """An archive of three batches, each with a checkpoint behind it."""

    def __init__(self, archive: Archive, path: Path, file: CheckpointFile, signer: Signer) -> None:
        self.archive, self.path, self.file, self.signer = archive, path, file, signer
        self.ids: list[str] = []
        """Of the records, in the order of the chain."""
        self.seqs: list[int] = []

    async def faults(self, *, noted: bool = True) -> tuple[str, ...]:
        found = await self.archive.verify(self.signer.verifier, self.file.read() if noted else None)
        return found.faults

    def run(self, *statements: str) -> None:
        connection = sqlite3.connect(self.path)
        with connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    def rechain(self) -> None:
        """What a forger does who knows all but the signing key: a whole new chain."""
        connection = sqlite3.connect(self.path)
        connection.row_factory = sqlite3.Row
        head, seq = bytes(DIGEST), 0
        with connection:
            for old in connection.execute("SELECT * FROM chain ORDER BY seq").fetchall():
                rows = []
                for row_id in orjson.loads(old["ids"]):
                    found = connection.execute(
                        f"SELECT * FROM {old['kind']} WHERE id = ?", (row_id,)
                    ).fetchone()
                    if found is not None:
                        rows.append((row_id, digest_of(old["kind"], dict(found))))
                connection.execute("DELETE FROM chain WHERE seq = ?", (old["seq"],))
                if rows:
                    digests = b"".join(digest for _, digest in rows)
                    head, seq = link(head, digests), seq + len(rows)
                    ids = orjson.dumps([row_id for row_id, _ in rows]).decode()
                    connection.execute(
                        "INSERT INTO chain VALUES (?, ?, ?, ?, ?)",
                        (seq, old["kind"], ids, digests, head),
                    )
            connection.execute("UPDATE archive SET seq = ?, head = ?", (seq, head))
        connection.close()


@pytest.fixture
def archive_place(tmp_path: Path) -> Path:
    """A file: the forger's tools are SQLite's."""
    return tmp_path / "archive.sqlite"


@pytest.fixture
async def signed(
    wire, sealer, archive: Archive, database, rules, make_message, signer, tmp_path
) -> Signed:
    file = CheckpointFile(tmp_path / "checkpoints.ndjson")
    place = Signed(archive, database.path, file, signer)
    checkpointer = Checkpointer(archive, signer, file)
    assert await checkpointer.now() is None
    for _ in range(3):
        recorder = Recorder(wire, sealer)
        await recorder.announce(rules)
        for _ in range(4):
            message = make_message(2)
            await recorder.append(message, b"Subject: x\r\n", ["a@b.fi", "c@d.fi"])
            place.ids += [one.id for one in message.recipients]
        await recorder.aclose()
        await Archiver(wire, archive).run_once()
        made = await checkpointer.now()
        assert made is not None
        assert await checkpointer.now() == made  # nothing new: nothing signed
        place.seqs.append(made.seq)
    return place


async def test_what_nobody_touched_is_whole_and_signed_to_its_end(signed: Signed):
    found = await signed.archive.verify(signed.signer.verifier, signed.file.read())
    assert (found.faults, found.signed, found.links) == ((), signed.seqs[-1], signed.seqs[-1])
    assert [one.seq for one in signed.file.read()] == signed.seqs
    # Without the file the archive's own checkpoints vouch for it.
    assert await signed.faults(noted=False) == ()


CHANGE = "UPDATE record SET rule = 'R40' WHERE id = '{id}'"
REMOVE = "DELETE FROM record WHERE id = '{id}'"
ADD = (
    "INSERT INTO record SELECT 'forged', message_id, client, decided, digest, outcome, rule, "
    "address_class, tier, facts, register_position, retain_until, sealed_address, result, "
    "result_at FROM record WHERE id = '{id}'"
)


@pytest.mark.parametrize(
    ("statement", "word"),
    [
        (CHANGE, "record {id} (link {n}) was changed"),
        (REMOVE, "record {id} (link {n}) is missing"),
        (ADD, "record forged was added"),
    ],
)
async def test_a_row_changed_removed_or_added_is_named(signed: Signed, statement, word):
    at = next(i for i in range(8) if i % 2)  # one that was suppressed
    row_id = signed.ids[at]
    signed.run(statement.format(id=row_id))
    (fault,) = await signed.faults()
    assert fault == word.format(id=row_id, n=fault.partition("link ")[2].partition(")")[0])


@pytest.mark.parametrize(("statement", "batch"), [(CHANGE, 1), (REMOVE, 1), (CHANGE, 2)])
async def test_a_chain_made_anew_after_a_change_is_not_what_was_signed(
    signed: Signed, statement, batch
):
    signed.run(statement.format(id=signed.ids[8 * batch + 1]))
    signed.rechain()
    assert (await signed.archive.verify()).whole  # the chain alone knows of nothing
    for noted in (True, False):
        faults = await signed.faults(noted=noted)
        assert len(faults) == 3 - batch
        good = signed.seqs[batch - 1]
        assert f"checkpoint at link {signed.seqs[batch]}" in faults[0]
        assert f"(whole up to link {good})" in faults[0]


async def test_a_row_put_in_with_a_chain_made_anew_is_found(signed: Signed):
    signed.run(
        ADD.format(id=signed.ids[9]),
        "UPDATE chain SET ids = json_insert(ids, '$[#]', 'forged') "
        "WHERE kind = 'record' AND seq > (SELECT min(seq) FROM chain WHERE kind = 'record')",
    )
    signed.rechain()
    assert (await signed.archive.verify()).whole
    assert await signed.faults()


def cut(signed: Signed, *, checkpoints: bool) -> None:
    """Take away everything behind the second checkpoint, leaving no trace in the chain."""
    ids = ",".join(f"'{one}'" for one in signed.ids[16:])
    signed.run(
        f"DELETE FROM message WHERE id IN (SELECT message_id FROM record WHERE id IN ({ids}))",
        f"DELETE FROM record WHERE id IN ({ids})",
    )
    signed.rechain()
    if checkpoints:
        signed.run(f"DELETE FROM checkpoint WHERE seq > {signed.seqs[1]}")


async def test_a_tail_that_was_cut_off_is_missed_by_the_checkpoint(signed: Signed):
    cut(signed, checkpoints=False)
    assert (await signed.archive.verify()).whole
    (fault,) = await signed.faults(noted=False)
    assert f"link {signed.seqs[2]}" in fault
    assert f"cut off (whole up to link {signed.seqs[1]})" in fault


async def test_a_tail_cut_off_with_its_checkpoint_is_missed_by_the_file(signed: Signed):
    cut(signed, checkpoints=True)
    assert (await signed.archive.verify()).whole
    assert await signed.faults(noted=False) == ()  # only what is kept elsewhere can tell
    (fault,) = await signed.faults()
    assert f"noted checkpoint at link {signed.seqs[2]}" in fault
    assert "cut off" in fault


@pytest.mark.parametrize("which", [0, 1])
async def test_a_checkpoint_taken_out_is_missed_by_the_next(signed: Signed, which):
    signed.run(f"DELETE FROM checkpoint WHERE seq = {signed.seqs[which]}")
    (fault,) = await signed.faults(noted=False)
    assert f"checkpoint at link {signed.seqs[which + 1]}" in fault
    assert "the one before it was removed" in fault
    assert f"noted checkpoint at link {signed.seqs[which]}" in (await signed.faults())[1]


async def test_checkpoints_that_all_vanished_are_missed(signed: Signed):
    signed.run("DELETE FROM checkpoint")
    assert len(await signed.faults()) == 3
    signed.file.path.write_bytes(b"")
    # With both gone nothing is left to hold against; with the file alone it shows.
    assert await signed.faults() == ()


async def test_a_file_that_was_emptied_shows(signed: Signed):
    signed.file.path.unlink()
    (fault,) = await signed.faults()
    assert "the file is gone" in fault


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoint SET head = zeroblob(32)",
        "UPDATE checkpoint SET at = at + 1",
        "UPDATE checkpoint SET signature = zeroblob(64)",
        "UPDATE checkpoint SET signature = 'text'",
        "UPDATE checkpoint SET key = '0123456789abcdef'",
        "UPDATE checkpoint SET seq = seq + 1000",
    ],
)
async def test_a_checkpoint_that_was_changed_or_forged_is_found(signed: Signed, change):
    signed.run(f"{change} WHERE seq = {signed.seqs[2]}")
    faults = await signed.faults(noted=False)
    assert len(faults) == 1
    assert "checkpoint at link" in faults[0]


async def test_somebody_else_s_signature_is_no_signature(signed: Signed, tmp_path):
    forger = Signer.load_or_create(tmp_path / "forger.pem")
    signed.run(CHANGE.format(id=signed.ids[1]))
    signed.rechain()
    connection = sqlite3.connect(signed.path)
    with connection:
        previous = 0
        for seq in signed.seqs:
            (head,) = connection.execute("SELECT hash FROM chain WHERE seq = ?", (seq,)).fetchone()
            # Under the true key's name, which only the true key can sign for.
            forged = Checkpoint(seq, 1, head, previous, signed.signer.id).signed(forger)
            connection.execute(
                "UPDATE checkpoint SET at = 1, head = ?, signature = ? WHERE seq = ?",
                (head, forged.signature, seq),
            )
            previous = seq
    connection.close()
    faults = await signed.faults(noted=False)
    assert len(faults) == 3
    assert all("changed or forged" in fault for fault in faults)
    # Of an archive that is whole, but signed with a key that was replaced:
    strange = await signed.archive.verify(forger.verifier, None)
    assert all("another key" in fault for fault in strange.faults)


async def test_a_key_that_was_replaced_still_vouches_when_it_is_shown(signed: Signed, tmp_path):
    newer = Signer.load_or_create(tmp_path / "newer.pem")
    signed.signer.export(tmp_path / "older.pub")
    verifier = newer.verifier | Verifier.load(tmp_path / "older.pub")
    assert (await signed.archive.verify(verifier, signed.file.read())).whole


async def test_it_is_signed_after_so_many_rows_or_minutes(
    wire, sealer, archive, rules, make_message, signer, tmp_path
):
    now = [1_000_000]
    file = CheckpointFile(tmp_path / "file")
    checkpointer = Checkpointer(archive, signer, file, every=60_000, rows=10, clock=lambda: now[0])
    archiver = Archiver(wire, archive, checkpointer=checkpointer)

    async def add(messages: int) -> int:
        recorder = Recorder(wire, sealer)
        await recorder.announce(rules)
        for _ in range(messages):
            await recorder.append(make_message(1), None, ["a@b.fi"])
        await recorder.aclose()
        await archiver.run_once()
        return len(file.read())

    assert await add(1) == 1  # at the start
    assert await add(1) == 1
    now[0] += 60_000
    assert await add(1) == 2
    assert await add(20) == 3
    # A file that cannot be written stops nothing, and gets all when it can be.
    away = tmp_path / "away"
    file.path.rename(away)
    file.path.mkdir()
    await add_quietly(archiver, checkpointer)
    now[0] += 60_000
    assert (await archive.checkpoint(signer, now[0])) is not None
    file.path.rmdir()
    away.rename(file.path)
    await checkpointer.now()
    assert [one.seq for one in file.read()] == [one.seq for one in await archive.checkpoints()]


async def add_quietly(archiver: Archiver, checkpointer: Checkpointer) -> None:
    await archiver.run_once()
    await checkpointer.now()


@given(
    st.builds(
        Checkpoint,
        seq=st.integers(0, 2**62),
        at=st.integers(0, 2**50),
        head=st.binary(min_size=32, max_size=32),
        previous=st.integers(0, 2**62),
        key=st.text("0123456789abcdef", min_size=16, max_size=16),
        signature=st.binary(min_size=64, max_size=64),
    )
)
def test_a_line_of_the_file_reads_back(checkpoint: Checkpoint):
    assert Checkpoint.from_line(checkpoint.to_line()) == checkpoint


@given(st.binary(max_size=40) | st.just(b'{"seq":1,"at":2}') | st.just(b"[]"))
def test_any_other_line_is_refused_in_words(line: bytes):
    with pytest.raises(InputError):
        Checkpoint.from_line(line)


def test_a_line_that_a_killed_process_left_half_is_mended(tmp_path):
    file = CheckpointFile(tmp_path / "file")
    one, two = (Checkpoint(n, n, bytes(32), n - 1, "a" * 16, bytes(64)) for n in (1, 2))
    file.append([one])
    whole = file.path.read_bytes()
    file.path.write_bytes(whole + two.to_line()[:50])
    assert file.read() == [one]
    file.append([two])
    assert file.read() == [one, two]
    file.path.write_bytes(whole + b"nonsense\n")
    with pytest.raises(InputError, match=":2:"):
        file.read()


def test_the_signing_key_is_made_once_and_kept_from_others(tmp_path):
    path = tmp_path / "secrets" / "signing-key.pem"
    made = Signer.load_or_create(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Signer.load_or_create(path).id == made.id
    made.export(tmp_path / "pub")
    assert Verifier.load(tmp_path / "pub").knows(made.id)
    assert b"PRIVATE" not in (tmp_path / "pub").read_bytes()
    assert "PRIVATE" not in repr(made)
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        Signer.load(path)
    path.chmod(0o600)
    for text in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"):
        path.write_bytes(text)
        with pytest.raises(InputError, match="not a private key"):
            Signer.load(path)
        with pytest.raises(InputError, match="not a public key"):
            Verifier.load(path)


def test_many_processes_that_start_at_once_have_one_key(tmp_path):
    children = []
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            try:
                Signer.load_or_create(tmp_path / "key.pem")
            finally:
                os._exit(0)
        children.append(pid)
    for pid in children:
        os.waitpid(pid, 0)
    assert [each.name for each in tmp_path.iterdir()] == ["key.pem"]
