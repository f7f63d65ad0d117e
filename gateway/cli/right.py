"""``subject access|portability|object|withdraw|unban|restrict|unrestrict|erase``."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from gateway.cli.change import BanScope, ban_scope
from gateway.cli.moment import moment_or_now
from gateway.cli.option import Actor, Config, Json, Reader, run, settings_of
from gateway.cli.who import Needed, PersonId, Why, person_of
from gateway.contacts.contact import Channel
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.subject.access import Report
    from gateway.subject.directory import Stored
    from gateway.subject.erasure import Erasing

Folder = Annotated[
    Path, typer.Option("--out", help="The folder for the files, which only you may read.")
]
ScopeOption = Annotated[BanScope, typer.Option(help="What is forbidden.")]
Topic = Annotated[str | None, typer.Option(help="With --scope topic.")]
TongueOption = Annotated[
    str | None, typer.Option("--language", help="fi, sv or en; else the person's.")
]


def access(
    person: PersonId,
    by: Reader = "",
    out: Folder = Path(),
    language: TongueOption = None,
    content: Annotated[
        bool, typer.Option("--content", help="With the text of the messages that are kept.")
    ] = False,
    staff_names: Annotated[
        bool, typer.Option("--staff-names/--no-staff-names", help="Who read and changed the data.")
    ] = True,
    reason: Why = "",
    config: Config = None,
) -> None:
    """Write all that is known of a person: one HTML file to read or print, and JSON."""
    from gateway.subject.report import to_html, to_json, write_private

    report = _report(config, person, by, reason, language, content=content, staff=staff_names)
    stem = out / f"access-{report.person['id']}"
    for path, octets in (
        (stem.with_suffix(".html"), to_html(report).encode()),
        (stem.with_suffix(".json"), to_json(report)),
    ):
        write_private(path, octets)
        typer.echo(str(path))


def portability(
    person: PersonId,
    by: Reader = "",
    out: Folder = Path(),
    reason: Why = "",
    config: Config = None,
) -> None:
    """Write what the person provided, for another controller: JSON and CSV."""
    from gateway.subject.portability import to_csv, to_json
    from gateway.subject.report import write_private

    report = _report(config, person, by, reason, None, content=False, staff=False)
    stem = out / f"portability-{report.person['id']}"
    for path, octets in (
        (stem.with_suffix(".json"), to_json(report)),
        (stem.with_suffix(".csv"), to_csv(report)),
    ):
        write_private(path, octets)
        typer.echo(str(path))


def _report(
    config: Path | None,
    person: str,
    by: str,
    reason: str,
    language: str | None,
    *,
    content: bool,
    staff: bool,
) -> Report:
    settings = settings_of(config)

    async def work() -> Report:
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who
        from gateway.subject.person import Language

        try:
            tongue = None if language is None else Language(language)
        except ValueError:
            raise InputError(f"--language {language}: fi, sv or en") from None
        async with open_desk(settings) as desk:
            await desk.stores.catch_up()
            return await desk.access.report(
                await person_of(desk, person),
                Who(by, reason),
                language=tongue,
                content=content,
                staff=staff,
            )

    return run(work())


def object_command(
    person: PersonId,
    by: Actor,
    words: Annotated[str, typer.Option(help="The request, verbatim. Needed.")],
    scope: ScopeOption = BanScope.ALL,
    topic: Topic = None,
    how: Annotated[str, typer.Option(help="By which way it came.")] = "",
    received: Annotated[str | None, typer.Option(help="When it came; default now.")] = None,
    reason: Why = "",
    config: Config = None,
) -> None:
    """Ban marketing (or contact, or disclosure) to every contact of a person, in their words."""
    settings = settings_of(config)
    wide, channel = _scope(scope, topic)

    async def work() -> Stored:
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who
        from gateway.subject.person import Objection

        objection = Objection(
            words=words,
            received=moment_or_now(received),
            scope=wide,
            channel=channel,
            topic=topic,
            how=how,
            by=by,
        )
        async with open_desk(settings) as desk:
            return await desk.wishes.object(
                await person_of(desk, person), objection, Who(by, reason)
            )

    stored = run(work())
    typer.echo(
        f"{stored.person.id}: ban ({scope}) in force now for {len(stored.person.contacts)} contacts"
    )


def withdraw(
    person: PersonId,
    by: Actor,
    channel: Annotated[Channel, typer.Option(help="By which channel.")] = Channel.EMAIL,
    topic: Annotated[str, typer.Option(help="For which topic; * for every one.")] = "*",
    words: Annotated[str, typer.Option(help="The request, verbatim.")] = "",
    reason: Why = "",
    config: Config = None,
) -> None:
    """Withdraw a person's consents of a channel and topic, for every contact of it."""
    settings = settings_of(config)

    async def work() -> Stored:
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who

        async with open_desk(settings) as desk:
            return await desk.wishes.withdraw(
                await person_of(desk, person), channel, topic, Who(by, reason), words=words
            )

    typer.echo(f"{run(work()).person.id}: withdrawn ({channel}); in force now")


def unban(
    person: PersonId,
    by: Actor,
    reason: Needed,
    scope: ScopeOption = BanScope.ALL,
    topic: Topic = None,
    config: Config = None,
) -> None:
    """Lift a ban from every contact of a person; exit status 1 if there was none."""
    settings = settings_of(config)
    wide, channel = _scope(scope, topic)

    async def work() -> int:
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who

        async with open_desk(settings) as desk:
            return await desk.wishes.unban(
                await person_of(desk, person),
                Who(by, reason),
                scope=wide,
                channel=channel,
                topic=topic,
            )

    lifted = run(work())
    typer.echo(f"ban ({scope}) lifted from {lifted} contacts" if lifted else "no such ban")
    if not lifted:
        raise typer.Exit(1)


def restrict(person: PersonId, by: Actor, reason: Needed, config: Config = None) -> None:
    """Restrict processing (GDPR 18): no marketing, and service messages are held."""
    typer.echo(f"{_restriction(settings_of(config), person, by, reason, on=True)}: restricted")


def unrestrict(person: PersonId, by: Actor, reason: Needed, config: Config = None) -> None:
    """Lift the restriction; tell the person before (GDPR 18(3))."""
    typer.echo(
        f"{_restriction(settings_of(config), person, by, reason, on=False)}: no longer restricted"
    )


def _restriction(settings: Settings, person: str, by: str, reason: str, *, on: bool) -> str:
    async def work() -> str:
        from gateway.serve.desk import open_desk
        from gateway.subject.people import Who

        async with open_desk(settings) as desk:
            change = desk.wishes.restrict if on else desk.wishes.unrestrict
            return (await change(await person_of(desk, person), Who(by, reason))).person.id

    return run(work())


def erase(
    person: PersonId,
    by: Actor,
    reason: Why = "",
    check: Annotated[
        bool, typer.Option("--check", help="Say what would be done, and do nothing.")
    ] = False,
    excepted: Annotated[
        list[str] | None,
        typer.Option(
            "--except",
            help="Erase although a relationship, contract, warranty or hold stands against it.",
        ),
    ] = None,
    request: Annotated[str | None, typer.Option(help="The request that is closed by it.")] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Erase a person: content and identity go for good, bans stay as tombstones.

    Cut off in between, it is ended by asking for the same again.  Exit status 1 when it
    is refused; the refusal is a text that can be sent, in the person's language.
    """
    settings = settings_of(config)
    if not check and not reason.strip():
        raise InputError("--reason: say why the person is erased; it is recorded")

    async def work() -> tuple[Erasing | None, str]:
        from gateway.serve.desk import open_desk
        from gateway.subject.erasure import ErasureRefused, Ground
        from gateway.subject.people import Who

        try:
            grounds = [Ground(each) for each in excepted or ()]
        except ValueError:
            raise InputError(f"--except: one of {', '.join(Ground)}") from None
        async with open_desk(settings) as desk:
            who = Who(by, reason)
            person_id = await person_of(desk, person)
            if check:
                return await desk.erasure.check(person_id, who), ""
            try:
                done = await desk.erasure.erase(
                    person_id, who, excepted=grounds, request_id=request
                )
            except ErasureRefused as refused:
                return None, refused.text
            return done, ""

    done, refusal = run(work())
    if done is None:
        typer.echo(orjson.dumps({"refused": refusal}) if json else refusal)
        raise typer.Exit(1)
    _print_erasing(done, check=check, json=json)
    if check and done.obstacles:
        raise typer.Exit(1)


def _print_erasing(done: Erasing, *, check: bool, json: bool) -> None:
    if json:
        sys.stdout.buffer.write(orjson.dumps(asdict(done)) + b"\n")
        return
    if done.ended:
        typer.echo(f"{done.person_id}: erased; {done.keys} keys destroyed")
    lines: list[tuple[str, list[Any]]] = [
        ("tombstone (banned for good)", done.contacts),
        ("stays, since somebody else has it too", done.shared),
        ("held message discarded", done.discarded),
        ("held message goes on to its others", done.cut),
        ("held message that you must release or discard", done.left),
        ("tool that lacks a ban; put it there by hand, or erase them there", done.untold),
    ]
    for what, each in lines:
        for one in each:
            typer.echo(f"{what}: {one}")
    for obstacle in done.obstacles:
        if check:
            words = f"{obstacle.ground} {obstacle.reference} {obstacle.until}".rstrip()
            typer.echo(f"stands against it: {words}")
    typer.echo(
        "stays: the tombstones, and records of decisions whose addresses and content "
        "nobody can open; accounting is kept elsewhere"
    )


def _scope(scope: BanScope, topic: str | None) -> tuple[Scope, Channel | None]:
    if (scope is BanScope.TOPIC) != (topic is not None):
        raise InputError("--scope topic and --topic NAME go together")
    return ban_scope(scope)
