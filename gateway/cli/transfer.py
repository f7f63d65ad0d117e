"""``register import``: whole files of contacts in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from gateway.cli.option import Actor, Config, Json, open_register, open_stores, run, settings_of
from gateway.cli.progress import octet_bar
from gateway.failure import InputError
from gateway.garbage import seldom_collected
from gateway.register.importing import ImportResult, import_file
from gateway.settings import Settings


def import_command(
    source: Annotated[Path, typer.Argument(metavar="FILE.csv|.ndjson")],
    by: Actor,
    column: Annotated[
        list[str] | None,
        typer.Option("--map", metavar="OURS=THEIRS", help="email=Sähköposti; several times."),
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Country of numbers without + (FI, SE, …).")
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Apply the good rows although some are bad.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Import contacts, bans and consents; never lifts a ban.

    Without --skip-bad nothing is applied when any row is bad.  Exit status 1 when
    rows were bad.
    """
    mapping = {}
    for pair in column or []:
        ours, equals, theirs = pair.partition("=")
        if not equals or not theirs:
            raise InputError(f"--map {pair}: write OURS=THEIRS, for instance email=Address")
        mapping[ours.strip()] = theirs.strip()
    settings = settings_of(config)
    result = run(_import(settings, source, by, mapping, region, skip_bad=skip_bad))
    _report(result, source, json=json)
    if result.bad_count:
        raise typer.Exit(1)


async def _import(
    settings: Settings,
    source: Path,
    by: str,
    mapping: dict[str, str],
    region: str | None,
    *,
    skip_bad: bool,
) -> ImportResult:
    async def drain() -> int:
        # The archive is opened only where it is needed: a ban does not wait for it.
        async with open_stores(settings) as stores:
            return await stores.archiver.run_once()

    async with open_register(settings) as register:
        with octet_bar(source, "importing", passes=2) as progress, seldom_collected():
            return await import_file(
                source,
                register,
                actor=by,
                mapping=mapping,
                region=region,
                skip_bad=skip_bad,
                progress=progress,
                drain=drain,
            )


def _report(result: ImportResult, source: Path, *, json: bool) -> None:
    if json:
        typer.echo(
            orjson.dumps(
                {
                    "applied": result.applied,
                    "rows": result.rows,
                    "contacts": result.contacts,
                    "changed": result.changed,
                    "unchanged": result.unchanged,
                    "bad": result.bad_count,
                    "bad_rows": [
                        {"line": bad.line, "column": bad.column, "cause": bad.cause}
                        for bad in result.bad
                    ],
                }
            )
        )
        return
    for bad in result.bad:
        typer.echo(f"{source}:{bad.line}: {bad.column}: {bad.cause}", err=True)
    if result.bad_count > len(result.bad):
        typer.echo(f"… and {result.bad_count - len(result.bad)} more bad rows", err=True)
    for warning in result.warnings:
        typer.echo(f"{source}: {warning}", err=True)
    if not result.applied:
        typer.echo(
            f"{result.bad_count} bad rows: nothing is applied; mend them or use --skip-bad",
            err=True,
        )
        return
    typer.echo(
        f"{result.rows} rows, {result.contacts} contacts: "
        f"{result.changed} changed, {result.unchanged} as they were"
    )
