"""``organisation import|link|unlink|list``: companies, and the domains that are theirs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from gateway.cli.option import Actor, Config, Json, run, settings_of
from gateway.cli.who import Why

if TYPE_CHECKING:
    from gateway.subject.organisations import Link

app = typer.Typer(no_args_is_help=True, help="Companies, and the mail domains that are theirs.")

Domain = Annotated[str, typer.Argument(help="What stands after the @.")]


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="A snapshot of YTJ open data, version 3 (JSON).")],
    by: Actor,
    whole: Annotated[
        bool, typer.Option("--whole", help="Companies that are not in it are not known any more.")
    ] = False,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Take in which companies are legal persons, and classify the linked domains anew."""
    settings = settings_of(config)

    async def work() -> Any:  # noqa: ANN401 - imported late
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who

        async with open_desk(settings) as desk:
            return await desk.organisations.import_snapshot(file, Who(by, reason), whole=whole)

    done = run(work())
    row = {
        "companies": done.companies,
        "legal": done.legal,
        "gone": done.gone,
        "classified": done.classified,
    }
    if json:
        typer.echo(orjson.dumps(row))
    else:
        typer.echo(
            f"{done.companies} companies, {done.legal} of them legal persons for certain; "
            f"{done.gone} gone; {done.classified} addresses classified"
        )


@app.command()
def link(
    domain: Domain,
    business_id: Annotated[str, typer.Argument(metavar="Y-TUNNUS")],
    by: Actor,
    source: Annotated[str, typer.Option("--source", help="How it is known.")] = "command line",
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Say whose a domain is; exit status 1 if that is no legal person for certain.

    Addresses of a role (info@, posti@) are then a legal person's, named ones never.
    """
    settings = settings_of(config)

    async def work() -> tuple[Link, int]:
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who

        async with open_desk(settings) as desk:
            return await desk.organisations.link(
                domain, business_id, Who(by, reason), source=source
            )

    made, changed = run(work())
    if json:
        typer.echo(orjson.dumps({**_row(made), "classified": changed}))
    elif made.legal_person:
        typer.echo(f"{made.domain}: {made.name} ({made.form}); {changed} addresses classified")
    else:
        typer.echo(
            f"{made.domain}: linked to {made.business_id}, which no snapshot knows as a legal "
            "person; its addresses stay natural persons'"
        )
    if not made.legal_person:
        raise typer.Exit(1)


@app.command()
def unlink(domain: Domain, by: Actor, reason: Why = "", config: Config = None) -> None:
    """Forget whose a domain is; its addresses are natural persons' again."""
    settings = settings_of(config)

    async def work() -> int:
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who

        async with open_desk(settings) as desk:
            return await desk.organisations.unlink(domain, Who(by, reason))

    typer.echo(f"{domain}: unlinked; {run(work())} addresses are natural persons' again")


@app.command("list")
def list_command(json: Json = False, config: Config = None) -> None:
    """List the linked domains; exit status 1 when there are none."""
    settings = settings_of(config)

    async def work() -> list[Link]:
        from gateway.serve.desk import open_desk

        async with open_desk(settings) as desk:
            return await desk.organisations.links()

    found = run(work())
    for each in found:
        if json:
            typer.echo(orjson.dumps(_row(each)))
        else:
            known = f"{each.name} ({each.form})" if each.legal_person else "not known as legal"
            typer.echo(f"{each.domain}  {each.business_id}  {known}")
    if not found:
        if not json:
            typer.echo("no domain is linked")
        raise typer.Exit(1)


def _row(link: Link) -> dict[str, object]:
    return {
        "domain": link.domain,
        "business_id": link.business_id,
        "name": link.name,
        "form": link.form,
        "legal_person": link.legal_person,
    }
