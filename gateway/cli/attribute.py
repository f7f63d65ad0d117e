"""``register classify|restrict|unrestrict|describe``: what else is known of a contact."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli.address import Address
from gateway.cli.change import At, Evidence, Source, carry_out
from gateway.cli.moment import moment_or_now
from gateway.cli.option import Actor, Config, Json
from gateway.decision.facts import Age, Collected, PersonClass
from gateway.entry.event import UNSAID, Attributes, Event, EventKind
from gateway.failure import InputError


def classify(
    address: Address,
    person_class: Annotated[
        PersonClass, typer.Argument(metavar="CLASS", help="natural, legal or work.")
    ],
    by: Actor,
    evidence: Evidence = "",
    source: Source = "command line",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say whether a contact is a natural person's, a legal person's or one at work."""
    attributes = Attributes(person_class=person_class)
    event = _event(EventKind.CLASSIFY, by, evidence, source, at, attributes)
    carry_out(config, event, address, f"classified as {person_class}", json=json)


def restrict(
    address: Address,
    by: Actor,
    evidence: Evidence = "",
    source: Source = "command line",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Restrict processing (GDPR 18): nothing but notices goes out until it is lifted."""
    event = _event(EventKind.RESTRICT, by, evidence, source, at)
    carry_out(config, event, address, "restricted", json=json)


def unrestrict(
    address: Address,
    by: Actor,
    evidence: Annotated[str, typer.Option("--evidence", help="Why it is lifted; needed.")],
    source: Source = "command line",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Lift a restriction; the person is to be told before (GDPR 18(3))."""
    if not evidence.strip():
        raise InputError("--evidence: say why the restriction is lifted")
    event = _event(EventKind.UNRESTRICT, by, evidence, source, at)
    carry_out(config, event, address, "restriction lifted", json=json)


def describe(
    address: Address,
    by: Actor,
    age: Annotated[Age | None, typer.Option(help="adult, minor or under_15.")] = None,
    guardian_consent: Annotated[
        bool | None,
        typer.Option("--guardian-consent/--no-guardian-consent", help="Of a child's guardian."),
    ] = None,
    collected: Annotated[
        Collected | None, typer.Option(help="How the contact detail was obtained.")
    ] = None,
    opt_out_offered: Annotated[
        bool | None, typer.Option("--opt-out-offered/--no-opt-out-offered")
    ] = None,
    product_group: Annotated[
        list[str] | None, typer.Option(help="What was bought; may be given several times.")
    ] = None,
    source_known: Annotated[
        bool | None,
        typer.Option(
            "--source-known/--source-unknown", help="Default: known if --source is given."
        ),
    ] = None,
    evidence: Evidence = "",
    source: Annotated[str, typer.Option("--source", help="Where the contact came from.")] = "",
    at: At = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say what else is known: age, product groups, how and from where the contact came."""
    attributes = Attributes(
        age=age,
        guardian_consent=guardian_consent,
        collected=collected,
        opt_out_offered=opt_out_offered,
        product_groups=frozenset(product_group) if product_group else None,
        source_known=True if source_known is None and source else source_known,
    )
    if attributes == UNSAID:
        raise InputError("nothing is said of the contact: give --age, --source or another option")
    event = _event(EventKind.DESCRIBE, by, evidence, source or "command line", at, attributes)
    carry_out(config, event, address, "described", json=json)


def _event(
    kind: EventKind,
    by: str,
    evidence: str,
    source: str,
    at: str | None,
    attributes: Attributes = UNSAID,
) -> Event:
    return Event(
        kind=kind,
        at=moment_or_now(at),
        actor=by,
        source=source,
        evidence=evidence,
        attributes=attributes,
    )
