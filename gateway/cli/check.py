"""``check``: what would be decided for these addresses, and why."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

import orjson
import typer

from gateway.cli.address import read_contact
from gateway.cli.history import knowledge
from gateway.cli.moment import moment, told
from gateway.cli.option import Config, Json, open_register, run, settings_of
from gateway.cli.trial import (
    At,
    MessageText,
    RouteName,
    SenderId,
    Trial,
    refuse_for_mail,
    route_of,
    route_traits,
    trial,
)
from gateway.clock import now_ms
from gateway.contacts.contact import Channel, Contact
from gateway.decision.engine import Step
from gateway.decision.engine import explain as explain_facts
from gateway.decision.facts import Kind, Outcome
from gateway.decision.load import RuleError, find_rules, load_rules
from gateway.decision.rule import RuleSet
from gateway.failure import InputError
from gateway.gate import Gate, Verdict
from gateway.message.traits import Traits
from gateway.settings import Settings
from gateway.settings.value import CLIENT_KINDS


def check(
    addresses: Annotated[list[str], typer.Argument(help="E-mail addresses or numbers.")],
    client: Annotated[
        str | None, typer.Option(help="A sending tool: its kind, topic and product group.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="The message's kind; default marketing.")
    ] = None,
    channel: Annotated[
        Channel | None, typer.Option(help="Else e-mail for addresses, SMS for numbers.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="The message's topic.")] = None,
    product_group: Annotated[str | None, typer.Option(help="What it markets.")] = None,
    route: RouteName = None,
    sender: SenderId = None,
    text: MessageText = None,
    at: At = None,
    explain: Annotated[bool, typer.Option("--explain", help="Show facts and every rule.")] = False,
    language: Annotated[str, typer.Option(help="Of the reasons: fi, sv or en.")] = "en",
    json: Json = False,
    config: Config = None,
) -> None:
    """Say what would be decided now, or was to be at a time; exit status 1 if any may not go."""
    settings = settings_of(config)
    rules = load_rules(find_rules(settings.rules.set, settings.rules.folder))
    contacts = [_contact(address, channel) for address in addresses]
    when = moment(at)
    then = when if when is not None and when <= now_ms() else None
    later = at if then is None else None
    for contact in contacts:
        refuse_for_mail(contact.channel, route=route, sender=sender, text=text, at=later)
    if route is not None and client is not None:
        raise InputError("--client and --route: name one of them, the tool that would send")
    own = None if route is None else route_of(settings, route)
    if own is None:
        traits = _traits(settings, client, kind, topic, product_group)
    else:
        traits = route_traits(settings, own, kind, topic, product_group, sender)
    message = trial(settings, traits, own, sender, text, at)
    told_then: dict[str, object] = {}
    if then is None:
        verdicts = run(_judge(settings, rules, message, contacts))
    else:
        verdicts, rules, in_force = run(_judge_then(settings, rules, message, contacts, then))
        told_then = {
            "at": told(then),
            "rule_set": {
                "name": rules.name,
                "version": rules.version,
                "hash": rules.hash,
                "in_force_then": in_force,
            },
        }
        if not json:
            whose = "in force then" if in_force else "today's: the archive knows none of then"
            typer.echo(f"as known at {told(then)}, by {rules.name} {rules.version} ({whose})")
    for address, verdict in zip(addresses, verdicts, strict=True):
        until = message.until(verdict.contact)
        if json:
            row = _row(address, verdict, rules, with_trace=explain)
            row = {**row, **told_then, "quiet_until": until and told(until)}
            typer.echo(orjson.dumps(row))
        else:
            _print(address, verdict, rules, language, with_trace=explain)
            if until is not None:
                typer.echo(f"  quiet there until {told(until)}")
    if any(verdict.outcome is not Outcome.FORWARD for verdict in verdicts):
        raise typer.Exit(1)


def _traits(
    settings: Settings, name: str | None, kind: Kind | None, topic: str | None, group: str | None
) -> Traits:
    """A message as the options describe it, or as the named client would send it."""
    if name is None:
        named = settings.topics.get(topic) if topic is not None else None
        known = named.product_group if named is not None else None
        return Traits(kind=kind or Kind.MARKETING, topic=topic, product_group=group or known)
    for client in settings.smtp.clients:
        if client.name == name:
            topic = topic or client.topic
            return Traits(
                kind=kind or CLIENT_KINDS[client.kind],
                topic=topic,
                product_group=group or settings.product_group(client, topic),
            )
    names = ", ".join(client.name for client in settings.smtp.clients)
    raise InputError(f"--client {name}: not among smtp.clients ({names})")


def _contact(text: str, channel: Channel | None) -> Contact:
    contact = read_contact(text)
    if channel is not None and contact.channel is not channel:
        raise InputError(f"{text}: not an address for {channel}")
    return contact


async def _judge(
    settings: Settings, rules: RuleSet, message: Trial, contacts: list[Contact]
) -> list[Verdict]:
    async with open_register(settings) as register:
        return await _verdicts(Gate(register), rules, message, contacts)


async def _judge_then(
    settings: Settings, rules: RuleSet, message: Trial, contacts: list[Contact], at: int
) -> tuple[list[Verdict], RuleSet, bool]:
    """The verdicts of an earlier time, the rules they are by, and whether those were its own.

    Rules that this version cannot read any more give way to today's, as do unknown ones.
    """
    async with knowledge(settings, at) as known:
        own = None
        with suppress(RuleError):
            own = await known.rules()
        gate = Gate(known, clock=lambda: at)
        return (
            await _verdicts(gate, own or rules, message, contacts),
            own or rules,
            own is not None,
        )


async def _verdicts(
    gate: Gate, rules: RuleSet, message: Trial, contacts: list[Contact]
) -> list[Verdict]:
    verdicts: list[Verdict] = []
    for contact in contacts:
        verdicts += await gate.judge(message.traits_for(contact), [contact], rules)
    return verdicts


def _row(text: str, verdict: Verdict, rules: RuleSet, *, with_trace: bool) -> dict[str, object]:
    rule = verdict.decision.rule
    row: dict[str, object] = {
        "address": text,
        "canonical": verdict.contact.canonical,
        "outcome": verdict.outcome,
        "rule": rule.id,
        "reason": {lang: rule.reason.get(lang) for lang in ("fi", "sv", "en")},
        "source": rule.source,
        "basis": rule.basis,
        "tier": verdict.tier,
        "position": verdict.position,
    }
    if with_trace:
        row["facts"] = verdict.facts._asdict()
        row["trace"] = [
            {"rule": step.rule.id, "matched": step.matched, "because": _because(step)}
            for step in explain_facts(verdict.facts, rules)
        ]
    return row


def _print(text: str, verdict: Verdict, rules: RuleSet, language: str, *, with_trace: bool) -> None:
    rule = verdict.decision.rule
    typer.echo(f"{text}: {verdict.outcome} by {rule.id}: {rule.reason.get(language)}")
    typer.echo(f"  source: {rule.source}" + (f"; basis: {rule.basis}" if rule.basis else ""))
    if not with_trace:
        return
    if verdict.contact.canonical != text:
        typer.echo(f"  read as {verdict.contact.canonical}, bans also as {verdict.contact.base}")
    shown = ", ".join(f"{name}={_value(value)}" for name, value in verdict.facts._asdict().items())
    typer.echo(f"  facts: {shown}")
    for step in explain_facts(verdict.facts, rules):
        typer.echo(f"  {step.rule.id}: {'matches' if step.matched else _because(step)}")


def _because(step: Step) -> str:
    """Why a rule did not fire: the first fact that did not fit, of each alternative."""
    return "; ".join(
        f"{one.fact} is {_value(one.value)}, not {' or '.join(map(_value, one.wanted))}"
        for one in step.failed
    )


def _value(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
