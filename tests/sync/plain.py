"""A tool of the simplest kind, on a real socket, and its connector."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

import orjson
from aiohttp import web

from gateway.connector.connector import (
    Connector,
    Exchange,
    Holds,
    HookRefused,
    Page,
    Place,
    Put,
    ToolRefused,
)
from gateway.connector.suppression import Change, Reason, Said, Suppression
from gateway.contacts.contact import Channel, ContactError
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.provider.request import JSON, Request
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync.tool import Tool

Entry = dict[str, Any]


class Plain(Connector):
    """Speaks to :class:`PlainTool`."""

    kind = "plain"
    title = "Plain"
    url = ""
    most = 100

    def __init__(
        self,
        place: Place,
        *,
        scopes: frozenset[Scope] = frozenset({Scope.ALL, Scope.CHANNEL, Scope.TOPIC}),
        channels: frozenset[Channel] = frozenset({Channel.EMAIL}),
        topics: frozenset[str] = frozenset({"newsletter"}),
        dated: bool = True,
        reads: bool = True,
        delivery: frozenset[Reason] = frozenset(),
    ) -> None:
        super().__init__(place)
        self._holds = Holds(scopes, channels, topics, reads=reads, dated=dated, delivery=delivery)

    @property
    def holds(self) -> Holds:
        return self._holds

    def changes(self, cursor: str) -> Exchange[Page]:
        return (yield from self._page("/changes", cursor))

    def listing(self, cursor: str) -> Exchange[Page]:
        return (yield from self._page("/list", cursor))

    def _page(self, path: str, cursor: str) -> Exchange[Page]:
        answer = yield Request("GET", path, f"cursor={cursor}")
        if answer.status == 401:
            raise ToolRefused("secret_file: the key is not known")
        document = answer.json()
        changes, bad = [], 0
        for each in document["entries"]:
            try:
                changes.append(change_of(each, dated=self._holds.dated))
            except (ContactError, ValueError):
                bad += 1
        return Page(tuple(changes), document["cursor"], document["more"], bad)

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        body = orjson.dumps([told(each) for each in entries])
        answer = yield Request("POST", "/put", "", (("Content-Type", JSON),), body)
        if answer.status == 401:
            raise ToolRefused("secret_file: the key is not known")
        return [Put(each["done"], each["cause"], each["final"]) for each in answer.json()]

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        if request.method == "HEAD":
            return ()
        secret = self.place.webhook_secret.encode()
        signed = hmac.new(secret, request.body, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(signed, request.header("x-signature")):
            raise HookRefused("its signature is not right", http=401)
        return tuple(change_of(each, dated=True) for each in orjson.loads(request.body))

    def replays(self, request: Request) -> str:
        return request.header("x-once")


def change_of(each: Entry, *, dated: bool) -> Change:
    channel = each.get("channel")
    return Change(
        Said.REMOVED if each.get("removed") else Said.ADDED,
        Suppression(
            parse_contact(each["address"]),
            Scope(each.get("scope", "all")),
            Reason(each.get("reason", "objection")),
            None if channel is None else Channel(channel),
            each.get("topic"),
            each.get("at") if dated else None,
        ),
    )


def told(each: Suppression) -> Entry:
    return {
        "address": each.contact.canonical,
        "scope": each.scope.value,
        "channel": each.channel,
        "topic": each.topic,
        "reason": each.reason.value,
        "at": each.at,
    }


class PlainTool:
    """The tool: a list and what happened to it; ``async with`` it."""

    def __init__(self, *, page: int = 1000) -> None:
        self.list: dict[tuple[str, str, str], Entry] = {}
        self.log: list[Entry] = []
        self.status = 200
        """What every request is answered with, unless 200."""
        self.headers: dict[str, str] = {}
        self.refused: dict[str, tuple[str, bool]] = {}
        """Addresses that it does not take: why, and whether for good."""
        self.meanwhile: list[Callable[[], Awaitable[object]]] = []
        """What happens, each once, between what it does and its next answer."""
        self.breaks: set[str] = set()
        """Addresses at which it breaks down, whatever else it is given with them."""
        self.puts: list[Entry] = []
        self.asked: list[str] = []
        self.page = page
        self.stuck = False
        """Whether a page that is not the last leads to itself."""
        self.called = ""
        """What its cursors begin with."""

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_get("/changes", self._changes)
        app.router.add_get("/list", self._listed)
        app.router.add_post("/put", self._put)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = int(self._runner.addresses[0][1])
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def tool(self, name: str = "plain", **how: Any) -> Tool:
        """It, as the gateway has it."""
        names = ("scopes", "channels", "topics", "dated", "reads", "delivery")
        holds = {name: how.pop(name) for name in names if name in how}
        settings = SyncTool(
            name=name, kind=ToolKind.HTTP, url=self.url, requests_per_second=1000, **how
        )
        place = Place(name, webhook_secret="hush", url=self.url)
        return Tool(settings, Plain(place, **holds))

    # -- what people do there -----------------------------------------------------

    def add(self, address: str, **more: Any) -> None:
        entry = {"address": address, **more}
        self.list[self._key(entry)] = entry
        self.log.append(entry)

    def remove(self, address: str, *, told: bool = True, **more: Any) -> None:
        entry = {"address": address, **more}
        del self.list[self._key(entry)]
        if told:
            self.log.append({**entry, "removed": True})

    def has(self, address: str, scope: str = "all", topic: str = "") -> bool:
        return (address, scope, topic) in self.list

    @staticmethod
    def _key(entry: Entry) -> tuple[str, str, str]:
        return entry["address"], entry.get("scope", "all"), entry.get("topic") or ""

    # -- what the gateway asks ----------------------------------------------------

    def _away(self, request: web.Request) -> web.Response | None:
        self.asked.append(request.path)
        if self.status != 200:
            return web.Response(status=self.status, headers=self.headers)
        return None

    async def _goes_on(self) -> None:
        while self.meanwhile:
            await self.meanwhile.pop()()

    async def _changes(self, request: web.Request) -> web.Response:
        if away := self._away(request):
            return away
        page = self._paged(self.log, self._start(request))
        await self._goes_on()
        return page

    async def _listed(self, request: web.Request) -> web.Response:
        if away := self._away(request):
            return away
        page = self._paged(list(self.list.values()), self._start(request))
        await self._goes_on()
        return page

    def _start(self, request: web.Request) -> int:
        return int(request.query["cursor"].removeprefix(self.called) or 0)

    def _paged(self, entries: list[Entry], start: int) -> web.Response:
        end = min(len(entries), start + self.page)
        more = end < len(entries)
        cursor = f"{self.called}{start if more and self.stuck else end}"
        body = {"entries": entries[start:end], "cursor": cursor, "more": more}
        return web.Response(body=orjson.dumps(body), content_type=JSON)

    async def _put(self, request: web.Request) -> web.Response:
        if away := self._away(request):
            return away
        results = []
        entries = orjson.loads(await request.read())
        if self.breaks & {entry["address"] for entry in entries}:
            return web.Response(status=500, headers=self.headers)
        for entry in entries:
            self.puts.append(entry)
            cause, final = self.refused.get(entry["address"], ("", False))
            if not cause:
                self.list.setdefault(self._key(entry), entry)
                self.log.append(entry)
            results.append({"done": not cause, "cause": cause, "final": final})
        await self._goes_on()
        return web.Response(body=orjson.dumps(results), content_type=JSON)


def signed(body: bytes, secret: str = "hush") -> dict[str, str]:
    return {"X-Signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}
