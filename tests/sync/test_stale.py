"""A place in a list that the tool knows no more: after an hour it is read from its beginning."""

import pytest
from aiohttp import web

from gateway.clock import now_ms
from gateway.connector.connector import ToolUnreadable
from tests.sync.plain import PlainTool

HOUR = 3_600_000


class Forgetful(PlainTool):
    """Knows no cursor that it gave before ``forgot`` was set."""

    def __init__(self, path: str) -> None:
        super().__init__(page=20)
        self.path = path
        self.forgot = False

    def _away(self, request):
        if self.forgot and (request.path, request.query.get("cursor")) == (self.path, "20"):
            return web.Response(body=b"<html>gone</html>")
        return super()._away(request)


@pytest.mark.parametrize("path", ["/list", "/changes"])
async def test_a_cursor_that_has_expired_there_stops_a_tool_for_an_hour_at_most(world, path):
    async with Forgetful(path) as tool_there:
        tool = tool_there.tool()
        for number in range(20 if path == "/changes" else 45):
            tool_there.add(f"p{number}@example.com", at=now_ms())
        if path == "/list":
            tool_there.log.clear()
            store = world.bureau.store
            drive = world.drive(tool)
            assert await world.bureau.puller.listing(
                tool, drive._session, await store.tool("plain")
            )
        else:
            await world.round(tool)
        tool_there.forgot = True
        tool_there.add("late@example.com", at=now_ms())
        tool_there.page = 19  # what it gives from now on
        for _ in range(2):
            with pytest.raises(ToolUnreadable):
                await world.round(tool)
        assert (await world.bureau.store.tool("plain")).failing_since is not None
        world.later(HOUR)
        with pytest.raises(ToolUnreadable):
            await world.round(tool)
        await world.round(tool)
        assert await world.banned("late@example.com")
        assert (await world.bureau.store.tool("plain")).failing_since is None
        assert await world.tasks() == []
