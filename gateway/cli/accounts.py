"""``accounts add|list|disable|renew``: who may use the HTTP API."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer
from rich.table import Table

from gateway.api.account import Account, Role
from gateway.api.ledger import Ledger
from gateway.cli.console import console
from gateway.cli.moment import moment, told
from gateway.cli.option import Actor, Config, Json, open_register, run, settings_of
from gateway.records.act import Act, Action
from gateway.records.recorder import Recorder
from gateway.serve.keys import sealer
from gateway.serve.stores import open_database
from gateway.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Who may use the HTTP API.")

Name = Annotated[str, typer.Argument(help="A person's or a tool's; one account each.")]


@app.command()
def add(
    name: Name,
    by: Actor,
    role: Annotated[Role, typer.Option(help="What the account is for.")],
    expires: Annotated[str | None, typer.Option(help="Until when it may be used.")] = None,
    config: Config = None,
) -> None:
    """Make an account and print its token, which is shown this once."""
    settings = settings_of(config)
    token = run(_add(settings, name, role, moment(expires), by))
    typer.echo(token)


async def _add(settings: Settings, name: str, role: Role, expires: int | None, by: str) -> str:
    database = await open_database(settings)
    try:
        await _record(
            settings, Act(action=Action.ACCOUNT, actor=by, detail={"add": name, "role": role})
        )
        return await Ledger(database).add(name, role, expires)
    finally:
        await database.aclose()


@app.command("list")
def list_command(json: Json = False, config: Config = None) -> None:
    """List the accounts."""
    accounts = run(_list(settings_of(config)))
    if json:
        for one in accounts:
            typer.echo(orjson.dumps(_row(one)))
        return
    table = Table()
    for heading in ("account", "role", "created", "expires", "disabled"):
        table.add_column(heading)
    for one in accounts:
        table.add_row(*(str(value or "") for value in _row(one).values()))
    console().print(table)


async def _list(settings: Settings) -> list[Account]:
    database = await open_database(settings)
    try:
        return await Ledger(database).all()
    finally:
        await database.aclose()


@app.command()
def disable(name: Name, by: Actor, config: Config = None) -> None:
    """End an account; its token is refused from now on."""
    settings = settings_of(config)
    run(_disable(settings, name, by))
    typer.echo(f"{name}: disabled")


async def _disable(settings: Settings, name: str, by: str) -> None:
    database = await open_database(settings)
    try:
        await _record(settings, Act(action=Action.ACCOUNT, actor=by, detail={"disable": name}))
        await Ledger(database).disable(name)
    finally:
        await database.aclose()


@app.command()
def renew(name: Name, by: Actor, config: Config = None) -> None:
    """Give an account a new token, which is printed; the old one is refused from now on."""
    settings = settings_of(config)
    typer.echo(run(_renew(settings, name, by)))


async def _renew(settings: Settings, name: str, by: str) -> str:
    database = await open_database(settings)
    try:
        await _record(settings, Act(action=Action.ACCOUNT, actor=by, detail={"renew": name}))
        return await Ledger(database).renew(name)
    finally:
        await database.aclose()


async def _record(settings: Settings, act: Act) -> None:
    async with open_register(settings) as register:
        recorder = Recorder(register.connections.wire, sealer(settings))
        try:
            await recorder.act(act)
        finally:
            await recorder.aclose()


def _row(account: Account) -> dict[str, str | None]:
    return {
        "account": account.name,
        "role": account.role,
        "created": told(account.created),
        "expires": None if account.expires is None else told(account.expires),
        "disabled": None if account.disabled is None else told(account.disabled),
    }
