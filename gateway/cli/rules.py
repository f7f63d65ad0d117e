"""``rules show`` and ``rules test``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.table import Table

from gateway.cli.console import console
from gateway.cli.option import Config, Json, settings_of
from gateway.decision.load import find_rules, load_rules
from gateway.decision.rule import RuleSet

app = typer.Typer(no_args_is_help=True, help="The rules that decide.")

Name = Annotated[str | None, typer.Argument(help="A rule set's name or a TOML file.")]


def _load(name: str | None, config: Path | None) -> RuleSet:
    if name is not None and name.endswith(".toml"):
        return load_rules(Path(name))
    if name is not None and config is None:
        return load_rules(find_rules(name, None))
    settings = settings_of(config)
    return load_rules(find_rules(name or settings.rules.set, settings.rules.folder))


@app.command()
def show(
    name: Name = None,
    config: Config = None,
    json: Json = False,
    language: Annotated[str, typer.Option("--language", help="fi, sv or en.")] = "en",
) -> None:
    """List the rules in the order in which they are asked."""
    if language not in ("fi", "sv", "en"):
        raise typer.BadParameter("the languages are fi, sv and en", param_hint="--language")
    rules = _load(name, config)
    if json:
        for rule in rules.rules:
            typer.echo(
                orjson.dumps(
                    {
                        "id": rule.id,
                        "then": rule.then,
                        "title": {lang: rule.title.get(lang) for lang in ("fi", "sv", "en")},
                        "source": rule.source,
                        "basis": rule.basis,
                        "uncertain": rule.uncertain,
                    }
                )
            )
        return
    table = Table(title=f"{rules.name} {rules.version}", title_justify="left")
    for heading in ("rule", "then", "title", "source"):
        table.add_column(heading)
    for rule in rules.rules:
        table.add_row(
            rule.id + (" ⚠" if rule.uncertain else ""),
            rule.then.value,
            rule.title.get(language),
            rule.source,
        )
    console().print(table)
    typer.echo("⚠ the interpretation is uncertain; the rule's comment in the file says how")


@app.command()
def test(name: Name = None, config: Config = None) -> None:
    """Load a rule set with all its checks: worked examples, reach, totality."""
    rules = _load(name, config)
    examples = sum(len(rule.examples) for rule in rules.rules)
    typer.echo(
        f"{rules.name} {rules.version}: {len(rules.rules)} rules, "
        f"{examples} examples, each fires its rule"
    )
