"""The command's root: the groups, and how a failure ends the process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from gateway import __version__
from gateway.cli import (
    accounts,
    backup,
    check,
    demo,
    held,
    keys,
    links,
    organisation,
    records,
    register,
    retention,
    rules,
    serve,
    subject,
    sync,
    wash,
)
from gateway.cli.option import is_text
from gateway.failure import GatewayError, InputError

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
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(rules.app, name="rules")
app.add_typer(register.app, name="register")
app.add_typer(records.app, name="records")
app.add_typer(held.app, name="held")
app.add_typer(retention.app, name="retention")
app.add_typer(accounts.app, name="accounts")
app.add_typer(keys.app, name="keys")
app.add_typer(links.app, name="links")
app.add_typer(subject.app, name="subject")
app.add_typer(organisation.app, name="organisation")
app.add_typer(sync.app, name="sync")


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


def _refuse_unreadable(arguments: Sequence[str]) -> None:
    """Refuse what is not UTF-8 text, unless it names a file.

    No record could hold it, and a command would only notice when its work is done: a
    release would have sent the message and lost who sent it and why.
    """
    for number, argument in enumerate(arguments, 1):
        if not is_text(argument) and not Path(argument).exists():
            raise InputError(f"argument {number} is not UTF-8 text; set the terminal to UTF-8")


def main() -> None:
    """Run the command and end the process with its exit status."""
    try:
        _refuse_unreadable(sys.argv[1:])
        app()
    except GatewayError as error:
        print(f"suppression-gateway: {error}", file=sys.stderr)
        sys.exit(COULD_NOT)
    except BrokenPipeError:
        # Whoever read our output has seen enough.
        sys.stderr.close()
        sys.exit(COULD_NOT)
