"""``register …``: what the register knows, and every way to change it by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.console import Console
from rich.table import Table

from gateway.cli.moment import day, moment, told
from gateway.cli.option import Actor, Config, Json, open_register, run, settings_of
from gateway.cli.progress import octet_bar
from gateway.clock import now_ms
from gateway.contacts.contact import Channel, Contact
from gateway.contacts.email import parse_email
from gateway.contacts.parse import parse_domain
from gateway.contacts.phone import parse_phone
from gateway.decision.facts import Collected
from gateway.entry.entry import ConsentStatus, Entry, Scope
from gateway.entry.event import Attributes, Event, EventKind
from gateway.failure import InputError
from gateway.register.export import export_rows
from gateway.register.importing import ImportResult, import_file
from gateway.register.register import Register
from gateway.serve.stores import open_stores
from gateway.settings import Settings

app = typer.Typer(no_args_is_help=True, help="Bans, consents and relationships.")

Address = Annotated[
    str, typer.Argument(help="An e-mail address, a number (+358…), or @domain for an organisation.")
]
Evidence = Annotated[
    str, typer.Option("--evidence", help="The request's wording or a reference to it.")
]
Source = Annotated[str, typer.Option("--source", help="Where it came from.")]
At = Annotated[
    str | None, typer.Option("--at", help="When it took effect (ISO 8601); default now.")
]


class BanScope(StrEnum):
    """What ``ban`` and ``unban`` can name."""

    ALL = "all"
    EMAIL = "email"
    SMS = "sms"
    TOPIC = "topic"
    CONTACT = "contact"
    DISCLOSURE = "disclosure"


_SCOPES: dict[BanScope, tuple[Scope, Channel | None]] = {
    BanScope.ALL: (Scope.ALL, None),
    BanScope.EMAIL: (Scope.CHANNEL, Channel.EMAIL),
    BanScope.SMS: (Scope.CHANNEL, Channel.SMS),
    BanScope.TOPIC: (Scope.TOPIC, None),
    BanScope.CONTACT: (Scope.CONTACT, None),
    BanScope.DISCLOSURE: (Scope.DISCLOSURE, None),
}


def _contact(text: str) -> Contact:
    try:
        return parse_email(text) if "@" in text else parse_phone(text)
    except InputError as error:
        raise InputError(f"{text}: {error}") from None


async def _apply(settings: Settings, event: Event, address: str) -> Event:
    async with open_register(settings) as register:
        if address.startswith("@"):
            logged = await register.apply_organisation(event, parse_domain(address[1:]))
            return logged[0]
        return await register.apply(event, _contact(address))


def _change(config: Path | None, event: Event, address: str, done: str, *, json: bool) -> None:
    settings = settings_of(config)
    logged = run(_apply(settings, event, address))
    if json:
        sys.stdout.buffer.write(replace(logged, sealed=None).to_json() + b"\n")
    else:
        typer.echo(f"{address}: {done}; in force now (event {logged.id})")


@app.command()
def ban(
    address: Address,
    by: Actor,
    scope: Annotated[BanScope, typer.Option(help="What is forbidden.")] = BanScope.ALL,
    topic: Annotated[str | None, typer.Option(help="With --scope topic.")] = None,
    evidence: Evidence = "",
    source: Source = "command line",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Forbid direct marketing (or all contact, or disclosure) to a contact or a domain."""
    event = _ban_event(EventKind.BAN, by, scope, topic, evidence, source, at)
    _change(config, event, address, f"ban ({scope})", json=json)


@app.command()
def unban(
    address: Address,
    by: Actor,
    evidence: Annotated[str, typer.Option("--evidence", help="Why the ban is lifted; needed.")],
    scope: Annotated[BanScope, typer.Option(help="Which ban is lifted.")] = BanScope.ALL,
    topic: Annotated[str | None, typer.Option(help="With --scope topic.")] = None,
    source: Source = "command line",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Lift a ban that was set by mistake or taken back; the evidence is recorded."""
    if not evidence.strip():
        raise InputError("--evidence: say why the ban is lifted")
    event = _ban_event(EventKind.UNBAN, by, scope, topic, evidence, source, at)
    _change(config, event, address, f"ban ({scope}) lifted", json=json)


def _ban_event(
    kind: EventKind,
    by: str,
    scope: BanScope,
    topic: str | None,
    evidence: str,
    source: str,
    at: str | None,
) -> Event:
    if (scope is BanScope.TOPIC) != (topic is not None):
        raise InputError("--scope topic and --topic NAME go together")
    wide, channel = _SCOPES[scope]
    return Event(
        kind=kind,
        at=moment(at) or now_ms(),
        actor=by,
        source=source,
        evidence=evidence,
        scope=wide,
        channel=channel,
        topic=topic,
    )


@app.command()
def consent(
    address: Address,
    by: Actor,
    channel: Annotated[Channel, typer.Option(help="For which channel.")] = Channel.EMAIL,
    topic: Annotated[str, typer.Option(help="For which topic; * for every one.")] = "*",
    pending: Annotated[
        bool, typer.Option("--pending", help="Asked for, not confirmed yet.")
    ] = False,
    expires: Annotated[str | None, typer.Option(help="Until when it holds.")] = None,
    wording: Annotated[str, typer.Option(help="The wording shown, with its version.")] = "",
    evidence: Evidence = "",
    source: Source = "command line",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Record a consent; with wording and evidence it is proven and lifts earlier bans."""
    proven = bool(wording.strip() and evidence.strip())
    event = Event(
        kind=EventKind.CONSENT,
        at=moment(at) or now_ms(),
        actor=by,
        source=source,
        evidence=evidence,
        channel=channel,
        topic=topic,
        status=ConsentStatus.PENDING if pending else ConsentStatus.GRANTED,
        expires=moment(expires),
        proven=proven,
        lifts=proven and not pending,
        wording=wording,
    )
    done = "consent pending" if pending else "consent" if proven else "consent without full proof"
    _change(config, event, address, done, json=json)


@app.command()
def withdraw(
    address: Address,
    by: Actor,
    channel: Annotated[Channel, typer.Option(help="For which channel.")] = Channel.EMAIL,
    topic: Annotated[str, typer.Option(help="For which topic; * for every one.")] = "*",
    evidence: Evidence = "",
    source: Source = "command line",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Withdraw a consent: from now on a ban of that channel and topic."""
    event = Event(
        kind=EventKind.WITHDRAW,
        at=moment(at) or now_ms(),
        actor=by,
        source=source,
        evidence=evidence,
        channel=channel,
        topic=topic,
    )
    _change(config, event, address, "consent withdrawn", json=json)


@app.command()
def relationship(
    address: Address,
    by: Actor,
    start: Annotated[str | None, typer.Option(help="First day.")] = None,
    end: Annotated[str | None, typer.Option(help="Last day.")] = None,
    collected: Annotated[
        Collected | None, typer.Option(help="How the contact detail was obtained.")
    ] = None,
    opt_out_offered: Annotated[
        bool | None, typer.Option("--opt-out-offered/--no-opt-out-offered")
    ] = None,
    product_group: Annotated[
        list[str] | None, typer.Option(help="What was bought; may be given several times.")
    ] = None,
    evidence: Evidence = "",
    source: Source = "command line",
    json: Json = False,
    config: Config = None,
) -> None:
    """Record the customer relationship and what soft opt-in asks of it."""
    event = Event(
        kind=EventKind.RELATIONSHIP,
        at=now_ms(),
        actor=by,
        source=source,
        evidence=evidence,
        attributes=Attributes(
            relationship_start=day(start),
            relationship_end=day(end),
            collected=collected,
            opt_out_offered=opt_out_offered,
            product_groups=frozenset(product_group) if product_group else None,
            source_known=True,
        ),
    )
    _change(config, event, address, "relationship recorded", json=json)


@app.command()
def show(address: Address, json: Json = False, config: Config = None) -> None:
    """Show what the register knows of a contact or a domain; exit status 1 if nothing."""
    settings = settings_of(config)
    entry = run(_entry(settings, address))
    if json:
        typer.echo(orjson.dumps({"address": address, **_entry_row(entry)}))
    else:
        _print_entry(address, entry)
    if entry == Entry():
        raise typer.Exit(1)


async def _entry(settings: Settings, address: str) -> Entry:
    async with open_register(settings) as register:
        if address.startswith("@"):
            return await register.show_organisation(address[1:])
        return await register.show(_contact(address))


def _entry_row(entry: Entry) -> dict[str, object]:
    return {
        "bans": [
            {
                "scope": ban.scope,
                "channel": ban.channel,
                "topic": ban.topic,
                "since": told(ban.at),
                "through_another_spelling": ban.inherited,
            }
            for ban in entry.bans
        ],
        "consents": [
            {
                "channel": consent.channel,
                "topic": consent.topic,
                "status": consent.status,
                "since": told(consent.at),
                "expires": told(consent.expires) if consent.expires is not None else None,
                "proven": consent.proven,
            }
            for consent in entry.consents
        ],
        "person_class": entry.person_class,
        "age": entry.age,
        "relationship_start": entry.relationship_start,
        "relationship_end": entry.relationship_end,
        "collected": entry.collected,
        "opt_out_offered": entry.opt_out_offered,
        "product_groups": sorted(entry.product_groups or ()),
        "restricted": entry.restricted,
        "tombstone": entry.tombstone,
        "source_known": entry.source_known,
    }


def _print_entry(address: str, entry: Entry) -> None:
    if entry == Entry():
        typer.echo(f"{address}: not in the register")
        return
    table = Table(title=address, title_justify="left", show_header=False)
    for name, value in _entry_row(entry).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for one in value:
                words = ", ".join(f"{k} {v}" for k, v in one.items() if v not in (None, False))
                table.add_row(name[:-1], words)
        elif value not in (None, [], False):
            table.add_row(name, ", ".join(value) if isinstance(value, list) else str(value))
    Console().print(table)


@app.command()
def history(address: Address, json: Json = False, config: Config = None) -> None:
    """Show every change of a contact, oldest first, with who, when, source and evidence."""
    settings = settings_of(config)
    events = run(_history(settings, address))
    if json:
        for event in events:
            sys.stdout.buffer.write(replace(event, sealed=None).to_json() + b"\n")
        return
    table = Table(title=address, title_justify="left")
    for heading in ("when", "what", "scope", "by", "source", "evidence"):
        table.add_column(heading)
    for event in events:
        scope = " ".join(
            str(part) for part in (event.scope, event.channel, event.topic, event.status) if part
        )
        table.add_row(
            told(event.at),
            event.kind + (" (another spelling)" if event.origin else ""),
            scope,
            event.actor,
            event.source,
            event.evidence,
        )
    Console().print(table)


async def _history(settings: Settings, address: str) -> list[Event]:
    async with open_stores(settings) as stores:
        if address.startswith("@"):
            return await stores.organisation_history(parse_domain(address[1:]))
        return await stores.history(_contact(address))


@app.command()
def export(
    target: Annotated[
        Path | None, typer.Argument(metavar="FILE.csv|.ndjson", help="Default: standard output.")
    ] = None,
    config: Config = None,
) -> None:
    """Write every contact that the register knows, in the form that import reads."""
    settings = settings_of(config)
    count = run(_export(settings, target))
    typer.echo(f"{count} contacts exported", err=True)


async def _export(settings: Settings, target: Path | None) -> int:
    async with open_stores(settings) as stores:
        return await export_rows(stores.register, stores.addresses(), target)


@app.command("import")
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
    async with open_register(settings) as register:
        return await _import_into(register, source, by, mapping, region, skip_bad)


async def _import_into(
    register: Register,
    source: Path,
    by: str,
    mapping: dict[str, str],
    region: str | None,
    skip_bad: bool,
) -> ImportResult:
    with octet_bar(source, "importing", passes=2) as progress:
        return await import_file(
            source,
            register,
            actor=by,
            mapping=mapping,
            region=region,
            skip_bad=skip_bad,
            progress=progress,
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
