"""``backup`` and ``restore``: copies of the archive, taken and brought back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.option import Actor, Config, run, settings_of
from gateway.settings.load import find_config

if TYPE_CHECKING:
    from gateway.backup.gap import Gap
    from gateway.backup.restoring import Restored

Why = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
_GAPS = 5


def backup(
    folder: Annotated[Path, typer.Argument(help="A new folder for this backup.")],
    by: Actor,
    with_keys: Annotated[
        Path | None,
        typer.Option("--with-keys", help="Write the keys as well, into this other new folder."),
    ] = None,
    reason: Why = "",
    config: Config = None,
) -> None:
    """Back up archive, rule sets and configuration, whether the gateway runs or not.

    The register is not in it: its events are, in the archive. Exit status 1 when the
    archive is not whole.
    """
    settings = settings_of(config)
    from gateway.backup.taking import take

    manifest = run(
        take(settings, find_config(config), folder, by=by, reason=reason, keys=with_keys)
    )
    typer.echo(f"{folder}: {manifest.seq} rows, chain ends with {manifest.head}")
    if with_keys is None:
        typer.echo("the keys are not in it; without them it can be read by nobody")
    else:
        kinds = "digest, content and link" if "link" in manifest.keys else "digest and content"
        typer.echo(f"{with_keys}: {kinds} keys; keep them elsewhere than the backup")
    typer.echo("people's keys are copied by `keys backup` alone, and kept apart from both")
    for fault in manifest.faults:
        typer.echo(f"not whole: {fault}")
    if manifest.faults:
        raise typer.Exit(1)


def restore(
    folder: Annotated[Path, typer.Argument(help="A backup's folder.")],
    by: Actor,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the archive that is there; it is kept beside.")
    ] = False,
    backup_only: Annotated[
        bool,
        typer.Option(
            "--from-backup-only",
            help="Take nothing along from the archive that is replaced, as it cannot be read.",
        ),
    ] = False,
    reason: Why = "",
    config: Config = None,
) -> None:
    """Put a backup's archive in place, with the gateway stopped.

    Exit status 1 when something is missing or doubtful afterwards.
    """
    from gateway.backup.restoring import restore as work

    path = find_config(config)
    if path.exists():
        settings_of(config)
    done = run(work(path, folder, by=by, reason=reason, force=force, backup_only=backup_only))
    if _tell(done):
        raise typer.Exit(1)


def _tell(done: Restored) -> bool:
    """Say what was done and what must follow; whether anything is missing or doubtful."""
    found = done.verification
    typer.echo(f"restored: {found.links} rows, chain ends with {found.head}")
    for path in done.placed:
        typer.echo(f"{path}: was missing, is the backup's now")
    for path in done.differs:
        typer.echo(f"{path}: left as it is; the backup has another one")
    if done.replaced:
        typer.echo(f"the replaced archive is kept: {done.replaced}")
    doubtful = bool(found.faults or done.keyless or done.linkless)
    if done.keyless:
        typer.echo(
            f"{done.keyless}: people's keys are missing; put the copy that `keys backup` made "
            "there before the start, for without them nobody's records can be read"
        )
    if done.linkless:
        typer.echo(
            f"{done.linkless}: lacks keys of links that the backup was made with; put them back "
            "before the start, unless they were retired since, for links in mail that was sent "
            "end without them"
        )
    for fault in found.faults:
        typer.echo(f"not whole: {fault}")
    if done.carried is not None:
        rows = ", ".join(f"{count} {kind}" for kind, count in done.carried.rows.items())
        typer.echo(f"taken along from it, newer than the backup: {rows or 'nothing'}")
        if done.carried.damaged:
            doubtful = True
            typer.echo(f"{done.carried.damaged} of its rows were damaged and were left behind")
        if not done.carried.goes_on:
            typer.echo("its chain did not go on from the backup's: the rows have new links")
    else:
        doubtful = True
        typer.echo(f"nothing is known of what was archived after {done.manifest.made}")
        typer.echo(
            "checkpoints noted after that reach further than the chain now: `records verify` "
            "names them until their file is moved away"
        )
        _tell_gaps(done.gaps)
    if done.doubted:
        typer.echo(
            f"{done.doubted} held messages may have been sent since: they are uncertain now, "
            "and are never sent from here"
        )
    typer.echo(
        "next: if the register was lost too, or is a copy of another time, rebuild it from the "
        "archive's events before marketing goes out; then start the gateway"
    )
    return doubtful


def _tell_gaps(gaps: tuple[Gap, ...] | None) -> None:
    if gaps is None:
        typer.echo("there is no register that could be asked for what it still has")
        return
    events = [gap for gap in gaps if gap.stream.endswith(":ev")]
    for gap in gaps[:_GAPS]:
        word = "were written and are" if gap.certain else "may have been written and be"
        typer.echo(
            f"{gap.stream}: entries between {_time(gap.after)} and {_time(gap.before)} "
            f"{word} archived nowhere"
        )
    if len(gaps) > _GAPS:
        typer.echo(f"and so it is with {len(gaps) - _GAPS} other streams")
    if events:
        typer.echo(
            "changes in those times are in force, but only in the register: do not rebuild it "
            "from this archive before `register export` has written them down"
        )
    if not gaps:
        typer.echo("what the register wrote since the backup waits there and will be archived")


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")
