"""``records verify`` and ``records checkpoint``: that the archive is what it was."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer

from gateway.cli.moment import told
from gateway.cli.option import Config, Json, Reader, open_stores, record_act, run, settings_of
from gateway.clock import now_ms
from gateway.failure import InputError
from gateway.records.act import Act, Action
from gateway.records.checkpoint import Checkpoint, CheckpointFile
from gateway.records.checkpointing import Checkpointer
from gateway.records.signing import Verifier
from gateway.serve.keys import checkpoint_file, signer
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.records.verification import Verification


def verify(
    public_key: Annotated[
        list[Path] | None,
        typer.Option("--public-key", help="A key that signed before; several times."),
    ] = None,
    checkpoints: Annotated[
        Path | None,
        typer.Option("--checkpoints", help="A copy of the checkpoints that was kept elsewhere."),
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Walk the archive's hash chain and its signed checkpoints; exit status 1 if changed.

    Rows that were changed, removed or added are named, and checkpoints that are not what
    was signed.
    """
    settings = settings_of(config)
    file = checkpoint_file(settings)
    if checkpoints is not None:
        if not checkpoints.exists():
            raise InputError(f"{checkpoints}: there is no such file")
        file = CheckpointFile(checkpoints)
    found = run(_verify(settings, public_key or [], file))
    if json:
        sys.stdout.buffer.write(orjson.dumps(asdict(found)) + b"\n")
    else:
        for fault in found.faults:
            typer.echo(fault)
        state = "whole" if found.whole else "broken"
        typer.echo(f"{found.links} links, {state}, signed up to {found.signed}; head {found.head}")
    if not found.whole:
        raise typer.Exit(1)


async def _verify(
    settings: Settings, public_keys: list[Path], file: CheckpointFile
) -> Verification:
    verifier = signer(settings).verifier | Verifier.load(*public_keys)
    async with open_stores(settings) as stores:
        await stores.catch_up()
        # Where machines share an archive, one that has never archived has no file.
        alone = settings.records.archive is not None
        noted = file.read() if alone or file.path.exists() else None
        return await stores.archive.verify(verifier, noted)


def checkpoint(
    by: Reader = "",
    public_key: Annotated[
        bool, typer.Option("--public-key", help="Print the key that signatures are known by.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Sign where the chain stands now, in the archive and the file beside it."""
    settings = settings_of(config)
    if public_key:
        sys.stdout.buffer.write(signer(settings).public_pem)
        return
    made = run(_checkpoint(settings, by))
    if made is None:
        typer.echo("the archive is empty")
        raise typer.Exit(1)
    if json:
        sys.stdout.buffer.write(made.to_line())
    else:
        typer.echo(f"signed up to link {made.seq} at {told(made.at)}; head {made.head.hex()}")


async def _checkpoint(settings: Settings, by: str) -> Checkpoint | None:
    signs, file = signer(settings), checkpoint_file(settings)
    async with open_stores(settings) as stores:
        await record_act(stores.register, Act(action=Action.CHECKPOINT, actor=by))
        await stores.catch_up()
        made = await stores.archive.checkpoint(signs, now_ms())
        if made is not None:
            await Checkpointer(stores.archive, signs, file).note(made)
        return made
