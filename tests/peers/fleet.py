"""Every tool that there is a stand-in for, on sockets: its settings, its list, its calls.

async with Fleet(folder) as fleet:
    RunningGateway(folder, sync={"tools": fleet.tables()}, …)
    fleet["sendgrid"].stands(address)
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, Self

from aiohttp import web

from tests.peers.provider import Provider

SECRET = "the-webhooks-secret"
TOPIC = "newsletter"
"""The topic that the tools know which know topics."""


class Call(NamedTuple):
    """A webhook's call."""

    headers: dict[str, str]
    body: bytes
    query: str = ""


class Stands(NamedTuple):
    """What a tool's list says of a contact."""

    whole: bool = False
    """It is refused as a whole, or in its channel."""
    topic: bool = False
    """The topic alone is refused."""
    delivery: str = ""
    """``bounce`` or ``complaint``, where it stands there as such."""


class One(NamedTuple):
    """One tool."""

    stand_in: Any
    settings: dict[str, Any]
    stands: Callable[[str], Stands]
    calls: dict[str, Callable[[str], Call]]
    """By what it tells: ``objection``, ``bounce``, ``complaint``, ``topic``."""
    topics: bool
    delivery: bool
    """Whether its list has bounces and complaints."""
    channels: str = "email"
    """``email``, ``sms`` or both: whom it can hold."""

    def holds(self, contact: str) -> bool:
        """Whether it can hold an address, or a number."""
        return ("email" if "@" in contact else "sms") in self.channels.split()


class Fleet:
    """The tools by their kinds; each is named as its kind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = AsyncExitStack()
        self.tools: dict[str, One] = {}

    async def __aenter__(self) -> Self:
        from tests.peers import hosted, selfhosted

        for make in (
            hosted.sendgrid,
            hosted.mailgun,
            hosted.postmark,
            hosted.mandrill,
            hosted.ses,
            hosted.brevo,
            hosted.mailchimp,
            hosted.twilio,
            selfhosted.http,
            selfhosted.listmonk,
            selfhosted.mautic,
            selfhosted.file,
        ):
            await make(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def __getitem__(self, kind: str) -> One:
        return self.tools[kind]

    def tables(self) -> list[dict[str, Any]]:
        """``sync.tools``."""
        return [one.settings for one in self.tools.values()]

    def add(self, kind: str, stand_in: Any, url: str, secret: str, hook: str, **more: Any) -> None:
        """A tool that is there."""
        (self.folder / f"{kind}-secret").write_text(secret)
        settings = {
            "name": kind,
            "kind": kind,
            "url": url,
            "secret_file": f"{kind}-secret",
            "requests_per_second": 500,
            **more.pop("settings", {}),
        }
        if hook:
            (self.folder / f"{kind}-hook").write_text(hook)
            settings["webhook_secret_file"] = f"{kind}-hook"
        calls = more.pop("calls", {})
        self.tools[kind] = One(stand_in, settings, calls=calls, **more)

    async def served(self, answer: Any) -> str:
        """The URL of a stand-in that answers by itself."""
        return (await self._stack.enter_async_context(Provider(answer))).url

    async def running(self, app: web.Application) -> str:
        """The URL of a stand-in that is an application."""
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    async def entered(self, stand_in: Any) -> str:
        """The URL of a stand-in that has a server of its own."""
        return str((await self._stack.enter_async_context(stand_in)).url)


def iso(at: float | None = None) -> str:
    """A time (seconds; now), in whole seconds."""
    return datetime.fromtimestamp(at or time.time(), UTC).isoformat(timespec="seconds")
