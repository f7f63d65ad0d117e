"""``demo``: the whole gateway on sample data, with the proof that it works."""

from __future__ import annotations

from typing import Annotated

import typer


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Keep the demo's folder, to look around in it.")
    ] = False,
) -> None:
    """Show the gateway at work on sample data; exit status 1 if the proof fails."""
    from gateway.demo.run import run_demo

    try:
        proved = run_demo(keep=keep)
    except KeyboardInterrupt:
        typer.echo("interrupted; the demo's gateway has ended", err=True)
        raise typer.Exit(130) from None
    if not proved:
        raise typer.Exit(1)
