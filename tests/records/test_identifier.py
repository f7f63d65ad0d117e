"""Ids are ULIDs: valid, of this moment, in the order of time, never twice."""

import os
import time

from ulid import ULID

from gateway.records.identifier import new_id


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
