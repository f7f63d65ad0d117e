"""A running gateway with its API, and callers with accounts of each role."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.api.account import Role
from gateway.api.ledger import Ledger
from gateway.serve.stores import open_database
from tests.peers.process import RunningGateway
from tests.peers.scripted import ScriptedUpstream


class Caller:
    """Asks the API with one token."""

    def __init__(self, session: aiohttp.ClientSession, base: str, token: str | None) -> None:
        self._session = session
        self.base = base
        self.token = token

    async def ask(
        self, method: str, path: str, body: Any = None, **how: Any
    ) -> tuple[int, Any, aiohttp.typedefs.LooseHeaders]:
        """Status, JSON (or text) and headers of the answer."""
        headers = dict(how.pop("headers", {}))
        if self.token is not None:
            headers.setdefault("Authorization", f"Bearer {self.token}")
        if body is not None:
            how["json"] = body
        async with self._session.request(method, self.base + path, headers=headers, **how) as got:
            text = await got.text()
            if "json" in got.content_type:
                return got.status, await got.json(content_type=None), got.headers
            return got.status, text, got.headers

    async def get(self, path: str, **how: Any) -> tuple[int, Any]:
        return (await self.ask("GET", path, **how))[:2]

    async def post(self, path: str, body: Any, **how: Any) -> tuple[int, Any]:
        return (await self.ask("POST", path, body, **how))[:2]


class House:
    """The gateway and its callers."""

    def __init__(self, gateway: RunningGateway, session: aiohttp.ClientSession) -> None:
        self.gateway = gateway
        self.session = session
        self.base = f"http://127.0.0.1:{gateway.api}"
        self.nobody = Caller(session, self.base, None)

    async def caller(self, role: Role, name: str = "") -> Caller:
        """A new account of this role."""
        database = await open_database(self.gateway.settings)
        try:
            token = await Ledger(database).add(name or f"{role}-1", role)
        finally:
            await database.aclose()
        return Caller(self.session, self.base, token)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with (
        ScriptedUpstream() as upstream,
        RunningGateway(
            tmp_path,
            upstream=upstream,
            api={"listen": ["127.0.0.1:0"], "requests_per_minute": 1_000_000},
        ) as gateway,
        aiohttp.ClientSession() as session,
    ):
        yield House(gateway, session)
