"""The person's pages in this process, beside a whole mail side, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Entry
from gateway.entry.event import Event
from gateway.public.server import Face
from gateway.serve.front import LARGEST, UNRATED, face_parts
from gateway.serve.stores import Stores, stores_on
from gateway.serve.tools import Tools
from gateway.sms.connection import Server
from gateway.unsubscribe.link import Link, Links, Purpose
from tests.peers.house import House, client_table
from tests.peers.scripted import ScriptedUpstream

TOPICS = {
    "newsletter": {
        "product_group": "broadband",
        "title": {"fi": "Uutiskirje", "sv": "Nyhetsbrev", "en": "Newsletter"},
    },
    "offers": {"title": {"fi": "Tarjoukset", "sv": "Erbjudanden", "en": "Offers"}},
}
CONSENTS = {
    "newsletter": {
        "version": "2026-1",
        "wording": {
            "fi": "LamisNET saa lähettää minulle sähköpostitse uutiskirjeen.",
            "sv": "LamisNET får skicka mig nyhetsbrevet per e-post.",
            "en": "LamisNET may send me its newsletter by e-mail.",
        },
    },
    "*": {
        "version": "2026-1",
        "wording": {"fi": "LamisNET saa lähettää minulle kaikkea markkinointia sähköpostitse."},
    },
}
PAGES = {
    "notice": {
        "fi": "https://lamisnet.example/tietosuoja",
        "en": "https://lamisnet.example/privacy",
    },
    "consents": CONSENTS,
}


class Front:
    """Pages, mail side and register of one configuration."""

    def __init__(self, house: House, stores: Stores, face: Face, server: Server, port: int) -> None:
        self.house = house
        self.stores = stores
        self.face = face
        self.server = server
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        path = house.settings.unsubscribe.key_file
        assert path is not None
        self.links = Links.load_or_create(path)
        self.session: aiohttp.ClientSession

    def token(
        self,
        address: str,
        topic: str | None = "newsletter",
        *,
        language: str = "",
        purpose: Purpose = Purpose.REFUSE,
        age: int = 0,
    ) -> str:
        """A link's token; ``age`` in days."""
        issued = now_ms() - age * 86_400_000
        return self.links.seal(Link(parse_contact(address), purpose, topic, issued, language))

    def link(self, address: str, topic: str | None = "newsletter", **how: Any) -> str:
        """Where the link leads on this server."""
        place = "c" if how.get("purpose") is Purpose.CONFIRM else "u"
        return f"{self.url}/{place}/{self.token(address, topic, **how)}"

    async def entry(self, address: str) -> Entry:
        """What the register keeps of a contact."""
        return await self.house.parts.register.show(parse_contact(address))

    async def events(self, address: str) -> list[Event]:
        """Every change of a contact, with its evidence opened."""
        return await self.stores.history(parse_contact(address))

    async def bans(self, address: str) -> list[tuple[str, str | None, str | None]]:
        """Scope, channel and topic of each ban."""
        entry = await self.entry(address)
        return [(ban.scope, ban.channel, ban.topic) for ban in entry.bans]

    async def get(self, url: str, **headers: str) -> tuple[int, str]:
        """Status and body of a GET that follows nothing."""
        async with self.session.get(
            url, headers={k.replace("_", "-"): v for k, v in headers.items()}, allow_redirects=False
        ) as answer:
            return answer.status, await answer.text()

    async def post(
        self, url: str, data: Any, *, follow: bool = False, **headers: str
    ) -> tuple[int, str]:
        """Status and body of a POST."""
        async with self.session.post(
            url,
            data=data,
            headers={k.replace("_", "-"): v for k, v in headers.items()},
            allow_redirects=follow,
        ) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def front(
    folder: Path, register_url: str, upstream: ScriptedUpstream, **settings: Any
) -> AsyncIterator[Front]:
    """The pages of one configuration, running."""
    tables: dict[str, Any] = {
        "public": {"listen": ["127.0.0.1:0"], "url": "https://preferences.example"},
        "topics": TOPICS,
        "pages": PAGES,
        "clients": [client_table()],
        **settings,
    }
    async with House(folder, register_url, [upstream], **tables) as house:
        parts = house.parts
        stores = stores_on(parts.register, house.database, house.custody, parts.ring, parts.seal)
        tools = Tools(house.settings, stores)
        face = Face(
            house.settings.public,
            face_parts(house.settings, parts, stores, tools),
            unrated=UNRATED,
            largest=LARGEST,
        )
        server = face.server()
        listening = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
        try:
            port = int(listening.sockets[0].getsockname()[1])
            one = Front(house, stores, face, server, port)
            async with aiohttp.ClientSession() as session:
                one.session = session
                yield one
        finally:
            listening.close()
            await server.end(2)
