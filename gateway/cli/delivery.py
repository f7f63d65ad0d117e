"""``register undeliverable|deliverable``: delivery suppressions set and lifted by hand."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.address import Address
from gateway.cli.change import At, Evidence, Source, carry_out
from gateway.cli.moment import moment
from gateway.cli.option import Actor, Config, Json, settings_of
from gateway.clock import now_ms
from gateway.entry.entry import DeliveryReason
from gateway.entry.event import Event, EventKind
from gateway.entry.period import delivery_expiry
from gateway.failure import InputError


def undeliverable(
    address: Address,
    by: Actor,
    reason: Annotated[DeliveryReason, typer.Option(help="hard_bounce, complaint or rejected.")],
    expires: Annotated[
        str | None,
        typer.Option(
            help="Until when (ISO 8601), or never; default by [delivery] in the settings."
        ),
    ] = None,
    evidence: Evidence = "",
    source: Source = "command line",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say that mail to a contact bounces or was complained of: no marketing until it expires.

    It is no ban: it says nothing of what the person wants, and ends with its time.
    """
    terms = settings_of(config).delivery
    now = now_ms()
    since = moment(at) or now
    if expires is None:
        until = delivery_expiry(reason, since, terms.bounce_days, terms.complaint_days)
    else:
        until = None if expires == "never" else moment(expires)
    if until is not None and until <= now:
        raise InputError("--expires: that time is over; give a later one, or never")
    event = Event(
        kind=EventKind.UNDELIVERABLE,
        at=since,
        actor=by,
        source=source,
        evidence=evidence,
        delivery=reason,
        expires=until,
    )
    carry_out(config, event, address, f"undeliverable ({reason})", json=json)


def deliverable(
    address: Address,
    by: Actor,
    evidence: Annotated[str, typer.Option("--evidence", help="How it is known; needed.")],
    reason: Annotated[
        DeliveryReason | None, typer.Option(help="Which reason is lifted; default all.")
    ] = None,
    source: Source = "command line",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say that mail can be delivered to a contact again; no ban is touched."""
    if not evidence.strip():
        raise InputError("--evidence: say how it is known that mail can be delivered again")
    event = Event(
        kind=EventKind.DELIVERABLE,
        at=moment(at) or now_ms(),
        actor=by,
        source=source,
        evidence=evidence,
        delivery=reason,
    )
    what = "delivery suppressions" if reason is None else f"delivery suppression ({reason})"
    carry_out(config, event, address, f"{what} lifted", json=json)
