"""The keys of people in PostgreSQL, for gateways on several machines."""

import asyncio
import signal

import pytest

from gateway.custody.custody import Custody, KeyDestroyed
from gateway.failure import InputError, RecordsUnavailable, SealError
from gateway.records.database import Database
from gateway.records.seal import Sealer
from tests.custody.test_custody import MAIJA, MATTI, NEW, OLD, sealer
from tests.peers.postgresql import Cluster, sql


@pytest.fixture
def url(postgresql: Cluster) -> str:
    return postgresql.database()


async def test_machines_share_keys_and_their_destruction(url: str):
    one, two = await asyncio.gather(Custody.at(url, sealer()), Custody.at(url, sealer()))
    assert await one.name() == await two.name()
    owners = [f"k1:{number:032x}" for number in range(1200)]
    ours, theirs = await asyncio.gather(one.keys(owners), two.keys(reversed(owners)))
    assert ours == theirs
    sealed = await one.seal(MATTI, b"matti", b"here")
    assert await two.open(MATTI, sealed, b"here") == b"matti"
    assert await two.destroy([MATTI, MAIJA], 7) == 2
    assert await one.destroy([MATTI], 8) == 0
    for owner in (MATTI, MAIJA):
        with pytest.raises(KeyDestroyed):
            await one.seal(owner, b"x", b"")
    with pytest.raises(KeyDestroyed):
        await one.open(MATTI, sealed, b"here")
    assert await one.destroyed([MATTI, owners[0]]) == {MATTI: 7}
    assert await one.count() == (1200, 2)
    assert sql(url, f"SELECT wrapped FROM person_key WHERE owner = '{MATTI}'") == [(b"",)]
    await one.aclose()
    await two.aclose()


async def test_keys_are_wrapped_anew(url: str):
    custody = await Custody.at(url, sealer(OLD))
    sealed = await custody.seal_all([MATTI, MAIJA], [b"m", b"k"], [b"", b""])
    await custody.destroy([MAIJA])
    both = sealer(OLD, NEW)
    assert await custody.stale(both.is_stale) == 1
    assert await custody.rewrap(both, both.is_stale) == 1
    assert await custody.stale(both.is_stale) == 0
    assert await custody.rewrap(both, both.is_stale) == 0
    await custody.aclose()
    later = await Custody.at(url, Sealer({"c2": NEW}, "c2"), create=False)
    assert await later.open(MATTI, sealed[0], b"") == b"m"
    with pytest.raises(InputError, match="pg_dump"):
        await later.backup(None)  # type: ignore[arg-type]
    await later.aclose()
    stranger = await Custody.at(url, sealer(OLD), create=False)
    with pytest.raises(SealError):
        await stranger.open(MATTI, sealed[0], b"")
    await stranger.aclose()


async def test_keys_never_lie_in_the_archive_s_database(url: str):
    database = await Database.open(url)
    await database.aclose()
    with pytest.raises(InputError, match="one of their own"):
        await Custody.at(url, sealer())
    with pytest.raises(RecordsUnavailable):
        await Custody.at(url, sealer(), create=False)


async def test_a_server_that_was_away_is_used_again(postgresql: Cluster, url: str):
    custody = await Custody.at(url, sealer(), timeout=2.0)
    sealed = await custody.seal(MATTI, b"x", b"")
    try:
        await asyncio.to_thread(postgresql.stop, signal.SIGQUIT)
        with pytest.raises(RecordsUnavailable):
            await custody.open(MATTI, sealed, b"")
    finally:
        await asyncio.to_thread(postgresql.start)
    assert await custody.open(MATTI, sealed, b"") == b"x"
    await custody.aclose()
