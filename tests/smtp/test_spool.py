"""A message taken at once or in pieces is the same message."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.smtp.spool import Budget, Spool, StorageFull

_plain = st.lists(
    st.sampled_from(
        [b"From: a@b.example\r\n", b"\r\n", b"text\r\n", b"x" * 40 + b"\r\n", b" \r\n"]
    ),
    min_size=1,
    max_size=8,
).map(b"".join)
_bounds = st.tuples(
    st.sampled_from([20, 60, 10_000]), st.sampled_from([10, 30, 200]), st.sampled_from([40, 400])
)


async def kept(spool: Spool, must_flush: bool) -> dict[str, object]:
    if must_flush:
        await spool.flush()
    found = {
        "header": spool.header,
        "separated": spool.separated,
        "too large": spool.header_too_large,
        "body": b"".join([piece async for piece in spool.body()]),
        "hash": spool.body_hash,
        "body size": spool.body_size,
        "wire size": spool.wire_size,
        "plain": b"".join([piece async for piece in spool.plain()]),
    }
    spool.close()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("spool")


@settings(deadline=None)
@given(_plain, _bounds, st.integers(0, 60))
def test_a_whole_message_is_kept_as_its_pieces_are(folder, message, bounds, cut):
    """Whatever memory allows, a message taken at once is the one taken in two pieces."""
    total, memory, most = bounds

    async def both() -> None:
        found = []
        for whole in (True, False):
            budget = Budget(total)
            spool = Spool(budget, folder, memory, most)
            try:
                if whole:
                    must_flush = spool.take_whole(message)
                else:
                    for piece in (message[:cut], message[cut:]):
                        if piece and spool.take(piece):
                            await spool.flush()
                    must_flush = spool.finish()
                found.append(await kept(spool, must_flush))
            except StorageFull:
                spool.close()
                found.append({})
            assert budget.used == 0
        if found[0] and found[1]:
            assert found[0]["too large"] == found[1]["too large"]
            # A message whose header section is too large is refused, whatever follows.
            assert found[0] == found[1] or found[0]["too large"]

    asyncio.run(both())
