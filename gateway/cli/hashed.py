"""``register import-hashed``: bans of whoever a list of hashes names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import orjson
import typer

from gateway.cli.change import BanScope, ban_event
from gateway.cli.hashing import HashAlgorithm, Normalise, SaltedBy, SaltFile, scheme_of
from gateway.cli.option import Actor, Config, Json, open_register, open_stores, run, settings_of
from gateway.cli.progress import octet_bar
from gateway.contacts.hashed import Scheme
from gateway.entry.event import Event, EventKind
from gateway.register.hashlist import HashedResult, import_hashed
from gateway.settings import Settings


def import_hashed_command(
    source_file: Annotated[Path, typer.Argument(metavar="FILE")],
    by: Actor,
    algorithm: HashAlgorithm,
    normalise: Normalise,
    source: Annotated[str, typer.Option("--source", help="Whose list it is.")],
    scope: Annotated[BanScope, typer.Option(help="What is forbidden.")] = BanScope.ALL,
    topic: Annotated[str | None, typer.Option(help="With --scope topic.")] = None,
    salt_file: SaltFile = None,
    salting: SaltedBy = None,
    column: Annotated[
        str | None, typer.Option(help="The CSV column with the hashes; else one a line.")
    ] = None,
    at: Annotated[
        str | None, typer.Option("--at", help="When the bans took effect (ISO 8601); default now.")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Apply the good lines although some are bad.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Ban whoever a list of hashes names, without knowing their addresses.

    The hashes are in hex or base64.  Without --skip-bad nothing is applied when any
    line is bad.  Exit status 1 when lines were bad.
    """
    scheme = scheme_of(algorithm, normalise, salt_file, salting)
    event = replace(
        ban_event(EventKind.BAN, by, scope, topic, "", source, at),
        imported=True,
        undated=at is None,
    )
    settings = settings_of(config)
    result = run(_import(settings, source_file, scheme, event, column, skip_bad=skip_bad))
    _report(result, source_file, json=json)
    if result.bad_count:
        raise typer.Exit(1)


async def _import(
    settings: Settings,
    path: Path,
    scheme: Scheme,
    event: Event,
    column: str | None,
    *,
    skip_bad: bool,
) -> HashedResult:
    async def drain() -> int:
        async with open_stores(settings) as stores:
            return await stores.archiver.run_once()

    async with open_register(settings) as register:
        with octet_bar(path, "importing", passes=2) as progress:
            return await import_hashed(
                path,
                register,
                scheme,
                event,
                column=column,
                skip_bad=skip_bad,
                progress=progress,
                drain=drain,
            )


def _report(result: HashedResult, source: Path, *, json: bool) -> None:
    if json:
        typer.echo(
            orjson.dumps(
                {
                    "applied": result.applied,
                    "rows": result.rows,
                    "new": result.new,
                    "scheme": result.scheme,
                    "bad": result.bad_count,
                    "bad_rows": [{"line": bad.line, "cause": bad.cause} for bad in result.bad],
                }
            )
        )
        return
    for bad in result.bad:
        typer.echo(f"{source}:{bad.line}: {bad.cause}", err=True)
    if result.bad_count > len(result.bad):
        typer.echo(f"… and {result.bad_count - len(result.bad)} more bad lines", err=True)
    if result.heading:
        typer.echo(f"{source}:1: taken for a heading", err=True)
    if not result.applied:
        typer.echo(
            f"{result.bad_count} bad lines: nothing is applied; mend them or use --skip-bad",
            err=True,
        )
        return
    typer.echo(
        f"{result.rows} hashes ({result.scheme}): {result.new} new; in force now wherever "
        "one of them is asked about"
    )
