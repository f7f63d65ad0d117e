"""``wash``: split a mailing list into may-go and may-not-go."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.table import Table

from gateway.cli.console import console
from gateway.cli.hashing import AnyAlgorithm, AnyNormalise, SaltedBy, SaltFile, scheme_of
from gateway.cli.option import Config, Json, open_register, run, settings_of
from gateway.cli.progress import octet_bar
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
from gateway.contacts.contact import Channel
from gateway.contacts.hashed import Algorithm, Salting
from gateway.decision.facts import Kind
from gateway.decision.load import find_rules, load_rules
from gateway.failure import InputError
from gateway.garbage import seldom_collected
from gateway.gate import Gate
from gateway.message.traits import Traits
from gateway.register.hashlist import Against
from gateway.settings import Settings
from gateway.wash import WashResult, wash_file


def wash(
    source: Annotated[Path, typer.Argument(metavar="IN.csv", help="The list to wash.")],
    may_go: Annotated[
        Path | None, typer.Option("--may-go", help="Output; default IN.may-go.csv.")
    ] = None,
    may_not_go: Annotated[
        Path | None, typer.Option("--may-not-go", help="Output; default IN.may-not-go.csv.")
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option(help="The mailing's kind; default marketing.")
    ] = None,
    channel: Annotated[
        Channel | None, typer.Option(help="How it would travel; default e-mail, with --route SMS.")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="Its topic.")] = None,
    product_group: Annotated[str | None, typer.Option(help="What it markets.")] = None,
    route: RouteName = None,
    sender: SenderId = None,
    text: MessageText = None,
    at: At = None,
    column: Annotated[str | None, typer.Option(help="The column with the addresses.")] = None,
    region: Annotated[
        str | None, typer.Option(help="Country of numbers without + (FI, SE, …).")
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="HASHED", help="A hashed list; whom it names may not go."
        ),
    ] = None,
    algorithm: AnyAlgorithm = None,
    normalise: AnyNormalise = None,
    salt_file: SaltFile = None,
    salting: SaltedBy = None,
    against_column: Annotated[
        str | None, typer.Option(help="The CSV column with the hashes; else one a line.")
    ] = None,
    language: Annotated[str, typer.Option(help="Of the reasons: fi, sv or en.")] = "en",
    json: Json = False,
    config: Config = None,
) -> None:
    """Split a list by what the rules say of each row now; exit status 1 if any may not go."""
    settings = settings_of(config)
    go = may_go or source.with_suffix(f".may-go{source.suffix}")
    stop = may_not_go or source.with_suffix(f".may-not-go{source.suffix}")
    own = None if route is None else route_of(settings, route)
    way = channel or (Channel.EMAIL if own is None else Channel.SMS)
    refuse_for_mail(way, route=route, sender=sender, text=text, at=at)
    if own is not None:
        traits = route_traits(settings, own, kind, topic, product_group, sender)
    else:
        group = product_group
        if group is None and topic in settings.topics:
            group = settings.topics[topic].product_group
        traits = Traits(kind or Kind.MARKETING, channel=way, topic=topic, product_group=group)
    message = trial(settings, traits, own, sender, text, at)
    hashed = _against(against, algorithm, normalise, salt_file, salting, against_column, way)
    result = run(_wash(settings, source, go, stop, message, hashed, column, region, language))
    if json:
        typer.echo(
            orjson.dumps(
                {
                    "may_go": result.may_go,
                    "may_not_go": result.may_not_go,
                    "unreadable": result.unreadable,
                    "named": result.named,
                    "rules": dict(result.rules),
                    "may_go_file": str(go),
                    "may_not_go_file": str(stop),
                }
            )
        )
    else:
        _print(result, settings, go, stop, language)
    if result.may_not_go or result.unreadable or result.named:
        raise typer.Exit(1)


def _against(
    path: Path | None,
    algorithm: Algorithm | None,
    normalise: str | None,
    salt_file: Path | None,
    salting: Salting | None,
    column: str | None,
    channel: Channel,
) -> Against | None:
    """The hashed list that the options name.

    Raises:
        InputError: they do not fit together, or the list cannot be read.

    """
    if path is None:
        if algorithm or normalise or salt_file or salting or column:
            raise InputError("--against HASHED names the list that these options are about")
        return None
    if algorithm is None or normalise is None:
        raise InputError("--against: say how its hashes were made, --algorithm and --normalise")
    scheme = scheme_of(algorithm, normalise, salt_file, salting)
    if scheme.channel is not channel:
        raise InputError(f"--normalise {normalise}: no {channel} address is hashed so")
    return Against.load(path, scheme, column)


async def _wash(
    settings: Settings,
    source: Path,
    go: Path,
    stop: Path,
    message: Trial,
    hashed: Against | None,
    column: str | None,
    region: str | None,
    language: str,
) -> WashResult:
    rules = load_rules(find_rules(settings.rules.set, settings.rules.folder))
    async with open_register(settings) as register:
        with octet_bar(source, "washing") as progress, seldom_collected():
            return await wash_file(
                source,
                go,
                stop,
                gate=Gate(register),
                rules=rules,
                traits=message.traits,
                traits_for=message.traits_for,
                against=None if hashed is None else hashed.names,
                column=column,
                region=region,
                language=language,
                progress=progress,
            )


def _print(result: WashResult, settings: Settings, go: Path, stop: Path, language: str) -> None:
    rules = load_rules(find_rules(settings.rules.set, settings.rules.folder))
    table = Table()
    for heading in ("rows", "rule", "then", "reason"):
        table.add_column(heading)
    for rule_id, count in result.rules.most_common():
        rule = rules.rule(rule_id)
        table.add_row(str(count), rule_id, rule.then.value, rule.reason.get(language))
    if result.unreadable:
        table.add_row(str(result.unreadable), "", "suppress", "no readable address")
    if result.named:
        table.add_row(str(result.named), "", "suppress", "named by the hashed list")
    console().print(table)
    typer.echo(f"{result.may_go} may go: {go}")
    typer.echo(f"{result.may_not_go + result.unreadable + result.named} may not go: {stop}")
