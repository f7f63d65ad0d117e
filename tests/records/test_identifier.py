"""Ids are ULIDs: valid, of this moment, in the order of time, never twice."""

import os
import time

import pytest
from ulid import ULID

from gateway.records.identifier import new_id, new_ids


def test_an_id_is_a_ulid_of_this_moment():
    before = time.time()
    one = ULID.from_str(new_id())
    assert before - 0.002 <= one.timestamp <= time.time() + 0.002
    assert str(one) == str(one).upper()
    assert len(str(one)) == 26


def test_ids_of_different_moments_sort_by_time_and_none_comes_twice():
    ids = []
    for _ in range(20):
        ids.append(new_id())
        time.sleep(0.002)
    assert ids == sorted(ids)
    many = {new_id() for _ in range(100_000)}
    assert len(many) == 100_000


@pytest.mark.parametrize("count", [0, 1, 2, 3, 50, 1000])
def test_several_ids_are_ulids_of_this_moment_too(count: int):
    before = time.time()
    ids = new_ids(count)
    assert len(ids) == len(set(ids)) == count
    for each in ids:
        assert len(each) == 26
        assert before - 0.002 <= ULID.from_str(each).timestamp <= time.time() + 0.002


def test_an_id_begins_with_its_moment(monkeypatch: pytest.MonkeyPatch):
    for moment in (0, 1, 1023, 1024, 1025, 1_763_800_000_000, 2**40, 2**48 - 1, 5):
        at = moment * 1_000_000 + 999_999
        monkeypatch.setattr("gateway.records.identifier.time_ns", lambda at=at: at)
        ids = [new_id(), new_id(), *new_ids(2)]
        assert [ULID.from_str(each).milliseconds for each in ids] == [moment] * 4


def test_a_forked_process_makes_ids_of_its_own():
    """A child that made its parent's ids would overwrite its records."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, "".join(new_id()[10:] for _ in range(20)).encode())
        os._exit(0)
    ours = "".join(new_id()[10:] for _ in range(20))
    os.waitpid(child, 0)
    theirs = os.read(read, 4096).decode()
    os.close(read)
    os.close(write)
    assert len(theirs) == len(ours)
    assert ours != theirs
