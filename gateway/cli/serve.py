"""``serve``: run the gateway."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from gateway.cli.option import Config
from gateway.settings.load import find_config, load_settings


def serve(
    config: Config = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, max=64, help="Worker processes.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--check", help="Only check configuration and rules.")
    ] = False,
) -> None:
    """Run the gateway until SIGTERM; SIGHUP takes the configuration anew."""
    from gateway.serve.supervisor import Supervisor, check_whole

    path = find_config(config)
    if dry_run:
        check_whole(load_settings(path))
        typer.echo(f"{path}: configuration and rules are good")
        return
    asyncio.run(Supervisor(path, workers).run())
