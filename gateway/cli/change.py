"""``register ban|unban|consent|withdraw|relationship``: changes made by hand."""

from __future__ import annotations

import sys
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli.address import Address, read_contact
from gateway.cli.moment import day, moment, moment_or_now
from gateway.cli.option import Actor, Config, Json, open_register, run, settings_of
from gateway.clock import now_ms
from gateway.contacts.contact import Channel, Contact, Tier
from gateway.contacts.parse import parse_domain
from gateway.decision.facts import Collected
from gateway.entry.entry import ANY_TOPIC, ConsentStatus, Scope
from gateway.entry.event import Attributes, Event, EventKind
from gateway.failure import GatewayError, InputError
from gateway.register.register import Register
from gateway.serve.keys import key_ring, sealer
from gateway.serve.place import archive_place
from gateway.settings import Settings

Evidence = Annotated[
    str, typer.Option("--evidence", help="The request's wording or a reference to it.")
]
Source = Annotated[str, typer.Option("--source", help="Where it came from.")]
At = Annotated[
    str | None, typer.Option("--at", help="When it took effect (ISO 8601); default now.")
]
OfChannel = Annotated[
    Channel | None, typer.Option("--channel", help="Else e-mail for addresses, SMS for numbers.")
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


def ban_scope(name: BanScope) -> tuple[Scope, Channel | None]:
    """The scope that a name stands for, and the channel of a channel's."""
    return _SCOPES[name]


_OF_TIER: dict[Tier | None, str] = {
    Tier.BASE: " of another spelling, or of another contact of the person,",
    Tier.HASHED: " of a hashed list",
}

_UNDELIVERABLE = "mail to it has bounced or was complained of; that stands, for it is no ban"

_CARRIED = frozenset({EventKind.BAN, EventKind.UNBAN, EventKind.WITHDRAW})
"""What reaches the other contacts of the same person."""


def _channel_of(address: str) -> Channel:
    """The channel that reaches an address."""
    return Channel.EMAIL if "@" in address else Channel.SMS


async def _apply(settings: Settings, event: Event, address: str) -> tuple[list[Event], str]:
    """What was logged, and what stands all the same, in words."""
    lifting = event.kind in (EventKind.UNBAN, EventKind.DELIVERABLE)
    async with open_register(settings) as register:
        if address.startswith("@"):
            domain = parse_domain(address[1:])
            if event.delivery is not None or event.kind is EventKind.DELIVERABLE:
                raise InputError(f"{address}: mail goes to an address, not to a domain")
            return await register.apply_organisation(event, domain, only_changes=lifting), ""
        contact = read_contact(address)
        logged = await register.apply_many([(event, contact)], only_changes=lifting)
        if event.kind in _CARRIED:
            await _carry(settings, register, contact)
        if event.kind not in (EventKind.UNBAN, EventKind.CONSENT, EventKind.DELIVERABLE):
            return logged, ""
        (standing,) = await register.look_up([contact])
    channel = event.channel or contact.channel
    topic = None if event.topic == ANY_TOPIC else event.topic
    facts = standing.facts(channel, topic, None, now_ms())
    if event.kind is EventKind.DELIVERABLE:
        return logged, _UNDELIVERABLE if facts.undeliverable else ""
    if facts.ban_organisation:
        return logged, "the ban of its organisation stands"
    if facts.ban_all or facts.ban_channel or facts.ban_topic:
        return logged, f"a ban{_OF_TIER.get(facts.tier, '')} stands and is stronger"
    if facts.undeliverable:
        return logged, f"{_UNDELIVERABLE} (register deliverable lifts it)"
    return logged, ""


async def _carry(settings: Settings, register: Register, contact: Contact) -> None:
    """Carry the change to the other contacts of whoever has this one, where there is anybody.

    The gateway does so as well, a moment later; a ban that was made stays made.
    """
    archive = archive_place(settings)
    if isinstance(archive, Path) and not archive.exists():
        return
    from gateway.serve.desk import open_spreader

    ring, seal = key_ring(settings), sealer(settings)
    try:
        async with open_spreader(settings, register, ring, seal) as spreader:
            await spreader.visit_of(contact)
    except GatewayError as error:
        typer.echo(
            f"done, but not carried to the person's other contacts yet ({error}); "
            "the gateway does it, or subject heal",
            err=True,
        )


def carry_out(config: Path | None, event: Event, address: str, done: str, *, json: bool) -> None:
    """Make the change and say what is true now; exit status 1 if a ban stands against it."""
    settings = settings_of(config)
    logged, stands = run(_apply(settings, event, address))
    if json:
        for one in logged:
            sys.stdout.buffer.write(replace(one, sealed=None).to_json() + b"\n")
    elif logged:
        typer.echo(f"{address}: {done}; in force now (event {logged[0].id})")
    else:
        what = "delivery suppression" if event.kind is EventKind.DELIVERABLE else "ban"
        typer.echo(f"{address}: there was no such {what}; nothing is changed")
    if stands:
        typer.echo(f"{address}: {stands}: no marketing goes there", err=json)
    if stands or not logged:
        raise typer.Exit(1)


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
    event = ban_event(EventKind.BAN, by, scope, topic, evidence, source, at)
    carry_out(config, event, address, f"ban ({scope})", json=json)


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
    event = ban_event(EventKind.UNBAN, by, scope, topic, evidence, source, at)
    carry_out(config, event, address, f"ban ({scope}) lifted", json=json)


def ban_event(
    kind: EventKind,
    by: str,
    scope: BanScope,
    topic: str | None,
    evidence: str,
    source: str,
    at: str | None,
) -> Event:
    """A ban, or its lifting, as the options tell it.

    Raises:
        InputError: scope and topic do not fit together.

    """
    if (scope is BanScope.TOPIC) != (topic is not None):
        raise InputError("--scope topic and --topic NAME go together")
    wide, channel = _SCOPES[scope]
    return Event(
        kind=kind,
        at=moment_or_now(at),
        actor=by,
        source=source,
        evidence=evidence,
        scope=wide,
        channel=channel,
        topic=topic,
    )


def consent(
    address: Address,
    by: Actor,
    channel: OfChannel = None,
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
    if expires is not None and (moment(expires) or 0) <= now_ms():
        raise InputError("--expires: that time is over; a consent holds until a later one")
    event = Event(
        kind=EventKind.CONSENT,
        at=moment_or_now(at),
        actor=by,
        source=source,
        evidence=evidence,
        channel=channel or _channel_of(address),
        topic=topic,
        status=ConsentStatus.PENDING if pending else ConsentStatus.GRANTED,
        expires=moment(expires),
        proven=proven,
        lifts=proven and not pending,
        wording=wording,
    )
    done = "consent pending" if pending else "consent" if proven else "consent without full proof"
    carry_out(config, event, address, done, json=json)


def withdraw(
    address: Address,
    by: Actor,
    channel: OfChannel = None,
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
        at=moment_or_now(at),
        actor=by,
        source=source,
        evidence=evidence,
        channel=channel or _channel_of(address),
        topic=topic,
    )
    carry_out(config, event, address, "consent withdrawn", json=json)


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
    carry_out(config, event, address, "relationship recorded", json=json)
