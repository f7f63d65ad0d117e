"""``demo``: the whole gateway on sample data, with the proof that it works."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.failure import GatewayError


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the demo's folder, to look around in it.")
    ] = False,
) -> None:
    """Show the gateway at work on sample data; exit status 1 if the proof fails."""
    from gateway.demo.run import run_demo

    try:
        proved = run_demo(keep=keep)
    except (KeyboardInterrupt, GatewayError) as error:
        if not _interrupted(error):
            raise
        typer.echo("interrupted; the demo's gateway has ended", err=True)
        raise typer.Exit(130) from None
    if not proved:
        raise typer.Exit(1)


def _interrupted(error: BaseException | None) -> bool:
    """Whether a Ctrl-C is what it began with.

    It ends the gateway as well, whose last words a connection that is being closed may
    then take for a failure of its own.
    """
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False
