import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failure import InputError
from gateway.keyfile import add_key, drop_key
from gateway.records.seal import OVERHEAD, Sealer, SealError

KEY, OTHER = bytes(range(32)), bytes(range(1, 33))


@given(st.binary(max_size=200), st.binary(max_size=20))
def test_what_is_sealed_opens_with_its_context_only(data: bytes, context: bytes):
    sealer = Sealer({"c1": KEY}, "c1")
    sealed = sealer.seal(data, context)
    assert len(sealed) == len(data) + OVERHEAD
    assert Sealer({"c1": KEY}, "c1").open(sealed, context) == data
    with pytest.raises(SealError):
        sealer.open(sealed, context + b"x")


@given(st.binary(min_size=1, max_size=50), st.integers(0))
def test_any_changed_octet_is_noticed(data: bytes, where: int):
    sealer = Sealer({"c1": KEY}, "c1")
    sealed = bytearray(sealer.seal(data, b"here"))
    sealed[where % len(sealed)] ^= 1
    with pytest.raises(SealError):
        sealer.open(bytes(sealed), b"here")


@given(st.binary(max_size=80))
def test_anything_else_is_a_seal_error(data: bytes):
    with pytest.raises(SealError):
        Sealer({"c1": KEY}, "c1").open(data, b"")


def test_an_old_key_still_opens_and_a_missing_one_is_said():
    old = Sealer({"c1": KEY}, "c1").seal(b"data", b"here")
    both = Sealer({"c1": KEY, "c2": OTHER}, "c2")
    assert both.open(old, b"here") == b"data"
    new = both.seal(b"data", b"here")
    with pytest.raises(SealError, match="key that is not here"):
        Sealer({"c1": KEY}, "c1").open(new, b"here")


def test_no_nonce_is_used_twice_by_threads_or_after_a_fork():
    sealer = Sealer({"c1": KEY}, "c1")
    with ThreadPoolExecutor(8) as pool:
        heads = list(pool.map(lambda _: sealer.seal(b"x", b"")[:29], range(2000)))
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, sealer.seal(b"x", b"")[:29])
        os._exit(0)
    os.waitpid(child, 0)
    heads += [os.read(read, 29), sealer.seal(b"x", b"")[:29]]
    os.close(read)
    os.close(write)
    assert len(set(heads)) == len(heads)


@given(st.lists(st.tuples(st.binary(max_size=60), st.binary(max_size=20)), max_size=6))
def test_many_are_sealed_as_one_is(pairs: list[tuple[bytes, bytes]]):
    sealer = Sealer({"c1": KEY}, "c1")
    data, contexts = [one for one, _ in pairs], [context for _, context in pairs]
    sealed = sealer.seal_all(data, contexts)
    assert [sealer.open(*pair) for pair in zip(sealed, contexts, strict=True)] == data
    assert [len(each) for each in sealed] == [len(each) + OVERHEAD for each in data]
    for text, context in zip(sealed, contexts, strict=True):
        with pytest.raises(SealError):
            sealer.open(text, context + b"x")
    with pytest.raises(ValueError, match="one context"):
        sealer.seal_all([*data, b""], contexts)


def test_many_sealed_at_once_never_share_a_nonce_with_others():
    sealer = Sealer({"c1": KEY}, "c1")
    with ThreadPoolExecutor(8) as pool:
        some = pool.map(lambda _: sealer.seal_all([b"x"] * 9, [b""] * 9), range(300))
        heads = [text[:29] for texts in some for text in texts]
    heads.append(sealer.seal(b"x", b"")[:29])
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, b"".join(text[:29] for text in sealer.seal_all([b"x"] * 2, [b""] * 2)))
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(read, 58)
    heads += [theirs[:29], theirs[29:], *(t[:29] for t in sealer.seal_all([b"x"] * 2, [b""] * 2))]
    os.close(read)
    os.close(write)
    assert len(set(heads)) == len(heads) == 300 * 9 + 5


def test_the_key_file_is_made_once_for_its_owner_only(tmp_path: Path):
    path = tmp_path / "secrets" / "content-keys.json"
    with ThreadPoolExecutor(8) as pool:
        sealers = list(pool.map(lambda _: Sealer.load_or_create(path), range(8)))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    sealed = sealers[0].seal(b"data", b"here")
    assert all(sealer.open(sealed, b"here") == b"data" for sealer in sealers)


def test_bad_key_files_are_refused_without_quoting_them(tmp_path: Path):
    path = tmp_path / "keys.json"
    with pytest.raises(InputError, match="cannot be read"):
        Sealer.load(path)
    path.write_text('{"current": "c1", "keys": {"c1": "00ff"}}')
    path.chmod(0o644)
    with pytest.raises(InputError, match="chmod 600"):
        Sealer.load(path)
    path.chmod(0o600)
    with pytest.raises(InputError, match="not 32 octets") as caught:
        Sealer.load(path)
    assert "00ff" not in str(caught.value)
    path.write_text("00ff")
    with pytest.raises(InputError, match="not a key file"):
        Sealer.load(path)


def test_a_running_sealer_follows_its_key_file_through_a_rotation(tmp_path: Path, monkeypatch):
    path = tmp_path / "content-keys.json"
    running, late = Sealer.load_or_create(path), Sealer.load(path)
    before = running.seal(b"old", b"")
    add_key(path)
    rotated = Sealer.load(path)
    assert rotated.current == "c2"
    after = rotated.seal(b"new", b"")
    assert rotated.is_stale(before)
    assert not rotated.is_stale(after)
    # It meets what it cannot open yet, and looks; then it seals under the new key too.
    assert running.open(after, b"") == b"new"
    assert running.current == "c2"
    assert rotated.open(running.seal_all([b"x"], [b""])[0], b"") == b"x"
    # Or it seals, and looks every ten seconds.
    monkeypatch.setattr("gateway.records.seal._LOOK", 0.0)
    late.refresh()
    drop_key(path, "c1")
    assert not late.is_stale(late.seal(b"x", b""))
    for sealer in (late, Sealer.load(path)):
        assert not sealer.can_open(before)
        with pytest.raises(SealError):
            sealer.open(before, b"")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_sealer_outlives_a_key_file_that_is_lost_or_half_written(tmp_path: Path, monkeypatch):
    path = tmp_path / "content-keys.json"
    monkeypatch.setattr("gateway.records.seal._LOOK", 0.0)
    running = Sealer.load_or_create(path)
    text = path.read_text()
    for broken in ("{", '{"current": "c1", "keys": {}}'):
        path.write_text(broken)
        assert running.open(running.seal(b"x", b""), b"") == b"x"
    path.unlink()
    assert running.open(running.seal(b"x", b""), b"") == b"x"
    path.write_text(text)
    path.chmod(0o600)
    assert Sealer.load(path).open(running.seal(b"x", b""), b"") == b"x"


def test_the_current_key_is_never_dropped(tmp_path: Path):
    path = tmp_path / "content-keys.json"
    Sealer.load_or_create(path)
    for key_id in ("c1", "c9"):
        with pytest.raises(InputError, match=key_id):
            drop_key(path, key_id)
