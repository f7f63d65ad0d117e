"""TLS that breaks: within the handshake, and within what it protects; either side."""

import pytest

from tests.chaos.fault import Fault, Manner, Stage
from tests.chaos.proxy import Trouble

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(150)]

TROUBLES = {
    # Greeting and EHLO take some 300 octets downwards, the handshake some 2000.
    "cut": Trouble(share=0.6, cut_after=(150, 2200)),
    "corrupted": Trouble(share=0.6, corrupt_after=(300, 3000)),
}
EACH = 80


async def test_the_handshake_with_a_client_breaks(build):
    async with build(seed=61, client_tls=True) as place:
        for name, trouble in TROUBLES.items():
            place.near.trouble = trouble
            await place.send(EACH, over=2, through=place.near, patience=2, only_tls=True)
            print(f"{name}: {place.near.troubled} times so far")
            assert place.near.troubled
        await place.end()


async def test_the_handshake_with_the_upstream_breaks(build):
    async with build(seed=62, sink_tls=True, upstream={"connect_timeout": 0.5}) as place:
        for name, trouble in TROUBLES.items():
            place.far.trouble = trouble
            await place.send(EACH, place.far.renew_often(6, 0.25), over=2)
            print(f"{name}: {place.far.troubled} times so far")
            assert place.far.troubled
        for manner in (Manner.HANG_UP, Manner.STALL, Manner.GARBAGE):
            place.sink.fault = fault = Fault(Stage.TLS, manner, every=2)
            await place.send(40, place.far.renew_often(6, 0.25), over=1.5)
            assert fault.played
        await place.end()
