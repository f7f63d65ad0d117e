"""Fewer collections for a while, and then as many as before."""

import gc
import weakref

import pytest

from gateway.garbage import seldom_collected


class Cycle:
    def __init__(self):
        self.own = self


def test_cycles_are_still_collected_and_the_rest_as_before():
    usual = gc.get_threshold()
    with pytest.raises(ZeroDivisionError), seldom_collected():
        assert gc.get_threshold()[0] > usual[0]
        first = weakref.ref(Cycle())
        kept = [Cycle() for _ in range(300_000)]
        assert first() is None
        assert len(kept) / 0
    assert gc.get_threshold() == usual
