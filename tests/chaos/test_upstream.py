"""An upstream that goes wrong at every stage in turn, in every manner."""

import pytest

from tests.chaos.fault import Manner, Stage, faults

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

EACH = 32
"""Letters for each stage."""


@pytest.mark.parametrize("manner", list(Manner), ids=lambda manner: manner.name.lower())
async def test_an_upstream_goes_wrong_at_every_stage_in_turn(build, manner):
    upstream = {"command_timeout": 0.4, "data_timeout": 0.4, "final_timeout": 0.4}
    seed = 31 + list(Manner).index(manner)
    async with build(seed=seed, upstream=upstream, workers=2) as place:
        sent = 0
        for fault in faults(manner):
            place.sink.fault = fault
            # Only new connections are greeted; the gateway keeps its own for a minute.
            early = fault.stage in (Stage.GREETING, Stage.EHLO)
            await place.send(EACH, place.far.renew_often(4 if early else 0, 0.2), over=0.8)
            print(f"{manner.name} at {fault.stage.name}: {fault.played} times")
            assert fault.played, fault
            sent += EACH
        place.sink.fault = None
        findings = await place.end()
        assert findings.counts["attempts"] > sent
