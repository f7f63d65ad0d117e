"""``subject request …`` and ``subject requests``: what people ask for, and by when."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.table import Table

from gateway.cli.address import read_contact
from gateway.cli.console import console
from gateway.cli.moment import moment, told
from gateway.cli.option import Actor, Config, Json, Reader, run, settings_of
from gateway.cli.who import Needed, Why, person_of
from gateway.clock import now_ms
from gateway.failure import InputError

if TYPE_CHECKING:
    from gateway.serve.desk import Desk
    from gateway.subject.request import Request

app = typer.Typer(no_args_is_help=True, help="What people ask for (GDPR 15-22).")

RequestId = Annotated[
    str, typer.Argument(metavar="REQUEST", help="As `subject requests` names it.")
]


@app.command()
def receive(
    kind: Annotated[
        str,
        typer.Argument(
            help="access, portability, rectification, erasure, restriction, objection, withdrawal."
        ),
    ],
    by: Actor,
    person: Annotated[str | None, typer.Option(help="Whose it is: id, address or number.")] = None,
    address: Annotated[str | None, typer.Option(help="What it came by.")] = None,
    words: Annotated[str, typer.Option(help="What was asked, verbatim.")] = "",
    how: Annotated[str, typer.Option(help="By which way it came.")] = "",
    received: Annotated[
        str | None, typer.Option(help="When it arrived (ISO 8601); default now.")
    ] = None,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Take a request in; the month begins when it arrived."""
    contact = None if address is None else read_contact(address)

    async def work(desk: Desk, who: Any) -> Request:  # noqa: ANN401 - imported late
        from gateway.subject.request import Kind

        try:
            asked = Kind(kind)
        except ValueError:
            raise InputError(f"{kind}: not one of {', '.join(Kind)}") from None
        return await desk.requests.receive(
            asked,
            who,
            person_id=None if person is None else await person_of(desk, person),
            contact=contact,
            words=words,
            how=how,
            received=moment(received),
        )

    _do(config, by, reason, json, work)


@app.command()
def show(
    request: RequestId, by: Reader = "", reason: Why = "", json: Json = False, config: Config = None
) -> None:
    """Show a request with all its steps; that it was looked at is recorded."""

    async def work(desk: Desk, who: Any) -> Request:  # noqa: ANN401
        from gateway.records.act import Action

        await desk.people.note(Action.READ, request, who, what="request")
        return await desk.requests.get(request)

    _do(config, by, reason, json, work)


@app.command()
def assign(
    request: RequestId,
    person: Annotated[str, typer.Argument(help="Whose it is.")],
    by: Actor,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Say whose request it is, where that was not known when it came."""

    async def work(desk: Desk, who: Any) -> Request:  # noqa: ANN401
        return await desk.requests.assign(request, await person_of(desk, person), who)

    _do(config, by, reason, json, work)


@app.command("ask-identity")
def ask_identity(
    request: RequestId, by: Actor, reason: Needed, json: Json = False, config: Config = None
) -> None:
    """Note that more was asked to confirm who asks (GDPR 12(6)), and why."""
    _do(config, by, reason, json, lambda d, w: d.requests.ask_identity(request, w))


@app.command()
def identify(
    request: RequestId,
    how: Annotated[str, typer.Option(help="How it was checked; never a copy. Needed.")],
    by: Actor,
    json: Json = False,
    config: Config = None,
) -> None:
    """Note that the identity was checked, by whom and how."""
    _do(config, by, "", json, lambda d, w: d.requests.identify(request, how, w))


@app.command()
def begin(
    request: RequestId, by: Actor, reason: Why = "", json: Json = False, config: Config = None
) -> None:
    """Note that somebody works on it."""
    _do(config, by, reason, json, lambda d, w: d.requests.begin(request, w))


@app.command()
def extend(
    request: RequestId, by: Actor, reason: Needed, json: Json = False, config: Config = None
) -> None:
    """Take two months more; the reason is what the person was told within the first."""
    _do(config, by, reason, json, lambda d, w: d.requests.extend(request, w))


@app.command()
def answer(
    request: RequestId, by: Actor, reason: Needed, json: Json = False, config: Config = None
) -> None:
    """Close a request; the reason says how it was answered."""
    _do(config, by, reason, json, lambda d, w: d.requests.answer(request, w))


@app.command()
def refuse(
    request: RequestId, by: Actor, reason: Needed, json: Json = False, config: Config = None
) -> None:
    """Refuse a request; the reason is what the person is told (GDPR 12(4))."""
    _do(config, by, reason, json, lambda d, w: d.requests.refuse(request, w))


def requests(
    due: Annotated[
        bool, typer.Option("--due", help="Those late or due within 7 days; exit status 1 if any.")
    ] = False,
    every: Annotated[bool, typer.Option("--all", help="Also those that are ended.")] = False,
    by: Reader = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """List open requests, the first due first."""
    settings = settings_of(config)

    async def work() -> list[Request]:
        from gateway.records.act import Action
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who

        async with open_desk(settings) as desk:
            await desk.people.note(Action.READ, "", Who(by), what="requests")
            if due:
                return await desk.requests.due()
            return await desk.requests.every(open_only=not every)

    found = run(work())
    now = now_ms()
    if json:
        for each in found:
            sys.stdout.buffer.write(orjson.dumps(_row(each)) + b"\n")
    elif found:
        table = Table()
        for heading in ("request", "kind", "received", "due", "state", "person"):
            table.add_column(heading, no_wrap=heading == "request")
        for each in found:
            late = " LATE" if each.late(now) else " soon" if each.alarms(now) else ""
            table.add_row(
                each.id,
                each.kind,
                told(each.received)[:10],
                told(each.due)[:10] + late,
                each.state,
                each.person_id or each.digest or "",
            )
        console().print(table)
    else:
        typer.echo("no request is due" if due else "no request is open")
    if due and found:
        raise typer.Exit(1)


def _do(
    config: Path | None,
    by: str,
    reason: str,
    json: bool,
    step: Callable[[Desk, Any], Awaitable[Request]],
) -> None:
    settings = settings_of(config)

    async def work() -> Request:
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who

        async with open_desk(settings) as desk:
            return await step(desk, Who(by, reason))

    row = _row(run(work()))
    if json:
        sys.stdout.buffer.write(orjson.dumps(row) + b"\n")
        return
    table = Table(title=f"request {row['request']}", title_justify="left", show_header=False)
    for name, value in row.items():
        if name == "steps":
            for step_row in row["steps"]:
                table.add_row("step", " ".join(str(part) for part in step_row.values() if part))
        elif value not in (None, "", []):
            table.add_row(name, str(value))
    console().print(table)


def _row(request: Request) -> dict[str, Any]:
    return {
        "request": request.id,
        "kind": request.kind,
        "person": request.person_id,
        "digest": request.digest,
        "received": told(request.received),
        "due": told(request.due),
        "state": request.state,
        "words": request.words,
        "how": request.how,
        "identity": None if request.identity is None else request.identity.how,
        "closed": None if request.closed is None else told(request.closed),
        "outcome": request.outcome,
        "extended": request.extended,
        "steps": [
            {"at": told(step.at), "state": step.state, "by": step.by, "reason": step.reason}
            for step in request.steps
        ],
    }
