"""The gateway's mail side in this process, on real sockets and a real register."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import date
from pathlib import Path
from typing import Any, Self

from prometheus_client import CollectorRegistry

from gateway.clock import now_ms
from gateway.contacts.digest import subject_of
from gateway.contacts.parse import parse_contact
from gateway.decision.facts import Collected, Outcome
from gateway.entry.entry import Scope
from gateway.entry.event import Attributes, Event, EventKind
from gateway.evidence.metric import Metrics
from gateway.records.archive import Archive, Found
from gateway.records.archiver import Archiver
from gateway.records.binding import Binding
from gateway.records.content import ContentStore
from gateway.records.resealing import Resealer
from gateway.register import layout
from gateway.serve.assembly import Parts, build_parts
from gateway.serve.certificate import server_context
from gateway.serve.plane import Plane
from gateway.serve.stores import open_custody, open_database
from gateway.settings.load import settings_from
from gateway.sms.server import Door
from gateway.smtp.listener import Listener
from gateway.smtp.server import Server
from tests.peers.scripted import ScriptedUpstream

OWN = "lamisnet.fi"
MAILING = (
    b"From: LamisNET <uutiset@lamisnet.fi>\r\n"
    b"To: undisclosed-recipients:;\r\n"
    b"Subject: Marraskuun uutiset\r\n"
    b"Message-ID: <1@lamisnet.fi>\r\n"
    b"List-Unsubscribe: <https://lamisnet.example/u/1>\r\n"
    b"\r\n"
    b"Hei!\r\n"
)
INVOICE = b"From: LamisNET <laskut@lamisnet.fi>\r\nSubject: Lasku 1\r\n\r\nLasku liitteen\xe4.\r\n"


def client_table(**changes: Any) -> dict[str, Any]:
    """One client's settings: marketing from this machine, discarding."""
    table: dict[str, Any] = {
        "name": "tool",
        "networks": ["127.0.0.0/8"],
        "kind": "marketing",
        "topic": "newsletter",
        "product_group": "broadband",
        "on_suppress": "discard",
        "upstream": "main",
    }
    table.update(changes)
    return {name: value for name, value in table.items() if value is not None}


class House:
    """A whole mail side; ``async with`` it.  ``register`` and ``archive`` are the real ones."""

    def __init__(
        self,
        folder: Path,
        register_url: str,
        upstreams: Sequence[ScriptedUpstream],
        *,
        clients: Sequence[dict[str, Any]] | None = None,
        tls: ssl.SSLContext | None = None,
        smtp: dict[str, Any] | None = None,
        register: dict[str, Any] | None = None,
        records: dict[str, Any] | None = None,
        rules: dict[str, Any] | None = None,
        upstream: dict[str, Any] | None = None,
        sms: dict[str, Any] | None = None,
        **tables: Any,
    ) -> None:
        names = ["main", *(f"spare{n}" for n in range(1, len(upstreams)))]
        self.settings = settings_from(
            {
                "data_dir": "data",
                "controller": {
                    "name": "LamisNET",
                    "business_id": "2701131-6",
                    "contact_email": "privacy@lamisnet.example",
                    "domains": [OWN],
                },
                "register": {"url": register_url, "bucket_bits": 8, **(register or {})},
                "rules": rules or {},
                "records": records or {},
                "sms": sms or {},
                **tables,
                "smtp": {
                    "hostname": "gateway.test",
                    "clients": list(clients or [client_table()]),
                    "upstreams": [
                        {
                            "name": name,
                            "host": "127.0.0.1",
                            "port": peer.target().port,
                            "tls": "none",
                            "region": "EEA",
                            "command_timeout": 2,
                            "data_timeout": 2,
                            "final_timeout": 2,
                            **(upstream or {}),
                        }
                        for name, peer in zip(names, upstreams, strict=True)
                    ],
                    **(smtp or {}),
                },
            },
            folder,
        )
        self._tls = tls
        self._stack = AsyncExitStack()
        self.parts: Parts
        self.listener: Listener
        self.port = 0
        self.tls_port = 0
        self.door: Door
        self.sms_port = 0
        self.route_ports: dict[str, int] = {}
        """Of routes that have an address of their own."""

    async def __aenter__(self) -> Self:
        self.metrics = Metrics(CollectorRegistry())
        self.parts = await build_parts(self.settings, self.metrics)
        self._stack.push_async_callback(self.parts.aclose)
        self.database = await open_database(self.settings)
        self._stack.push_async_callback(self.database.aclose)
        await self.parts.register.current.examine({})
        self.listener = Listener(self.parts.site, self._tls)
        self._stack.push_async_callback(self.listener.drain, 1)
        self.port = await self._listen(None)
        if self._tls is not None:
            self.tls_port = await self._listen(self._tls)
        if self.parts.plane is not None:
            await self._open_door(self.parts.plane)
        seal = self.parts.seal
        self.custody = await open_custody(self.settings, seal, self.database)
        self._stack.push_async_callback(self.custody.aclose)
        self.archive = Archive(self.database, seal, self.custody)
        self.contents = ContentStore(self.database, seal, custody=self.custody)
        self.archiver = Archiver(
            self.parts.register.connections.wire,
            self.archive,
            events=layout.event_streams(),
            poll=0.02,
            resealer=Resealer(seal, self.custody),
            binding=Binding(self.database, seal, self.contents),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open_door(self, plane: Plane) -> None:
        loop = asyncio.get_running_loop()
        self.door = Door(plane.site)
        plane.site.reporter.start()
        for route in ("", *(one.name for one in plane.site.routes.all if one.settings.listen)):
            tls = server_context(self.settings.sms.tls, "sms.tls")
            server = await loop.create_server(self.door.server(route), "127.0.0.1", 0, ssl=tls)
            self._stack.callback(server.close)
            port = int(server.sockets[0].getsockname()[1])
            if route:
                self.route_ports[route] = port
            else:
                self.sms_port = port
        self._stack.push_async_callback(self.door.drain, 1)

    async def _listen(self, context: ssl.SSLContext | None) -> int:
        server = await asyncio.get_running_loop().create_server(
            lambda: Server(self.listener, implicit_tls=context is not None),
            "127.0.0.1",
            0,
            ssl=context,
        )
        self.listener.own(server)
        return int(server.sockets[0].getsockname()[1])

    # -- the register -------------------------------------------------------------

    async def know(self, address: str, **attributes: Any) -> None:
        """A known contact that nothing allows marketing to yet."""
        await self.tell(
            address,
            EventKind.DESCRIBE,
            attributes=Attributes(source_known=True, **attributes),
        )

    async def allow(self, *addresses: str) -> None:
        """Consents with all their proof."""
        for address in addresses:
            await self.know(address)
            channel = parse_contact(address).channel
            await self.tell(address, EventKind.CONSENT, channel=channel, proven=True, lifts=True)

    async def customer(self, *addresses: str) -> None:
        """Customers by soft opt-in."""
        for address in addresses:
            await self.know(
                address,
                relationship_start=date(2020, 1, 1),
                collected=Collected.SALE,
                opt_out_offered=True,
                product_groups=frozenset({"broadband"}),
            )

    async def ban(self, address: str, scope: Scope = Scope.ALL, **more: Any) -> None:
        await self.tell(address, EventKind.BAN, scope=scope, **more)

    async def tell(
        self, address: str, kind: EventKind, *, settled: bool = False, **more: Any
    ) -> None:
        """One event; ``settled`` waits until it is acknowledged as everybody else's is."""
        event = Event(kind=kind, at=more.pop("at", now_ms()), actor="test", source="test", **more)
        await self.parts.register.apply_many([(event, parse_contact(address))], settled=settled)

    # -- the records --------------------------------------------------------------

    async def found(self, address: str | None = None, **query: Any) -> list[Found]:
        """Archived records, oldest first, once everything has been archived."""
        recorder = self.parts.site.recorder
        async with asyncio.timeout(30):
            while recorder.outcomes_waiting:
                await asyncio.sleep(0.01)
        await self.archiver.run_once()
        if address is not None:
            subject = subject_of(parse_contact(address))
            query["digests"] = [str(d) for d in self.parts.ring.digests(subject)]
        return list(reversed(await self.archive.search(limit=10_000, **query)))

    async def fate(self, address: str) -> list[tuple[Outcome, str, str | None]]:
        """Decision, rule and result of each of an address's records."""
        return [
            (one.outcome, one.rule, one.result.value if one.result else None)
            for one in await self.found(address)
        ]

    def client(self) -> Client:
        """A client that says what it is told."""
        return Client(self.port)


class Client:
    """A bare SMTP client: ``async with`` it, ``say`` lines, get replies."""

    def __init__(self, port: int, *, greet: bool = True) -> None:
        self._port = port
        self._greet = greet

    async def __aenter__(self) -> Self:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        if self._greet:
            assert (await self.reply()).startswith("220 ")
            assert (await self.say("EHLO tool.example")).startswith("250")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()

    async def reply(self, within: float = 30) -> str:
        """One reply, its lines joined by newlines."""
        lines = []
        async with asyncio.timeout(within):
            while True:
                line = (await self.reader.readline()).decode()
                if not line:
                    raise ConnectionError("the server has closed")
                lines.append(line.rstrip("\r\n"))
                if line[3:4] != "-":
                    return "\n".join(lines)

    async def say(self, line: str | bytes) -> str:
        """One command, its reply."""
        self.send(line)
        return await self.reply()

    def send(self, line: str | bytes) -> None:
        """A command without waiting."""
        octets = line.encode() if isinstance(line, str) else line
        self.writer.write(octets + b"\r\n")

    async def begin(self, *recipients: str, sender: str = "<uutiset@lamisnet.fi>") -> list[str]:
        """MAIL and RCPTs one by one; the recipients' replies."""
        assert (await self.say(f"MAIL FROM:{sender}")).startswith("250")
        return [await self.say(f"RCPT TO:<{recipient}>") for recipient in recipients]

    async def data(self, message: bytes = MAILING) -> str:
        """DATA, the message dot-stuffed, the final reply."""
        reply = await self.say("DATA")
        if not reply.startswith("354"):
            return reply
        return await self.body(message)

    async def body(self, message: bytes) -> str:
        """The message, dot-stuffed, and the final reply."""
        wire = message.replace(b"\r\n.", b"\r\n..")
        if wire.startswith(b"."):
            wire = b"." + wire
        if wire and not wire.endswith(b"\r\n"):
            wire += b"\r\n"
        self.writer.write(wire + b".\r\n")
        return await self.reply()

    async def mail(self, *recipients: str, message: bytes = MAILING) -> str:
        """A whole message; every recipient must be accepted."""
        for reply in await self.begin(*recipients):
            assert reply.startswith("250"), reply
        return await self.data(message)

    async def login(self, username: str, password: str) -> str:
        """AUTH PLAIN."""
        token = base64.b64encode(f"\0{username}\0{password}".encode()).decode()
        return await self.say(f"AUTH PLAIN {token}")
