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
from gateway.contacts.parse import parse_domain
from gateway.entry.entry import Ban, Entry
from gateway.entry.event import Event
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
    entry, banned_by, hashed = run(_entry(settings, address, by, reason))
    if json:
        row = {
            "address": address,
            **entry_row(entry),
            "banned_by_organisation": banned_by,
            "banned_by_hashed_list": [ban.scope for ban in hashed],
        }
        typer.echo(orjson.dumps(row))
    else:
        print_entry(address, entry)
        for domain in banned_by:
            typer.echo(f"its organisation has banned marketing: @{domain}")
        for ban in hashed:
            typer.echo(f"a hashed list bans it: {ban.scope}, since {told(ban.at)}")
    if entry == Entry() and not banned_by and not hashed:
        raise typer.Exit(1)


async def _entry(
    settings: Settings, address: str, by: str, reason: str
) -> tuple[Entry, list[str], list[Ban]]:
    """The entry, the organisations above it with a ban, and the bans of hashed lists."""
    async with open_register(settings) as register:
        if address.startswith("@"):
            return await register.show_organisation(address[1:]), [], []
        contact = read_contact(address)
        act = read_act(by, reason, register.subject(contact), "register entry")
        await record_act(register, act)
        banned_by = [
            domain
            for domain in contact.organisations
            if (await register.show_organisation(domain)).bans
        ]
        (standing,) = await register.look_up([contact])
        hashed = [ban for entry in standing.hashed for ban in entry.bans]
        return await register.show(contact), banned_by, hashed


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
                table.add_row(name[:-1], words)
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
            str(part) for part in (event.scope, event.channel, event.topic, event.status) if part
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
