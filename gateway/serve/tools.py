"""The tools' lists in the public process: their loops and webhooks, exchanged at a reload."""

from __future__ import annotations

import structlog

from gateway.public.server import Part
from gateway.serve.stores import Stores
from gateway.settings import Settings
from gateway.sync.bureau import Bureau
from gateway.sync.loop import Loops
from gateway.sync.tool import Tool, tools_of, warnings_of

log = structlog.get_logger(__name__)


class Tools:
    """Keeps the tools of the settings alike with the register; :meth:`aclose` ends it."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        """Raises InputError naming a tool that cannot be."""
        self._stores = stores
        self._take(settings)
        self._loops = Loops()

    def part(self) -> dict[str, Part]:
        """What answers on the public address, of the tools as they are now."""
        return {"hooks": self._bureau.hooks(self._tools)} if self._tools else {}

    async def start(self) -> None:
        """Drive the tools from now on."""
        for tool in self._tools:
            for warning in warnings_of(tool):
                log.warning("sync_tool", tool=tool.name, warning=warning)
        await self._loops.set(self._bureau.hands, self._tools, self._settings.sync)

    async def reload(self, settings: Settings) -> None:
        """Drive the tools of these settings from now on; raises InputError, nothing changed."""
        self._take(settings)
        await self.start()

    async def aclose(self) -> None:
        """End the loops; the cursors are stored as far as they came."""
        await self._loops.aclose()

    def _take(self, settings: Settings) -> None:
        tools: list[Tool] = tools_of(settings)
        self._bureau = bureau_of(settings, self._stores)
        self._tools, self._settings = tools, settings


def bureau_of(settings: Settings, stores: Stores) -> Bureau:
    """What keeps tools' lists and the register alike, on open stores."""
    return Bureau.on(
        settings,
        stores.register,
        stores.database,
        stores.seal,
        stores.unsealer,
        stores.ring,
        stores.history,
    )
