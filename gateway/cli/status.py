"""``register status``: how many contacts there are, and whether they have room."""

from __future__ import annotations

import orjson
import typer

from gateway.cli.option import Config, Json, open_register, run, settings_of
from gateway.register.fill import FULL, Fill
from gateway.settings import Settings


def status(json: Json = False, config: Config = None) -> None:
    """Show how large the register is and how full its buckets are; exit status 1 if too full."""
    found, waiting = run(_status(settings_of(config)))
    if json:
        row = {
            "entries": found.contacts,
            "bits": found.bits,
            "buckets": 2**found.bits,
            "entries_a_bucket": round(found.average, 1),
            "fullest_bucket": found.fullest,
            "too_full": found.full,
            "wanted_bits": found.wanted_bits,
            "events_waiting": waiting,
        }
        typer.echo(orjson.dumps(row))
    else:
        typer.echo(
            f"{found.contacts} entries in {2**found.bits} buckets (2**{found.bits}): "
            f"{found.average:.1f} in each on average, {found.fullest} in the fullest"
        )
        typer.echo(f"{waiting} events wait for the archive")
        if found.full:
            typer.echo(
                f"more than {FULL} in a bucket: give it more with "
                f"register rebuild --bits {found.wanted_bits}"
            )
    if found.full:
        raise typer.Exit(1)


async def _status(settings: Settings) -> tuple[Fill, int]:
    async with open_register(settings) as register:
        return await register.fill(), await register.waiting()
