"""Where a scenario happens: client, gateway, sink, and proxies between them."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Collection
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Self

from tests.chaos.apart import Apart
from tests.chaos.archive import Row, read_rows
from tests.chaos.judge import Findings, judge
from tests.chaos.letter import ALLOWED, BANNED, Letter, letters
from tests.chaos.proxy import Proxy
from tests.chaos.sender import Sender
from tests.chaos.sink import Sink
from tests.peers.certificates import self_signed
from tests.peers.house import client_table
from tests.peers.port import free_port
from tests.peers.preloaded import Preloaded
from tests.peers.process import RunningGateway, preloaded_command, until

REJECTED = "127.0.0.2"
"""From here a client sends that is told of bans."""


OUR_FAULTS = (
    "session_failed",
    "command_failed",
    "recipients_failed",
    "delivery_failed",
    "handover_failed",
)
"""Events of the log that stand for a fault of the program."""


class Place:
    """``async with`` it, ``send`` letters while something goes wrong, then ``end``."""

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        client_tls: bool = False,
        sink_tls: bool = False,
        commands: Preloaded,
        seed: int = 1,
        delay: float = 0.02,
        upstream: dict[str, Any] | None = None,
        clients: list[dict[str, Any]] | None = None,
        smtp: dict[str, Any] | None = None,
        **changes: Any,
    ) -> None:
        """``upstream``, ``smtp``, ``changes``: settings laid over the usual ones.

        ``commands`` runs the gateway's commands.  ``delay``: seconds that the sink takes
        for each message, so that much is under way.
        """
        self.folder = folder
        self.commands = commands
        self.seed = seed
        self.letters: list[Letter] = []
        self.faults: list[str] = []
        """What clients and sink found wrong with what the gateway said."""
        self.port = free_port()
        self._stack = AsyncExitStack()
        self._workers = workers
        self._delay = delay
        self._client_tls = client_tls
        self._sink_tls = sink_tls
        self._upstream = upstream or {}
        self._clients = clients
        self._smtp = smtp or {}
        self._changes = changes
        self.sink: Sink
        self.gateway: RunningGateway
        self.near: Proxy
        """Before the gateway."""
        self.far: Proxy
        """Between gateway and sink."""
        self.tls: ssl.SSLContext | None = None

    async def __aenter__(self) -> Self:
        try:
            return await self._open()
        except BaseException:
            await self._stack.aclose()
            raise

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def _open(self) -> Self:
        enter = self._stack.enter_async_context
        certificate = self_signed(self.folder, "localhost")
        apart = self._stack.enter_context(Apart())
        self.sink = await enter(Sink(apart, tls=certificate if self._sink_tls else None))
        self.sink.delay = self._delay
        self.far = await enter(Proxy(apart, lambda: self.sink.port, self.seed))
        self.near = await enter(Proxy(apart, lambda: self.port, self.seed + 1))
        main = {
            "name": "main",
            "host": "localhost" if self._sink_tls else "127.0.0.1",
            "port": self.far.port,
            "tls": "starttls" if self._sink_tls else "none",
            "region": "EEA",
            "connect_timeout": 2,
            "command_timeout": 1,
            "data_timeout": 1,
            "final_timeout": 1,
            **({"ca_file": str(certificate.certificate)} if self._sink_tls else {}),
            **self._upstream,
        }
        usual = [
            client_table(),
            client_table(name="told", networks=[f"{REJECTED}/32"], on_suppress="reject"),
        ]
        smtp = {"listen": [f"127.0.0.1:{self.port}"], "upstreams": [main], **self._smtp}
        if self._client_tls:
            smtp["tls"] = {
                "certificate": str(certificate.certificate),
                "key": str(certificate.key),
            }
            self.tls = ssl.create_default_context(cafile=str(certificate.certificate))
        self.gateway = await enter(
            RunningGateway(
                self.folder,
                clients=self._clients or usual,
                smtp=smtp,
                workers=self._workers,
                **self._changes,
            )
        )
        async with self.gateway.register() as register:
            await register.allow(*ALLOWED, *BANNED)
            await register.ban(*BANNED)
        return self

    def write(self, count: int) -> list[Letter]:
        """So many more letters, which :meth:`end` will ask about."""
        more = letters(count, self.seed, prefix=f"letter{len(self.letters)}")
        self.letters += more
        return more

    async def send(
        self,
        count: int,
        *disasters: Awaitable[None],
        over: float = 5,
        within: float = 60,
        through: Proxy | None = None,
        **how: Any,
    ) -> Sender:
        """Send so many more letters while the disasters happen, until all are settled."""
        more = self.write(count)
        how.setdefault("sources", ("127.0.0.1",) if through else ("127.0.0.1", REJECTED))
        sender = Sender(
            through.port if through else self.port,
            more,
            over=over,
            tls=self.tls,
            seed=self.seed,
            **how,
        )
        try:
            async with asyncio.timeout(within):
                async with asyncio.TaskGroup() as group:
                    group.create_task(sender.run(within))
                    for disaster in disasters:
                        group.create_task(_await(disaster))
        finally:
            self.faults += sender.breaches
        return sender

    async def end(self, *, but: Collection[str] = (), **how: Any) -> Findings:
        """Stop the gateway, compare what is known, and check the archive's chain.

        ``but``: the gateway's ids of
        messages that are no letters.  ``how``: see :func:`tests.chaos.judge.judge`.
        """
        with contextlib.suppress(AssertionError):
            await until(self._archived, 20)
        assert await self.gateway.stop(within=40) == 0, self.gateway.text
        log = self.gateway.log.read_text()
        verified = preloaded_command(self.commands, self.folder, "records", "verify")
        rows = [row for row in self.rows() if row.message not in but]
        findings = judge(self.letters, self.sink.arrivals, rows, banned=BANNED, **how)
        findings.faults += self.faults + self.sink.breaches
        if verified.status:
            findings.faults.append(f"the chain: {verified.out} {verified.err}")
        for line in log.splitlines():
            if any(f'"{name}"' in line for name in OUR_FAULTS):
                findings.faults.append(f"the log tells of a fault of the program:\n{line[:3000]}")
        findings.check()
        return findings

    def rows(self) -> list[Row]:
        """What is archived by now."""
        return read_rows(self.gateway, (one.sender for one in self.letters), ALLOWED + BANNED)

    def _archived(self) -> bool:
        """Whether the archive has come as far as the sink."""
        recorded = {row.message for row in self.rows()}
        return all(arrival.gateway_id in recorded for arrival in self.sink.arrivals)


async def _await(disaster: Awaitable[None]) -> None:
    await disaster
