"""``subject …``: the people of the register, and how their contacts hang together."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import orjson
import typer
from rich.table import Table

from gateway.cli import request, right
from gateway.cli.address import read_contact
from gateway.cli.console import console
from gateway.cli.moment import day, told
from gateway.cli.option import Actor, Config, Json, Reader, run, settings_of
from gateway.cli.who import From, Needed, PersonId, Why, person_of
from gateway.decision.facts import PersonClass
from gateway.failure import InputError
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.serve.desk import Desk
    from gateway.subject.directory import Stored

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="People: their contacts, requests and rights.")
app.add_typer(request.app, name="request")
app.command("requests")(request.requests)
for command in (
    right.access,
    right.portability,
    right.object_command,
    right.withdraw,
    right.unban,
    right.restrict,
    right.unrestrict,
    right.erase,
):
    app.command(command.__name__.removesuffix("_command"))(command)

ContactText = Annotated[str, typer.Argument(help="An e-mail address or a number (+358…).")]


async def at_desk(settings: Settings, work: Callable[[Desk], Awaitable[T]]) -> T:
    """What ``work`` returns, done where people are served."""
    from gateway.serve.desk import open_desk

    async with open_desk(settings) as desk:
        return await work(desk)


@app.command()
def add(
    by: Actor,
    source: From,
    name: Annotated[str, typer.Option(help="What the person is called.")] = "",
    contact: Annotated[
        list[str] | None, typer.Option(help="Address or number; may be given several times.")
    ] = None,
    language: Annotated[str, typer.Option(help="fi, sv or en.")] = "fi",
    person_class: Annotated[PersonClass, typer.Option("--class")] = PersonClass.NATURAL,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Make a person of contacts that belong together: they share their bans from now on."""
    settings = settings_of(config)
    contacts = [read_contact(each) for each in contact or ()]

    async def work(desk: Desk) -> Stored:
        from gateway.subject.people import Who

        return await desk.people.add(
            Who(by, reason),
            name=name,
            contacts=contacts,
            source=source,
            language=_language(language),
            person_class=person_class,
        )

    _print(run(at_desk(settings, work)), json=json)


@app.command()
def show(
    person: PersonId, by: Reader = "", reason: Why = "", json: Json = False, config: Config = None
) -> None:
    """Show what is kept of a person; that it was looked at is recorded."""
    settings = settings_of(config)

    async def work(desk: Desk) -> tuple[Stored, dict[str, Any]]:
        from gateway.subject.people import Who

        stored = await desk.people.read(await person_of(desk, person), Who(by, reason))
        return stored, await desk.access.standing(stored.person)

    stored, standing = run(at_desk(settings, work))
    if json:
        members = orjson.loads(stored.person.to_json()) | standing
        sys.stdout.buffer.write(orjson.dumps(members) + b"\n")
        return
    _print(stored, json=False)
    table = Table(title="in the register", title_justify="left", show_header=False)
    for name, rows in standing.items():
        for row in rows:
            words = ", ".join(f"{k} {v}" for k, v in row.items() if v not in (None, "", False))
            table.add_row(name[:-1], words)
    console().print(table)


@app.command()
def find(
    contact: ContactText,
    by: Reader = "",
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Find who has, or had, an address or number; exit status 1 when nobody has."""
    settings = settings_of(config)
    asked = read_contact(contact)

    async def work(desk: Desk) -> list[Stored]:
        from gateway.subject.people import Who

        return await desk.people.find(asked, Who(by, reason))

    found = run(at_desk(settings, work))
    if json:
        for each in found:
            sys.stdout.buffer.write(each.person.to_json() + b"\n")
    else:
        for each in found:
            typer.echo(f"{each.person.id}  {each.person.name}")
    if not found:
        if not json:
            typer.echo(f"{contact}: nobody has it")
        raise typer.Exit(1)


@app.command()
def link(
    person: PersonId,
    contact: ContactText,
    by: Actor,
    source: From,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Add an address or number to a person; every ban of the person holds for it at once."""
    new = read_contact(contact)
    _change(config, person, by, reason, json, lambda p, i, w: p.link(i, new, w, source=source))


@app.command()
def change(
    person: PersonId,
    old: Annotated[str, typer.Argument(help="The address or number until now.")],
    new: Annotated[str, typer.Argument(help="The one from now on.")],
    by: Actor,
    source: From,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Put an address or number in another's place; every ban comes along."""
    before, after = read_contact(old), read_contact(new)
    _change(
        config,
        person,
        by,
        reason,
        json,
        lambda p, i, w: p.change_contact(i, before, after, w, source=source),
    )


@app.command()
def retire(
    person: PersonId,
    contact: ContactText,
    by: Actor,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Say that an address or number is no longer in use; its bans go on counting."""
    former = read_contact(contact)
    _change(config, person, by, reason, json, lambda p, i, w: p.retire(i, former, w))


@app.command()
def unlink(
    person: PersonId,
    contact: ContactText,
    by: Actor,
    reason: Needed,
    lift: Annotated[
        bool,
        typer.Option("--lift-bans", help="Also lift what was carried between them by mistake."),
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Take away a contact that never was this person's; bans stay unless they are lifted."""
    wrong = read_contact(contact)
    _change(config, person, by, reason, json, lambda p, i, w: p.unlink(i, wrong, w, lift=lift))


@app.command()
def merge(
    person: PersonId,
    other: Annotated[str, typer.Argument(help="The same person under another id.")],
    by: Actor,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Make one of two records of the same person; every ban of either holds for both."""
    _change(config, person, by, reason, json, lambda p, i, w: p.merge(i, other, w))


@app.command()
def rename(
    person: PersonId,
    name: Annotated[str, typer.Argument(help="The name from now on.")],
    by: Actor,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Give a person another name; the one before is kept as a former one."""
    _change(config, person, by, reason, json, lambda p, i, w: p.rename(i, name, w))


@app.command("set")
@app.command("rectify")
def set_command(
    person: PersonId,
    by: Actor,
    language: Annotated[str | None, typer.Option(help="fi, sv or en.")] = None,
    person_class: Annotated[PersonClass | None, typer.Option("--class")] = None,
    relationship_start: Annotated[str | None, typer.Option(help="First day.")] = None,
    start_manner: Annotated[str, typer.Option(help="How the relationship began.")] = "",
    relationship_end: Annotated[str | None, typer.Option(help="Last day.")] = None,
    end_manner: Annotated[str, typer.Option(help="How it ended.")] = "",
    contract: Annotated[str | None, typer.Option(help="A contract's reference.")] = None,
    warranty: Annotated[str | None, typer.Option(help="A warranty's reference.")] = None,
    start: Annotated[str | None, typer.Option(help="The contract's or warranty's start.")] = None,
    end: Annotated[str | None, typer.Option(help="Its last day; without one it is open.")] = None,
    product: Annotated[str | None, typer.Option(help="A product or service.")] = None,
    product_group: Annotated[str, typer.Option(help="Its group.")] = "",
    product_day: Annotated[str | None, typer.Option(help="Its day.")] = None,
    product_state: Annotated[str, typer.Option(help="Offered, delivered, cancelled…")] = "",
    note: Annotated[str | None, typer.Option(help="A note, instead of the one before.")] = None,
    hold: Annotated[str | None, typer.Option(help="Why the data must be kept.")] = None,
    release_hold: Annotated[bool, typer.Option("--release-hold")] = False,
    reason: Why = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """State or correct what is known of a person; what is not given stays as it is."""
    from gateway.clock import now_ms
    from gateway.subject.person import Bond, Commitment, Hold, Product, Relationship

    if contract is not None and warranty is not None:
        raise InputError("--contract and --warranty: one at a time")
    wanted: dict[str, Any] = {
        "language": None if language is None else _language(language),
        "person_class": person_class,
        "note": note,
        "hold": None if hold is None else Hold(since=now_ms(), reason=hold),
        "release_hold": release_hold,
    }
    if any((relationship_start, relationship_end, start_manner, end_manner)):
        wanted["relationship"] = Relationship(
            start=day(relationship_start),
            start_manner=start_manner,
            end=day(relationship_end),
            end_manner=end_manner,
        )
    reference = contract if contract is not None else warranty
    if reference is not None:
        wanted["commitment"] = Commitment(
            bond=Bond.CONTRACT if contract is not None else Bond.WARRANTY,
            reference=reference,
            start=day(start),
            end=day(end),
        )
    elif start is not None or end is not None:
        raise InputError("--start and --end are those of a --contract or --warranty")
    if product is not None:
        wanted["product"] = Product(
            name=product, group=product_group, day=day(product_day), state=product_state
        )
    _change(config, person, by, reason, json, lambda p, i, w: p.set(i, w, **wanted))


@app.command()
def heal(json: Json = False, config: Config = None) -> None:
    """Carry every ban to every contact of everybody, as far as one is missing.

    The gateway does so itself when it starts.  Exit status 1 if somebody could not be read.
    """
    settings = settings_of(config)

    async def work(desk: Desk) -> Any:  # noqa: ANN401 - imported late
        return await desk.spreader.heal()

    healed = run(at_desk(settings, work))
    row = {
        "people": healed.people,
        "tightened": healed.tightened,
        "lifted": healed.lifted,
        "reindexed": healed.reindexed,
        "erased": healed.erased,
        "failed": healed.failed,
    }
    if json:
        typer.echo(orjson.dumps(row))
    else:
        typer.echo(", ".join(f"{name}: {value}" for name, value in row.items()))
    if healed.failed:
        raise typer.Exit(1)


# -- parts ----------------------------------------------------------------------------


def _language(text: str) -> Any:  # noqa: ANN401 - imported late
    from gateway.subject.person import Language

    try:
        return Language(text)
    except ValueError:
        raise InputError(f"--language {text}: fi, sv or en") from None


def _change(
    config: Path | None,
    person: str,
    by: str,
    reason: str,
    json: bool,
    change: Callable[[Any, str, Any], Awaitable[Stored]],
) -> None:
    settings = settings_of(config)

    async def work(desk: Desk) -> Stored:
        from gateway.subject.people import Who

        return await change(desk.people, await person_of(desk, person), Who(by, reason))

    _print(run(at_desk(settings, work)), json=json)


def _print(stored: Stored, *, json: bool) -> None:
    person = stored.person
    if json:
        sys.stdout.buffer.write(person.to_json() + b"\n")
        return
    table = Table(title=f"person {person.id}", title_justify="left", show_header=False)
    for name in person.names:
        table.add_row("name", name.text + _span(name.since, name.until))
    for point in person.contacts:
        table.add_row(
            "contact", f"{point.address}{_span(point.since, point.until)}, from {point.source}"
        )
    table.add_row("class", person.person_class)
    table.add_row("language", person.language)
    for relationship in person.relationships:
        table.add_row(
            "relationship",
            f"{relationship.start or ''} {relationship.start_manner} - "
            f"{relationship.end or 'goes on'} {relationship.end_manner}".strip(),
        )
    for bond in person.commitments:
        table.add_row(bond.bond, f"{bond.reference}: {bond.start or ''} - {bond.end or 'open'}")
    for product in person.products:
        table.add_row("product", f"{product.name} {product.group} {product.day or ''}".strip())
    for objection in person.objections:
        where = " ".join(str(p) for p in (objection.scope, objection.channel, objection.topic) if p)
        table.add_row("objection", f"{told(objection.received)} ({where}): {objection.words}")
    if person.restriction is not None:
        table.add_row("restricted", person.restriction.reason)
    if person.hold is not None:
        table.add_row("hold", person.hold.reason)
    if person.note:
        table.add_row("note", person.note)
    console().print(table)


def _span(since: int, until: int | None) -> str:
    return f", since {told(since)[:10]}" + ("" if until is None else f" until {told(until)[:10]}")
