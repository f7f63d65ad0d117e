"""``register show|history``: what is known of a contact, and how it came to be."""

from __future__ import annotations

import sys
from dataclasses import replace

import orjson
import typer
from rich.table import Table

from gateway.cli.address import Address, read_contact
from gateway.cli.console import console
from gateway.cli.moment import told
from gateway.cli.option import (
    Config,
    Json,
    Reader,
    ReadReason,
    open_register,
    open_stores,
    record_act,
    run,
    settings_of,
)
from gateway.clock import now_ms
from gateway.contacts.parse import parse_domain
from gateway.entry.entry import Entry, Undeliverable
from gateway.entry.event import Event
from gateway.entry.standing import Standing
from gateway.records.act import Act, Action
from gateway.settings import Settings


def show(
    address: Address,
    by: Reader = "",
    reason: ReadReason = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Show what the register knows of a contact or a domain; exit status 1 if nothing.

    That somebody looked is recorded first.
    """
    settings = settings_of(config)
    entry, banned_by, standing = run(_entry(settings, address, by, reason))
    hashed = [ban for listed in standing.hashed for ban in listed.bans]
    complaints = [*standing.wider_complaints()]
    if json:
        row = {
            "address": address,
            **entry_row(entry),
            "banned_by_organisation": banned_by,
            "banned_by_hashed_list": [ban.scope for ban in hashed],
            "complaints_by_other_spellings": [delivery_row(one, now_ms()) for one in complaints],
        }
        typer.echo(orjson.dumps(row))
    else:
        print_entry(address, entry)
        for domain in banned_by:
            typer.echo(f"its organisation has banned marketing: @{domain}")
        for ban in hashed:
            typer.echo(f"a hashed list bans it: {ban.scope}, since {told(ban.at)}")
        for one in complaints:
            until = "until lifted" if one.expires is None else f"until {told(one.expires)}"
            typer.echo(f"reported as spam by another spelling: since {told(one.at)}, {until}")
    if entry == Entry() and not banned_by and not hashed and not complaints:
        raise typer.Exit(1)


async def _entry(
    settings: Settings, address: str, by: str, reason: str
) -> tuple[Entry, list[str], Standing]:
    """The entry, the organisations above it with a ban, and where it stands besides."""
    async with open_register(settings) as register:
        if address.startswith("@"):
            return await register.show_organisation(address[1:]), [], Standing()
        contact = read_contact(address)
        act = read_act(by, reason, register.subject(contact), "register entry")
        await record_act(register, act)
        banned_by = [
            domain
            for domain in contact.organisations
            if (await register.show_organisation(domain)).bans
        ]
        (standing,) = await register.look_up([contact])
        return await register.show(contact), banned_by, standing


def read_act(by: str, reason: str, subject: str, what: str) -> Act:
    """That somebody reads what is known of a contact."""
    return Act(action=Action.READ, actor=by, reason=reason, subject=subject, detail={"what": what})


def entry_row(entry: Entry) -> dict[str, object]:
    """An entry as JSON has it."""
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
        "delivery": [delivery_row(each, now_ms()) for each in entry.delivery],
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


def delivery_row(each: Undeliverable, now: int) -> dict[str, object]:
    """A delivery suppression as JSON has it."""
    return {
        "undeliverable": each.reason,
        "since": told(each.at),
        "expires": None if each.expires is None else told(each.expires),
        "expired": each.expired(now),
    }


def print_entry(address: str, entry: Entry) -> None:
    """Show an entry."""
    if entry == Entry():
        typer.echo(f"{address}: not in the register")
        return
    table = Table(title=address, title_justify="left", show_header=False)
    for name, value in entry_row(entry).items():
        if isinstance(value, list) and value and isinstance(value[0], dict):
            for one in value:
                words = ", ".join(f"{k} {v}" for k, v in one.items() if v not in (None, False))
                table.add_row(name.removesuffix("s"), words)
        elif value not in (None, [], False):
            table.add_row(name, ", ".join(value) if isinstance(value, list) else str(value))
    console().print(table)


def history(
    address: Address,
    by: Reader = "",
    reason: ReadReason = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Show every change of a contact, oldest first, with who, when, source and evidence.

    That somebody looked is recorded first.
    """
    settings = settings_of(config)
    events = run(_history(settings, address, by, reason))
    if json:
        for event in events:
            sys.stdout.buffer.write(
                replace(event, sealed=None, sealed_evidence=None).to_json() + b"\n"
            )
        return
    table = Table(title=address, title_justify="left")
    for heading in ("when", "what", "scope", "by", "source", "evidence"):
        table.add_column(heading)
    for event in events:
        scope = " ".join(
            str(part)
            for part in (event.scope, event.channel, event.topic, event.status, event.delivery)
            if part
        )
        table.add_row(
            told(event.at),
            event.kind + _whose(event),
            scope,
            event.actor,
            event.source,
            event.evidence,
        )
    console().print(table)


async def _history(settings: Settings, address: str, by: str, reason: str) -> list[Event]:
    async with open_stores(settings) as stores:
        if address.startswith("@"):
            return await stores.organisation_history(parse_domain(address[1:]))
        contact = read_contact(address)
        act = read_act(by, reason, stores.register.subject(contact), "register history")
        await record_act(stores.register, act)
        return await stores.history(contact)


def _whose(event: Event) -> str:
    """Where an event came from, when it was not said of this contact itself."""
    if not event.origin:
        return ""
    carried = event.source == "person"
    return " (another contact of the person)" if carried else " (another spelling)"
