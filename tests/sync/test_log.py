"""No address in the log, whatever a tool says."""

import asyncio

import orjson
import pytest
from aiohttp import web

from gateway.public.server import Visit
from gateway.settings.sync import Sync
from gateway.sync.loop import Loops
from tests.peers.journal import written_log
from tests.sync.plain import Plain, PlainTool, signed

WHO = "anna.virtanen@example.com"
WORDS = ("anna", "virtanen", "example.com")


class Odd(PlainTool):
    """Answers every question about its list with one document."""

    document: object = None

    def _paged(self, entries, start):
        return web.Response(body=orjson.dumps(self.document))


def named_in(text: str) -> list[str]:
    return [line for line in text.splitlines() if any(word in line.lower() for word in WORDS)]


DOCUMENTS = [
    WHO,
    [WHO],
    {WHO: WHO},
    {"entries": WHO, "cursor": "", "more": False},
    {"entries": [WHO], "cursor": "", "more": False},
    {"entries": [{"address": WHO, "scope": WHO}], "cursor": WHO, "more": False},
    {"entries": [{"address": WHO, "reason": WHO}], "cursor": WHO, "more": True},
    {"entries": [{"address": f"{WHO} {WHO}"}], "cursor": {WHO: 1}, "more": False},
    {"entries": [{"address": WHO, "topic": WHO, "scope": "topic"}], "cursor": WHO, "more": False},
]


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS)
async def test_a_loop_names_nobody(world, document):
    async with Odd() as odd:
        odd.document = document
        tool, loops = odd.tool(), Loops()
        with written_log() as log:
            await loops.set(world.bureau.hands, [tool], Sync())
            try:
                async with asyncio.timeout(30):
                    while not log.getvalue():
                        await asyncio.sleep(0.02)
            finally:
                await loops.aclose()
    assert not named_in(log.getvalue())


class Blunt(Plain):
    """Has a fault: it fails by an error that quotes what the tool says."""

    def changes(self, cursor):
        yield from ()
        raise AssertionError(WHO)

    def hook(self, request, now):
        raise LookupError(request.body.decode())


async def test_a_fault_of_a_connectors_is_told_by_its_place(world):
    async with PlainTool() as plain:
        tool, loops = plain.tool(), Loops()
        tool.connector.__class__ = Blunt
        with written_log() as log:
            await loops.set(world.bureau.hands, [tool], Sync())
            try:
                async with asyncio.timeout(30):
                    while "sync_failed" not in log.getvalue():
                        await asyncio.sleep(0.02)
                visit = Visit("POST", tool.name, "", (), WHO.encode(), "192.0.2.1")
                assert (await world.hooks(tool)(visit)).status == 400
            finally:
                await loops.aclose()
    assert not named_in(log.getvalue())
    line = next(line for line in log.getvalue().splitlines() if "sync_failed" in line)
    told = orjson.loads(line)["exception"]
    assert "AssertionError" in told
    assert "test_log.py" in told
    assert "in changes" in told


@pytest.mark.parametrize("document", [*DOCUMENTS, [{"address": WHO, "scope": WHO}], [{WHO: 1}]])
async def test_a_webhook_names_nobody(world, document):
    async with PlainTool() as plain:
        tool = plain.tool()
        body = orjson.dumps(document)
        once = (("X-Once", WHO), ("X-Signature", signed(body)["X-Signature"]))
        with written_log() as log:
            for headers in ((), (("X-Signature", WHO),), once):
                visit = Visit("POST", tool.name, WHO, headers, body, "192.0.2.1")
                assert (await world.hooks(tool)(visit)).status in (200, 400, 401)
    assert log.getvalue()
    assert not named_in(log.getvalue())
