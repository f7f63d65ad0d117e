"""``register rebuild|at``: the register from its events, now and as it was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from gateway.cli.address import Address, read_contact
from gateway.cli.moment import moment, told
from gateway.cli.option import (
    Actor,
    Config,
    Json,
    Reader,
    ReadReason,
    open_stores,
    record_act,
    run,
    settings_of,
)
from gateway.cli.view import entry_row, print_entry, read_act
from gateway.clock import now_ms
from gateway.contacts.parse import parse_domain
from gateway.entry.entry import EMPTY, Entry
from gateway.failure import InputError
from gateway.register.layout import SHARDS
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.register.rebuilt import Progress, Rebuilt
    from gateway.serve.knowledge import Knowledge


def rebuild(
    by: Actor,
    bits: Annotated[
        int | None,
        typer.Option(min=6, max=24, help="Into 2**BITS buckets; default as many as there are."),
    ] = None,
    although_lacking: Annotated[
        bool,
        typer.Option("--although-lacking", help="From an archive that lacks earlier events."),
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Make the register anew from the archive's events and its own streams.

    While it lacks events no marketing is forwarded.  May be stopped and run again.
    """
    settings = settings_of(config)
    fixed = settings.register.bucket_bits
    if bits is not None and fixed is not None and bits != fixed:
        raise InputError(
            f"register.bucket_bits is {fixed}: leave it out or set it to {bits}, "
            "restart the gateway, and rebuild then"
        )
    began = time.monotonic()
    done = run(_rebuild(settings, by, bits or fixed, although_lacking=although_lacking))
    seconds = time.monotonic() - began
    if json:
        row = {
            "events": done.events,
            "contacts": done.contacts,
            "kept": done.kept,
            "unreadable": done.unreadable,
            "bits": done.bits,
            "resumed": done.resumed,
            "seconds": round(seconds, 1),
        }
        typer.echo(orjson.dumps(row))
    else:
        typer.echo(
            f"{done.contacts} contacts from {done.events} events, in 2**{done.bits} buckets, "
            f"in {seconds:.1f} s; whole"
        )
        if done.kept:
            typer.echo(f"{done.kept} entries that no event tells of stay as they were", err=True)
        if done.unreadable:
            typer.echo(f"{done.unreadable} events could not be read", err=True)
    if done.unreadable:
        raise typer.Exit(1)


async def _rebuild(
    settings: Settings, by: str, bits: int | None, *, although_lacking: bool
) -> Rebuilt:
    from gateway.records.act import Act, Action
    from gateway.serve.rebuilding import rebuild as rebuild_all

    async with open_stores(settings) as stores:
        act = Act(action=Action.REBUILD, actor=by, detail={"bits": bits})
        await record_act(stores.register, act)
        async with _bar() as progress:
            return await rebuild_all(
                stores.register,
                stores.events,
                stores.ring.key_ids,
                bits=bits,
                although_lacking=although_lacking,
                progress=progress,
            )


@asynccontextmanager
async def _bar() -> AsyncIterator[Progress]:
    """Progress on standard error, if that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    columns = (TextColumn("rebuilding"), BarColumn(), TextColumn("{task.description}"))
    with Progress(
        *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    ) as shown:
        task = shown.add_task("", total=SHARDS)

        async def progress(shards: int, events: int) -> None:
            shown.update(task, completed=shards, description=f"{events} events")
            await asyncio.sleep(0)

        yield progress


def at(
    when: Annotated[str, typer.Argument(metavar="TIME", help="ISO 8601; without a zone UTC.")],
    address: Address,
    by: Reader = "",
    reason: ReadReason = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Show what was known of a contact or a domain at a time; exit status 1 if nothing.

    What counts is when a change was written down.  That somebody looked is recorded first.
    """
    settings = settings_of(config)
    known = past(when)
    entry, base, banned_by = run(_known(settings, known, address, by, reason))
    if json:
        row = {
            "address": address,
            "at": told(known),
            **_row(entry, known),
            "base": None if base is None else _row(base, known),
            "banned_by_organisation": banned_by,
        }
        typer.echo(orjson.dumps(row))
    else:
        typer.echo(f"as known at {told(known)}:")
        print_entry(address, entry)
        if base is not None and base != EMPTY:
            print_entry("its other spellings", base)
        for domain in banned_by:
            typer.echo(f"its organisation had banned marketing: @{domain}")
    if entry == EMPTY and (base or EMPTY) == EMPTY and not banned_by:
        raise typer.Exit(1)


def past(text: str) -> int:
    """A time that is over, in milliseconds since the epoch; raises InputError."""
    known = moment(text)
    if known is None or known > now_ms():
        raise InputError(f"{text}: lies in the future; what was known can be told of the past")
    return known


def _row(entry: Entry, known: int) -> dict[str, object]:
    row = entry_row(entry)
    row["consents"] = [
        {
            "channel": consent.channel,
            "topic": consent.topic,
            "status": consent.status,
            "since": told(consent.at),
            "expires": told(consent.expires) if consent.expires is not None else None,
            "expired": consent.expired(known),
            "proven": consent.proven,
        }
        for consent in entry.consents
    ]
    return row


async def _known(
    settings: Settings, known: int, address: str, by: str, reason: str
) -> tuple[Entry, Entry | None, list[str]]:
    async with knowledge(settings, known) as then:
        if address.startswith("@"):
            return await then.of_organisation(parse_domain(address[1:])), None, []
        contact = read_contact(address)
        subject = then.register.subject(contact)
        await record_act(then.register, read_act(by, reason, subject, "register entry then"))
        (standing,) = await then.look_up([contact])
        banned_by = [
            domain for domain in contact.organisations if (await then.of_organisation(domain)).bans
        ]
        base = None
        if contact.base != contact.canonical:
            from gateway.entry.merging import merge_exact

            base = merge_exact(standing.base)
        return standing.exact, base, banned_by


@asynccontextmanager
async def knowledge(settings: Settings, known: int) -> AsyncIterator[Knowledge]:
    """What was known at a time."""
    from gateway.serve.knowledge import Knowledge

    async with open_stores(settings) as stores:
        yield Knowledge(stores.register, stores.events, stores.ring, known)
