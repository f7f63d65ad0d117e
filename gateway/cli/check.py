"""``check``: what would be decided for these addresses, and why."""

from __future__ import annotations

from typing import Annotated

import orjson
import typer

from gateway.cli.address import read_contact
from gateway.cli.moment import told
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
from gateway.contacts.contact import Channel, Contact
from gateway.decision.engine import Step
from gateway.decision.engine import explain as explain_facts
from gateway.decision.facts import Kind, Outcome
from gateway.decision.load import find_rules, load_rules
from gateway.decision.rule import RuleSet
from gateway.failure import InputError
from gateway.gate import Gate, Verdict
from gateway.message.traits import Traits
from gateway.settings import Settings
from gateway.settings.model import CLIENT_KINDS


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
    """Say what would be decided now; exit status 1 if any may not go."""
    settings = settings_of(config)
    rules = load_rules(find_rules(settings.rules.set, settings.rules.folder))
    contacts = [_contact(address, channel) for address in addresses]
    for contact in contacts:
        refuse_for_mail(contact.channel, route=route, sender=sender, text=text, at=at)
    if route is not None and client is not None:
        raise InputError("--client and --route: name one of them, the tool that would send")
    own = None if route is None else route_of(settings, route)
    if own is None:
        traits = _traits(settings, client, kind, topic, product_group)
    else:
        traits = route_traits(settings, own, kind, topic, product_group, sender)
    message = trial(settings, traits, own, sender, text, at)
    verdicts = run(_judge(settings, rules, message, contacts))
    for address, verdict in zip(addresses, verdicts, strict=True):
        until = message.until(verdict.contact)
        if json:
            row = _row(address, verdict, rules, with_trace=explain)
            typer.echo(orjson.dumps({**row, "quiet_until": until and told(until)}))
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
        gate = Gate(register)
        verdicts = []
        for contact in contacts:
            own = message.traits_for(contact)
            verdicts += await gate.judge(own, [contact], rules)
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
