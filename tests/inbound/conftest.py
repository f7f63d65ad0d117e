"""A house whose mail comes in as well, in this process; on uvloop, as in service.

A gateway in processes of its own, and the programs around it, are asked from asyncio's loop:
uvloop fails where a program has ended before all of its input was written.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop

from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Entry
from gateway.entry.event import Event
from gateway.inbound.listener import Listener
from gateway.inbound.server import Server
from gateway.serve.letterbox import desk_of
from gateway.unsubscribe.link import Link, Links, Purpose
from tests.peers.house import INVOICE, MAILING, Client, House, client_table
from tests.peers.scripted import ScriptedUpstream

UNSUBSCRIBE, BOUNCES = "unsubscribe@mail.lamisnet.fi", "bounces@mail.lamisnet.fi"
STRANGER, OURS, BILLING = "127.0.0.9", "127.0.0.1", "127.0.0.3"


def pytest_asyncio_loop_factories(
    config, item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name == "test_running.py":
        return {"asyncio": asyncio.new_event_loop}
    return {"uvloop": uvloop.new_event_loop}


class Caller(Client):
    """A client from an address of its own."""

    def __init__(self, port: int, source: str, *, greet: bool = True) -> None:
        super().__init__(port, greet=greet)
        self._source = source

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection(
            "127.0.0.1", self._port, local_addr=(self._source, 0)
        )
        if self._greet:
            assert (await self.reply()).startswith("220 ")
            assert (await self.say("EHLO mx.example")).startswith("250")
        return self


class Post(House):
    """The house, and the listener for what comes in."""

    def __init__(
        self, *where: Any, inbound: dict[str, Any], tls: ssl.SSLContext | None, **how: Any
    ) -> None:
        inbound = {
            "listen": ["127.0.0.1:0"],
            "bounces": [BOUNCES],
            "networks": [f"{OURS}/32"],
            **inbound,
        }
        how.setdefault("unsubscribe", {"address": UNSUBSCRIBE})
        super().__init__(*where, inbound=inbound, **how)
        self._inbound_tls = tls

    async def __aenter__(self) -> Self:
        await super().__aenter__()
        desk = desk_of(self.settings, self.parts, self.metrics)
        self.post = Listener(self.parts.site, desk, self._inbound_tls)
        self._stack.push_async_callback(self.post.drain, 1)
        server = await asyncio.get_running_loop().create_server(
            lambda: Server(self.post), "127.0.0.1", 0
        )
        self.post.own(server)
        self.inbound_port = int(server.sockets[0].getsockname()[1])
        return self

    def caller(self, source: str = STRANGER, **how: Any) -> Caller:
        """A client of the listener."""
        return Caller(self.inbound_port, source, **how)

    async def bring(
        self, recipient: str, message: bytes, *, source: str = STRANGER, sender: str = "<>"
    ) -> str:
        """One message; the reply to its final dot, or the refusal before."""
        async with self.caller(source) as client:
            for reply in await client.begin(recipient, sender=sender):
                if not reply.startswith("250"):
                    return reply
            return await client.data(message)

    async def sent(self, address: str, source: str = OURS) -> str:
        """What becomes of mail to an address: marketing, or from ``BILLING`` an invoice."""
        async with Caller(self.port, source) as client:
            await client.begin(address)
            return await client.data(INVOICE if source == BILLING else MAILING)

    @property
    def links(self) -> Links:
        return self.post.desk.links

    def token(
        self,
        address: str,
        topic: str | None = None,
        *,
        purpose: Purpose = Purpose.REFUSE,
        age: int = 0,
    ) -> str:
        """A link's token, made some days ago."""
        issued = now_ms() - age * 86_400_000
        return self.links.seal(Link(parse_contact(address), purpose, topic, issued))

    async def entry(self, address: str) -> Entry:
        return await self.parts.register.show(parse_contact(address))

    async def events(self, address: str) -> list[Event]:
        return await self.parts.register.history(parse_contact(address))


CLIENTS = [
    client_table(),
    client_table(name="billing", networks=[f"{BILLING}/32"], kind="transactional", topic=None),
]


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """An upstream that accepts everything."""
    async with ScriptedUpstream() as one:
        yield one


@pytest.fixture
def build(tmp_path: Path, register_url: str, upstream: ScriptedUpstream) -> Callable[..., Any]:
    """``async with build(timeout=1, …) as post``: settings of ``inbound``."""

    @asynccontextmanager
    async def make(
        *, tls: ssl.SSLContext | None = None, tables: dict[str, Any] | None = None, **inbound: Any
    ) -> AsyncIterator[Post]:
        post = Post(
            tmp_path,
            register_url,
            [upstream],
            clients=CLIENTS,
            inbound=inbound,
            tls=tls,
            **(tables or {}),
        )
        async with post:
            yield post

    return make


@pytest.fixture
async def post(build: Callable[..., Any]) -> AsyncIterator[Post]:
    """The usual one."""
    async with build() as one:
        yield one
