"""Connections that are cut, half-closed, delayed and corrupted, on either side."""

import pytest

from tests.chaos.proxy import Trouble, Way

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

TROUBLES = {
    "cut": Trouble(cut_after=(1, 4000)),
    "cut early": Trouble(cut_after=(1, 500)),
    "half closed": Trouble(half_close_after=(1, 4000)),
    "delayed": Trouble(share=0.8, delay=(0.005, 0.06)),
}
EACH = 80


async def test_the_way_from_the_client_is_cut_half_closed_and_delayed(build):
    async with build(seed=51) as place:
        for name, trouble in TROUBLES.items():
            place.near.trouble = trouble
            await place.send(EACH, over=1.5, through=place.near, patience=2)
            print(f"{name}: {place.near.troubled} times so far")
            assert place.near.troubled
        await place.end()


async def test_the_way_to_the_upstream_is_cut_half_closed_and_delayed(build):
    async with build(seed=52) as place:
        for name, trouble in TROUBLES.items():
            place.far.trouble = trouble
            await place.send(EACH, place.far.renew_often(6, 0.2), over=1.5)
            print(f"{name}: {place.far.troubled} times so far")
            assert place.far.troubled
        await place.end()


async def test_replies_to_the_client_are_corrupted(build):
    """Of a letter in the clear nobody can tell that it was altered; of a reply one can."""
    async with build(seed=53) as place:
        place.near.trouble = Trouble(ways=(Way.DOWN,), corrupt_after=(1, 300))
        await place.send(EACH, over=2, through=place.near, patience=2, garbled=True)
        assert place.near.troubled
        await place.end(garbled=True)


async def test_replies_of_the_upstream_are_corrupted(build):
    async with build(seed=54) as place:
        place.far.trouble = Trouble(share=0.8, ways=(Way.DOWN,), corrupt_after=(1, 600))
        # How many replies a connection carries is the machine's to say: some rounds
        # may end with none that was met.
        for _ in range(6):
            await place.send(EACH, place.far.renew_often(8, 0.2), over=2)
            if place.far.troubled > 3:
                break
        assert place.far.troubled
        await place.end()
