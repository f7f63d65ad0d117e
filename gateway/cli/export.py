"""``register export``: contacts, hashes of them, or counts, for a purpose and on the record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated

import typer

from gateway.cli.change import BanScope, ban_scope
from gateway.cli.hashing import AnyNormalise, SaltedBy, SaltFile, scheme_of
from gateway.cli.option import Actor, Config, open_stores, run, settings_of
from gateway.clock import now_ms
from gateway.contacts.hashed import Algorithm, Scheme
from gateway.draft import target_file
from gateway.failure import InputError
from gateway.records.act import Act, Action, Detail
from gateway.records.recorder import Recorder
from gateway.register.disclosure import Purpose
from gateway.register.export import Exported, Sink, export
from gateway.register.hashsink import HashSink
from gateway.register.rowsink import RowSink
from gateway.register.statistics import CountSink
from gateway.serve.stores import Stores
from gateway.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class _Wanted:
    """What is exported, for whom, and on whose word."""

    purpose: Purpose
    actor: str
    reason: str
    contract: str
    full: bool
    scheme: Scheme | None
    scope: BanScope | None
    topic: str | None
    target: Path | None

    @property
    def ndjson(self) -> bool:
        return self.full or (self.target is not None and self.target.suffix == ".ndjson")

    def detail(self) -> dict[str, Detail]:
        """What the act says of it."""
        form = "rows"
        if self.purpose is Purpose.RESEARCH:
            form = "counts"
        elif self.scheme is not None:
            salted = "" if self.scheme.salting is None else f":{self.scheme.salting}"
            form = f"{self.scheme.algorithm}:{self.scheme.normalisation}{salted}"
        detail: dict[str, Detail] = {"for": self.purpose, "form": form, "full": self.full}
        if self.contract:
            detail["contract"] = self.contract
        if self.scope is not None:
            detail["scope"] = self.scope
        return detail


def export_command(
    by: Actor,
    reason: Annotated[str, typer.Option("--reason", help="Why; it is recorded.")],
    target: Annotated[
        Path | None, typer.Argument(metavar="FILE.csv|.ndjson", help="Default: standard output.")
    ] = None,
    purpose: Annotated[
        Purpose, typer.Option("--for", help="Whom it is for; says who is left out, and what.")
    ] = Purpose.OWN,
    contract: Annotated[
        str, typer.Option(help="The contract with the processor; needed with --for processor.")
    ] = "",
    full: Annotated[
        bool,
        typer.Option(
            "--full", help="NDJSON with each entry and all its events, evidence and wording too."
        ),
    ] = False,
    hashed: Annotated[
        Algorithm | None,
        typer.Option(
            "--hashed",
            help="Only hashes of those who are banned. Without a salt they can be guessed: "
            "treat them as addresses.",
        ),
    ] = None,
    normalise: AnyNormalise = None,
    salt_file: SaltFile = None,
    salting: SaltedBy = None,
    scope: Annotated[
        BanScope | None,
        typer.Option(help="With --hashed: which bans; else whatever stops all marketing."),
    ] = None,
    topic: Annotated[str | None, typer.Option(help="With --scope topic.")] = None,
    config: Config = None,
) -> None:
    """Write the contacts that may go where the purpose says, in the form that import reads.

    Whom it is for decides: a ban of disclosure keeps a contact from suppliers, research
    gets counts only.  Every export is recorded, with the numbers of those left out.
    """
    if not reason.strip():
        raise InputError("--reason: say why it is exported; it is recorded")
    if (purpose is Purpose.PROCESSOR) != bool(contract.strip()):
        raise InputError("--for processor and --contract NAME go together")
    if full and (purpose not in (Purpose.OWN, Purpose.AUTHORITY) or hashed is not None):
        raise InputError("--full goes to ourselves or an authority, as NDJSON, and not hashed")
    if (hashed is None) != (normalise is None):
        raise InputError("--hashed ALGORITHM and --normalise go together")
    if hashed is None and (salt_file is not None or scope is not None):
        raise InputError("--salt-file and --scope go with --hashed")
    if hashed is not None and purpose is Purpose.RESEARCH:
        raise InputError("research gets counts only; leave --hashed out")
    if (scope is BanScope.TOPIC) != (topic is not None):
        raise InputError("--scope topic and --topic NAME go together")
    scheme = None
    if hashed is not None and normalise is not None:
        scheme = scheme_of(hashed, normalise, salt_file, salting)
    wanted = _Wanted(
        purpose=purpose,
        actor=by,
        reason=reason,
        contract=contract,
        full=full,
        scheme=scheme,
        scope=scope,
        topic=topic,
        target=target,
    )
    result = run(_export(settings_of(config), wanted))
    for why, count in sorted(result.excluded.items()):
        if count:
            typer.echo(f"{count} left out: {why.replace('_', ' ')}", err=True)
    if scheme is not None and scheme.salting is None:
        typer.echo(
            "unsalted hashes can be guessed: treat the file as a list of addresses", err=True
        )
    typer.echo(f"{result.contacts} contacts exported", err=True)


async def _export(settings: Settings, wanted: _Wanted) -> Exported:
    async with open_stores(settings) as stores, _recorder(settings, stores) as recorder:
        act = Act(
            action=Action.EXPORT, actor=wanted.actor, reason=wanted.reason, detail=wanted.detail()
        )
        await recorder.act(act)

        async def told(result: Exported) -> None:
            detail: dict[str, Detail] = {"of": act.id, "contacts": result.contacts}
            detail |= {f"excluded_{why}": count for why, count in result.excluded.items()}
            done = Act(
                action=Action.EXPORT, actor=wanted.actor, reason=wanted.reason, detail=detail
            )
            await recorder.act(done)

        with target_file(wanted.target) as file:
            sink = _sink(settings, stores, wanted, file)
            return await export(stores.register, stores.known(), wanted.purpose, sink, told)


def _sink(settings: Settings, stores: Stores, wanted: _Wanted, file: IO[str]) -> Sink:
    if wanted.purpose is Purpose.RESEARCH:
        return CountSink(file, settings.register.small_count, now_ms(), ndjson=wanted.ndjson)
    if wanted.scheme is not None:
        scope, channel = (None, None) if wanted.scope is None else ban_scope(wanted.scope)
        return HashSink(file, wanted.scheme, scope, channel, wanted.topic, now_ms())
    histories = stores.histories if wanted.full else None
    return RowSink(file, wanted.purpose, ndjson=wanted.ndjson, histories=histories)


@asynccontextmanager
async def _recorder(settings: Settings, stores: Stores) -> AsyncIterator[Recorder]:
    recorder = Recorder(
        stores.register.connections.wire,
        stores.seal,
        timeout=settings.records.timeout,
        backlog_max=settings.records.backlog_max,
    )
    try:
        yield recorder
    finally:
        await recorder.aclose()
