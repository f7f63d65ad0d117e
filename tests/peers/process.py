"""The gateway as its users run it: `python -m gateway …` in processes of its own.

    async with RunningGateway(tmp_path, upstream=upstream) as gateway:
        async with gateway.register() as register:
            await register.allow("a@example.com")
        ... mail to gateway.smtp ...
        await gateway.line("reloaded")
        assert await gateway.stop() == 0

It shares nothing with the tests but files and sockets.  Whatever happens in a test,
its processes end: each is known by the folder that it works in.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Self

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.digest import subject_of
from gateway.contacts.parse import parse_contact
from gateway.decision.facts import Collected
from gateway.entry.entry import DeliveryReason, Scope
from gateway.entry.event import Attributes, Event, EventKind
from gateway.records.archive import Archive, Found
from gateway.register.register import Register
from gateway.serve.assembly import open_register, register_url
from gateway.serve.keys import key_ring, sealer
from gateway.serve.stores import open_database
from gateway.settings import Settings
from gateway.settings.load import load_settings
from tests.peers.certificates import Certificate
from tests.peers.house import MAILING, OWN, Client, client_table
from tests.peers.preloaded import Preloaded
from tests.peers.scripted import ScriptedUpstream

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


def command(
    folder: Path, *arguments: str | Path, within: float = 60, env: Mapping[str, str] | None = None
) -> Done:
    """Run `python -m gateway …` in a folder to its end; a traceback is never an answer."""
    done = subprocess.run(
        [sys.executable, "-m", "gateway", *map(str, arguments)],
        cwd=folder,
        env={**environment(), **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=within,
        check=False,
    )
    result = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in result.err + result.out, result.err
    return result


def preloaded_command(
    server: Preloaded, folder: Path, *arguments: str | Path, env: Mapping[str, str] | None = None
) -> Done:
    """Do as :func:`command`, without the time that the gateway's import takes."""
    told = server.run([*map(str, arguments)], folder, {**environment(), **(env or {})})
    result = Done(*told)
    assert "Traceback" not in result.err + result.out, result.err
    return result


def write_config(folder: Path, tables: Mapping[str, Any]) -> Path:
    """`config.toml` in the folder."""
    path = folder / "config.toml"
    path.write_text("".join(f"{name} = {_toml(value)}\n" for name, value in tables.items()))
    return path


def tables(
    *,
    upstream: ScriptedUpstream | int | None = None,
    clients: Sequence[Mapping[str, Any]] | None = None,
    tls: Certificate | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """A whole configuration on free ports; without an upstream it has the sandbox.

    ``changes`` are laid over it, tables member by member.
    """
    main: dict[str, Any] = {"name": "main", "sandbox": "sandbox"}
    if upstream is not None:
        port = upstream if isinstance(upstream, int) else upstream.port
        main = {
            "name": "main",
            "host": "127.0.0.1",
            "port": port,
            "tls": "none",
            "region": "EEA",
            "connect_timeout": 2,
            "command_timeout": 3,
            "data_timeout": 3,
            "final_timeout": 20,
        }
    smtp: dict[str, Any] = {
        "listen": ["127.0.0.1:0"],
        "hostname": "gateway.test",
        "clients": [dict(client) for client in clients or [client_table()]],
        "upstreams": [main],
    }
    if tls is not None:
        smtp["tls"] = {"certificate": str(tls.certificate), "key": str(tls.key)}
        smtp["listen_tls"] = ["127.0.0.1:0"]
    whole: dict[str, Any] = {
        "data_dir": "data",
        "controller": {
            "name": "LamisNET",
            "business_id": "2701131-6",
            "contact_email": "privacy@lamisnet.example",
            "domains": [OWN],
        },
        "smtp": smtp,
        "http": {"listen": ["127.0.0.1:0"]},
        "drain_timeout": 10,
    }
    for name, value in changes.items():
        if isinstance(value, Mapping):
            whole[name] = {**whole.get(name, {}), **value}
        else:
            whole[name] = value
    return whole


class RunningGateway:
    """One gateway in a folder of its own; ``async with`` it."""

    def __init__(self, folder: Path, **how: Any) -> None:
        self.folder = folder
        self.how = how
        self.log = folder / "log.jsonl"
        self._process: subprocess.Popen[bytes] | None = None
        self._from = 0
        """Where in the log the latest start begins."""
        self.configure()

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            self.clean_up()
            raise

    async def __aexit__(self, *_: object) -> None:
        try:
            if self.running:
                await self.stop()
        finally:
            self.clean_up()

    # -- life ---------------------------------------------------------------------

    def configure(self, **changes: Any) -> None:
        """Write the configuration anew, these of :func:`tables`' arguments changed."""
        self.how = {**self.how, **changes}
        self.config = write_config(self.folder, tables(**self.how))

    async def start(self, *arguments: str, ready: bool = True) -> Self:
        """Start `serve`; returns when it is ready."""
        assert not self.running
        with self.log.open("ab") as output:
            self._from = output.tell()
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "serve", *arguments],
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        if ready:
            await self.line("ready", within=60)
        return self

    async def stop(self, number: int = signal.SIGTERM, within: float = 40) -> int:
        """Signal it, and its exit status once it and all its children are gone."""
        self.signal(number)
        status = await self.ended(within)
        await until(lambda: not self.processes(), within, "processes left running")
        return status

    async def ended(self, within: float = 40) -> int:
        """The exit status, once it has ended."""
        process = self._process
        assert process is not None
        await until(lambda: process.poll() is not None, within, "it does not end")
        return process.returncode

    def signal(self, number: int) -> None:
        """Signal the supervisor."""
        assert self._process is not None
        self._process.send_signal(number)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def processes(self) -> dict[int, str]:
        """Every process of this gateway, by id: the supervisor, workers, the register."""
        return dict(_within(self.folder))

    @property
    def workers(self) -> list[int]:
        return [pid for pid, line in self.processes().items() if "gateway.serve.worker" in line]

    @property
    def register_pid(self) -> int:
        """The process of the embedded register."""
        [pid] = [p for p, line in self.processes().items() if "register.sock" in line]
        return pid

    def clean_up(self) -> None:
        """Kill whatever is left of it."""
        end = time.monotonic() + 10
        while self.processes() and time.monotonic() < end:
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        if self._process is not None:
            self._process.wait(10)

    # -- the log ------------------------------------------------------------------

    @property
    def text(self) -> str:
        """Everything it has written since its latest start."""
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The log's lines since the latest start; what is not JSON is ``{"text": …}``."""
        found = []
        for line in self.text.splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                found.append({"text": line})
        return found

    async def line(
        self, event: str, *, count: int = 1, within: float = 30, **members: Any
    ) -> dict[str, Any]:
        """The ``count``-th line of an event, once it is there."""
        end = time.monotonic() + within
        while True:
            lines = self.lines
            found = [
                one
                for one in lines
                if one.get("event") == event
                and all(one.get(name) == value for name, value in members.items())
            ]
            if len(found) >= count:
                return found[count - 1]
            if not self.running:
                raise AssertionError(f"ended before {event!r}:\n{self.text}")
            if time.monotonic() > end:
                raise AssertionError(f"no {event!r} within {within} s:\n{self.text}")
            await asyncio.sleep(0.02)

    def said(self, event: str) -> dict[str, Any]:
        """The latest line of an event, which must be there."""
        return [line for line in self.lines if line.get("event") == event][-1]

    def _port(self, member: str) -> int:
        return int(self.said("ready")[member][0].rpartition(":")[2])

    @property
    def smtp(self) -> int:
        return self._port("smtp")

    @property
    def smtp_tls(self) -> int:
        return self._port("smtp_tls")

    @property
    def sms(self) -> int:
        return self._port("sms")

    @property
    def api(self) -> int:
        return self._port("api")

    @property
    def public(self) -> int:
        return self._port("public")

    @property
    def inbound(self) -> int:
        return self._port("inbound")

    @property
    def http(self) -> int:
        return self._port("http")

    # -- what is asked of it --------------------------------------------------------

    def client(self) -> Client:
        """A bare SMTP client."""
        return Client(self.smtp)

    async def send(
        self, *recipients: str, message: bytes = MAILING, login: tuple[str, str] | None = None
    ) -> str:
        """Send as a tool does; its reply to the final dot, or the first refusal before."""
        async with self.client() as client:
            if login is not None:
                assert (await client.login(*login)).startswith("235")
            for reply in await client.begin(*recipients):
                if not reply.startswith("250"):
                    return reply
            return await client.data(message)

    async def keep_sending(self, *recipients: str, within: float = 40, **how: Any) -> None:
        """Send what is answered 4xx again, until it is taken."""
        end = time.monotonic() + within
        while not (reply := await self.send(*recipients, **how)).startswith("250"):
            assert reply[0] == "4", reply
            assert time.monotonic() < end, reply
            await asyncio.sleep(0.2)

    async def get(self, path: str, source: str = "127.0.0.1") -> tuple[int, str]:
        """Status and body of a GET, asked from this address."""
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.http, local_addr=(source, 0)
        )
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            async with asyncio.timeout(40):
                answer = (await reader.read()).decode()
        finally:
            writer.close()
            await writer.wait_closed()
        head, _, body = answer.partition("\r\n\r\n")
        return int(head.split()[1]), body

    def command(self, *arguments: str | Path, **how: Any) -> Done:
        """Another command on the same configuration."""
        return command(self.folder, *arguments, **how)

    @property
    def settings(self) -> Settings:
        return load_settings(self.config)

    @contextlib.asynccontextmanager
    async def register(self) -> AsyncIterator[Tongue]:
        """Its register, to tell it things."""
        settings = self.settings
        async with register_url(settings) as url:
            register = await open_register(settings, url, key_ring(settings), sealer(settings))
            async with register:
                yield Tongue(register)

    async def allow(self, *addresses: str) -> None:
        """Consents with all their proof."""
        async with self.register() as register:
            await register.allow(*addresses)

    async def ban(self, *addresses: str) -> None:
        """Bans of all marketing; in effect for everyone on return."""
        async with self.register() as register:
            await register.ban(*addresses)

    async def found(
        self,
        address: str | None = None,
        *,
        count: int | None = None,
        within: float = 30,
        **query: Any,
    ) -> list[Found]:
        """Archived records, oldest first; ``count``: once so many have their result."""
        settings = self.settings
        ring, seal = key_ring(settings), sealer(settings)
        if address is not None:
            subject = subject_of(parse_contact(address))
            query["digests"] = [str(digest) for digest in ring.digests(subject)]
        database = await open_database(settings)
        try:
            archive = Archive(database, seal)
            end = time.monotonic() + within
            while True:
                records = list(reversed(await archive.search(limit=100_000, **query)))
                if count is None or (
                    len(records) >= count and all(record.result for record in records)
                ):
                    return records
                if time.monotonic() > end:
                    raise AssertionError(f"{len(records)} records, not {count}: {records}")
                await asyncio.sleep(0.05)
        finally:
            await database.aclose()

    async def results(self, address: str, count: int = 1, within: float = 30) -> list[str | None]:
        """What came of the messages to an address, oldest first."""
        found = await self.found(address, count=count, within=within)
        return [one.result.value if one.result else None for one in found]


class Tongue:
    """Tells a register what a test needs it to know."""

    def __init__(self, register: Register) -> None:
        self._register = register

    async def allow(self, *addresses: str) -> None:
        """Consents with all their proof, each for its own channel."""
        known = Attributes(source_known=True)
        for channel in Channel:
            some = [one for one in addresses if parse_contact(one).channel is channel]
            if not some:
                continue
            await self._tell(
                some,
                [
                    self._event(EventKind.DESCRIBE, attributes=known),
                    self._event(EventKind.CONSENT, channel=channel, proven=True, lifts=True),
                ],
            )

    async def customer(self, *addresses: str) -> None:
        """Customers, whom marketing may reach by soft opt-in."""
        known = Attributes(
            source_known=True,
            relationship_start=date(2020, 1, 1),
            collected=Collected.SALE,
            opt_out_offered=True,
            product_groups=frozenset({"broadband"}),
        )
        await self._tell(addresses, [self._event(EventKind.DESCRIBE, attributes=known)])

    async def unproven(self, *addresses: str) -> None:
        """Consents without their proof: marketing to them is held."""
        known = Attributes(source_known=True)
        await self._tell(
            addresses,
            [
                self._event(EventKind.CONSENT, channel=Channel.EMAIL, proven=False),
                self._event(EventKind.DESCRIBE, attributes=known),
            ],
        )

    async def ban(self, *addresses: str) -> None:
        """Bans of all marketing."""
        await self._tell(addresses, [self._event(EventKind.BAN, scope=Scope.ALL)])

    async def undeliverable(self, reason: DeliveryReason, *addresses: str) -> None:
        """Delivery suppressions that hold until they are lifted."""
        await self._tell(addresses, [self._event(EventKind.UNDELIVERABLE, delivery=reason)])

    def _event(self, kind: EventKind, **more: Any) -> Event:
        return Event(kind=kind, at=now_ms(), actor="test", source="test", **more)

    async def _tell(self, addresses: Sequence[str], events: Sequence[Event]) -> None:
        await self._register.apply_many(
            [(event, parse_contact(address)) for address in addresses for event in events]
        )


async def until(
    condition: Callable[[], object], within: float = 30, otherwise: str = "it never came"
) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{otherwise} (waited {within} s)")
        await asyncio.sleep(0.02)


def environment() -> dict[str, str]:
    """What every process of ours is started with: nothing of the caller's settings."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEWAY_")}
    return {**kept, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}


def _within(folder: Path) -> Iterator[tuple[int, str]]:
    """Processes whose working folder is this one or below it, and their command lines."""
    for place in Path("/proc").iterdir():
        if not place.name.isdecimal():
            continue
        try:
            if (place / "cwd").readlink().is_relative_to(folder):
                line = (place / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield int(place.name), line
        except OSError:
            continue  # gone, or not ours to look at


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, Mapping):
        members = (f"{_toml(str(name))} = {_toml(one)}" for name, one in value.items())
        return "{" + ", ".join(members) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return json.dumps(str(value), ensure_ascii=False)
