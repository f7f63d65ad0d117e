"""``retention plan|run``: what may not be kept any longer, and its end."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from gateway.cli.option import Actor, Config, Json, open_stores, run, settings_of
from gateway.records.purge import Purge
from gateway.records.recorder import Recorder
from gateway.retention.contacts import Contacts
from gateway.retention.run import Retention, carry_out, plan
from gateway.serve.desk import person_store
from gateway.serve.stores import Stores
from gateway.settings import Settings
from gateway.subject.ending import Ending

app = typer.Typer(no_args_is_help=True, help="What may not be kept any longer, and its end.")


@app.command("plan")
def plan_command(json: Json = False, config: Config = None) -> None:
    """Show what a run would remove now; exit status 1 if there is something."""
    found = run(_plan(settings_of(config)))
    _tell(found, json=json, done=False)
    if not found.nothing:
        raise typer.Exit(1)


@app.command("run")
def run_command(
    by: Actor,
    reason: Annotated[str, typer.Option("--reason", help="Recorded.")] = "retention has ended",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask first.")] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show what would be removed, ask, and remove it; each part is recorded first."""
    settings = settings_of(config)
    if not yes:
        found = run(_plan(settings))
        _tell(found, json=False, done=False)
        if found.nothing:
            return
        typer.confirm("Remove it? It cannot be brought back", abort=True)
    _tell(run(_run(settings, by, reason)), json=json, done=True)


async def _plan(settings: Settings) -> Retention:
    records = settings.records
    async with open_stores(settings) as stores:
        await stores.catch_up()
        contacts = Contacts(stores.database, stores.register, records.retention_years)
        purge = Purge(stores.database, records.acts_years)
        return await plan(_ending(settings, stores), contacts, purge)


async def _run(settings: Settings, by: str, reason: str) -> Retention:
    records = settings.records
    async with open_stores(settings) as stores:
        await stores.catch_up()
        recorder = Recorder(stores.register.connections.wire, stores.seal)
        try:
            done = await carry_out(
                _ending(settings, stores),
                Contacts(stores.database, stores.register, records.retention_years),
                Purge(stores.database, records.acts_years),
                recorder,
                by,
                reason,
                stores.catch_up,
            )
        finally:
            await recorder.aclose()
        await stores.catch_up()
        await stores.contents.sweep()
        return done


def _ending(settings: Settings, stores: Stores) -> Ending:
    store = person_store(settings, stores.database, stores.custody, stores.ring)
    years = settings.records.retention_years
    return Ending(stores.database, store, stores.register, stores.custody, years)


def _tell(found: Retention, *, json: bool, done: bool) -> None:
    rows = {"people": found.people, "contacts": found.contacts, **found.purged.rows}
    if json:
        typer.echo(orjson.dumps({**rows, "acts": found.purged.acts}))
        return
    if found.nothing:
        typer.echo("nothing to remove: the time of nobody and nothing is over")
        return
    word = "removed" if done else "would be removed"
    if found.people:
        typer.echo(f"people {word}: {found.people}")
    if found.contacts:
        typer.echo(f"contacts forgotten but for their bans: {found.contacts}")
    for kind, count in found.purged.rows.items():
        typer.echo(f"{kind} rows {word}: {count}")
