"""From settings to running parts: for a worker, the supervisor and the command line."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.contacts.digest import KeyRing
from gateway.decision.load import find_rules, load_rules
from gateway.decision.rule import RuleSet
from gateway.evidence.metric import Metrics
from gateway.gate import Gate
from gateway.held.shelf import Shelf
from gateway.records.record import RuleSetRecord, RuleText
from gateway.records.recorder import Recorder
from gateway.records.seal import Sealer
from gateway.register.register import Register
from gateway.register.server import EmbeddedRegister, embedded
from gateway.serve.keys import address_seal, addresses_seal, evidence_seal, key_ring, sealer
from gateway.serve.offer import offer
from gateway.serve.place import archive_place, configured_url
from gateway.serve.sandbox import sandbox_socket
from gateway.settings import Settings
from gateway.settings.secret import read_secret
from gateway.settings.smtp import SmtpUpstream
from gateway.smtp.credential import Credentials
from gateway.smtp.evidence import Evidence
from gateway.smtp.site import Site
from gateway.upstream.target import Target, Timeouts, Tls
from gateway.upstream.upstreams import Upstreams

if TYPE_CHECKING:
    from gateway.serve.plane import Plane

_PROBE_SECONDS = 3.0


# -- rules and targets -----------------------------------------------------------------


def rule_set(settings: Settings) -> tuple[RuleSet, RuleSetRecord]:
    """The configured rules, and the text that the archive keeps of them.

    Raises:
        RuleError: naming file, line and cause.

    """
    path = find_rules(settings.rules.set, settings.rules.folder)
    rules = load_rules(path)
    return rules, RuleSetRecord(
        hash=rules.hash,
        name=rules.name,
        version=rules.version,
        text=path.read_text(encoding="utf-8"),
        rules=tuple(
            RuleText(r.id, r.basis, r.source, r.reason.fi, r.reason.sv, r.reason.en)
            for r in rules.rules
        ),
    )


def targets(settings: Settings) -> list[Target]:
    """The upstreams as the client side takes them.

    Raises:
        InputError: a password file is unreadable or would be sent in the clear.

    """
    return [_target(settings, upstream) for upstream in settings.smtp.upstreams]


def _target(settings: Settings, upstream: SmtpUpstream) -> Target:
    timeouts = Timeouts(
        connect=upstream.connect_timeout,
        command=upstream.command_timeout,
        data=upstream.data_timeout,
        final=upstream.final_timeout,
    )
    if upstream.sandbox is not None:
        return Target(
            upstream.name,
            path=str(sandbox_socket(settings, upstream.name)),
            max_connections=upstream.max_connections,
            timeouts=timeouts,
        )
    password = ""
    if upstream.password_file is not None:
        password = read_secret(
            upstream.password_file, f"smtp.upstreams {upstream.name}: password_file"
        )
    return Target(
        upstream.name,
        host=upstream.host,
        port=upstream.port,
        tls=Tls(upstream.tls.value),
        ca_file=upstream.ca_file,
        server_name=upstream.server_name or "",
        username=upstream.username or "",
        password=password,
        max_connections=upstream.max_connections,
        timeouts=timeouts,
    )


# -- the register ---------------------------------------------------------------------


def embedded_register(settings: Settings) -> EmbeddedRegister:
    """The embedded register of this configuration, not started."""
    program = settings.register.server
    return EmbeddedRegister(
        settings.data_dir / "register", program=Path(program) if program else None
    )


@asynccontextmanager
async def register_url(settings: Settings) -> AsyncIterator[str]:
    """The register's URL; an embedded one that is not running runs meanwhile."""
    url = configured_url(settings)
    if url is not None:
        yield url
        return
    key_ring(settings)
    sealer(settings)
    program = settings.register.server
    async with embedded(
        settings.data_dir / "register", program=Path(program) if program else None
    ) as running:
        yield running


async def open_register(settings: Settings, url: str, ring: KeyRing, seal: Sealer) -> Register:
    """The register at a URL; look-ups are refused until it was found whole."""
    return await Register.open(
        url,
        ring,
        timeout=settings.register.timeout,
        settle=settings.register.settle,
        bits=settings.register.bucket_bits,
        seal=address_seal(ring, seal),
        seal_all=addresses_seal(seal),
        seal_evidence=evidence_seal(seal),
        guarded=True,
    )


# -- a worker's parts -----------------------------------------------------------------


@dataclass(slots=True)
class Parts:
    """What one process delivers mail with, and how it ends."""

    site: Site
    register: Register
    shelf: Shelf
    ring: KeyRing
    seal: Sealer
    plane: Plane | None = None
    """The text message side, where there are routes."""

    async def rebuild(self, settings: Settings, metrics: Metrics) -> Site:
        """A new site of new settings on the same register, archive and pools.

        Raises:
            GatewayError: the new settings cannot be used; nothing has changed.

        """
        rules, text = rule_set(settings)
        credentials = Credentials(settings.smtp.clients)
        wanted = targets(settings)
        added = offer(settings)
        recorder = self.site.recorder
        await recorder.announce(text)
        if self.plane is not None:
            self.plane.rebuild(settings, rules)
        self.site.upstreams.reload(wanted)
        self.site = replace(
            self.site,
            settings=settings,
            rules=rules,
            credentials=credentials,
            evidence=Evidence(settings, rules, self.ring, recorder, metrics),
            owned_domains=frozenset(settings.controller.domains),
            offer=added,
        )
        return self.site

    def show(self, metrics: Metrics) -> None:
        """Put the numbers that are kept elsewhere into the metrics."""
        for name, stats in self.site.upstreams.stats().items():
            for state in ("open", "idle", "leased", "waiting"):
                metrics.upstream_connections.labels(name, state).set(getattr(stats, state))
            metrics.upstream_connects.labels(name, "made").set(stats.connects)
            metrics.upstream_connects.labels(name, "failed").set(stats.failures)
        metrics.register_trips.set(self.register.current.trips)
        metrics.register_contacts.set(self.register.current.looked_up)
        metrics.outcomes_lost.set(self.site.recorder.outcomes_lost)

    async def aclose(self) -> None:
        """End in the order of the flow: nothing new, outcomes stored, stores closed."""
        if self.plane is not None:
            await self.plane.aclose()
        await self.site.upstreams.aclose()
        await self.site.recorder.aclose()
        await self.register.aclose()
        await self.shelf.aclose()


async def build_parts(settings: Settings, metrics: Metrics, url: str | None = None) -> Parts:
    """The parts of one process; the register must be running, and the archive be there.

    Raises:
        GatewayError: a part cannot be used; what was opened is closed again.

    """
    ring, seal = key_ring(settings), sealer(settings)
    rules, text = rule_set(settings)
    added = offer(settings)
    if url is None:
        url = configured_url(settings) or embedded_register(settings).url
    async with contextlib.AsyncExitStack() as undo:
        register = await open_register(settings, url, ring, seal)
        undo.push_async_callback(register.aclose)
        shelf = Shelf(archive_place(settings), seal, timeout=settings.records.archive_timeout)
        undo.push_async_callback(shelf.aclose)
        recorder = Recorder(
            register.connections.wire,
            seal,
            timeout=settings.records.timeout,
            backlog_max=settings.records.backlog_max,
        )
        undo.push_async_callback(recorder.aclose)
        await recorder.announce(text)
        upstreams = Upstreams(targets(settings), hostname=settings.smtp.hostname)
        undo.push_async_callback(upstreams.aclose)
        # Learns what the upstreams can carry before the first EHLO; none need answer,
        # and one that falls silent must not keep the mail of the others waiting.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PROBE_SECONDS):
                await upstreams.probe()
        site = Site(
            settings=settings,
            rules=rules,
            gate=Gate(register),
            evidence=Evidence(settings, rules, ring, recorder, metrics),
            recorder=recorder,
            contents=shelf.contents,
            held=shelf.held,
            upstreams=upstreams,
            credentials=Credentials(settings.smtp.clients),
            metrics=metrics,
            owned_domains=frozenset(settings.controller.domains),
            offer=added,
        )
        plane = None
        if settings.sms.routes:
            # Late: a worker that carries mail alone does without the HTTP library.
            from gateway.serve.plane import Plane

            plane = Plane.build(
                settings,
                rules,
                gate=site.gate,
                ring=ring,
                recorder=recorder,
                shelf=shelf,
                register=register,
                seal=seal,
                metrics=metrics,
            )
        parts = Parts(site, register, shelf, ring, seal, plane)
        undo.pop_all()
        return parts
