"""The command's root: the groups, and how a failure ends the process."""

from __future__ import annotations

import sys

import typer

from gateway import __version__
from gateway.cli import check, demo, held, records, register, rules, serve, wash
from gateway.failure import GatewayError

COULD_NOT = 2

app = typer.Typer(
    name="suppression-gateway",
    help="Asks the customer register before marketing mail leaves.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.command("check")(check.check)
app.command("wash")(wash.wash)
app.add_typer(rules.app, name="rules")
app.add_typer(register.app, name="register")
app.add_typer(records.app, name="records")
app.add_typer(held.app, name="held")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """The register's gatekeeper for outbound mail."""


def main() -> None:
    """Run the command and end the process with its exit status."""
    try:
        app()
    except GatewayError as error:
        print(f"suppression-gateway: {error}", file=sys.stderr)
        sys.exit(COULD_NOT)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        sys.exit(COULD_NOT)
