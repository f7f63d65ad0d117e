"""``keys …``: the keys that everything lies under, and how they are exchanged."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.table import Table

from gateway.cli.console import console
from gateway.cli.option import (
    Actor,
    Config,
    Json,
    open_register,
    open_stores,
    record_act,
    run,
    settings_of,
)
from gateway.failure import InputError
from gateway.keyfile import add_key, drop_key, read_keys
from gateway.records.act import Act, Action
from gateway.records.entry import RECORDS
from gateway.records.lease import ARCHIVER
from gateway.records.seal import VERSION, Sealer, fingerprint
from gateway.register import layout
from gateway.serve.keys import signer
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.serve.stores import Stores

app = typer.Typer(no_args_is_help=True, help="The keys that content, people and digests lie under.")

Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]

_SETTLED = 60.0
"""Seconds after which every running process has taken a changed key file."""
_WITHIN = 5.0


@app.command("list")
def list_command(json: Json = False, config: Config = None) -> None:
    """List the keys by their ids and how much lies under each; never a key itself."""
    settings = settings_of(config)
    rows = run(_list(settings))
    if json:
        for row in rows:
            typer.echo(orjson.dumps(row))
        return
    table = Table()
    for heading in ("key", "id", "current", "people's keys"):
        table.add_column(heading)
    for row in rows:
        people = row.get("people")
        current = "yes" if row["current"] else ""
        table.add_row(row["key"], row["id"], current, "" if people is None else str(people))
    console().print(table)


async def _list(settings: Settings) -> list[dict[str, Any]]:
    content, signing = _content_file(settings), settings.records.signing_key_file
    rows: list[dict[str, Any]] = []
    async with open_stores(settings) as stores:
        keys = read_keys(content)
        for key_id, key in keys.by_id.items():
            people = await stores.custody.stale(_under(key))
            rows.append(
                {
                    "key": "content",
                    "id": key_id,
                    "current": key_id == keys.current,
                    "people": people,
                }
            )
        rows += [
            {"key": "digest", "id": key_id, "current": key_id == stores.ring.current}
            for key_id in stores.ring.key_ids
        ]
        if signing is not None and signing.exists():
            rows.append({"key": "signing", "id": signer(settings).id, "current": True})
        made, destroyed = await stores.custody.count()
        rows.append({"key": "people", "id": "", "current": True, "people": made})
        rows.append({"key": "people erased", "id": "", "current": False, "people": destroyed})
    return rows


@app.command()
def rotate(
    by: Actor,
    reason: Reason = "",
    digest: Annotated[
        bool,
        typer.Option("--digest", help="The digest key instead; no gateway may run meanwhile."),
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Make a new current key; the older ones stay, to read what lies under them.

    People's keys, held messages and contents that wait are put under the new content key
    at once.  A running gateway takes it within ten seconds.
    """
    settings = settings_of(config)
    told = run(_rotate_digest(settings, by, reason) if digest else _rotate(settings, by, reason))
    if json:
        typer.echo(orjson.dumps(told))
    else:
        done = ", ".join(f"{number} {word}" for word, number in told["wrapped"].items())
        typer.echo(f"{told['key']} key {told['id']} is the current one now; {done or 'done'}")


async def _rotate(settings: Settings, by: str, reason: str) -> dict[str, Any]:
    path = _content_file(settings)
    async with open_stores(settings) as stores:
        before = read_keys(path).current
        detail = {"what": "content key", "before": before}
        await record_act(
            stores.register, Act(action=Action.ROTATE, actor=by, reason=reason, detail=detail)
        )
        keys = add_key(path)
        stores.seal.refresh()
        return {"key": "content", "id": keys.current, "wrapped": await _rewrap(stores)}


async def _rewrap(stores: Stores) -> dict[str, int]:
    """Put what may change its seal under the current content key."""
    # Late, for it loads the database's library.
    from gateway.sync.cursor import CursorSeal

    seal: Sealer = stores.seal
    return {
        "people's keys": await stores.custody.rewrap(seal, seal.is_stale),
        "held messages": await stores.held.rewrap(),
        "contents": await stores.contents.rewrap(),
        "cursors of tools": await CursorSeal(seal).rewrap(stores.database),
    }


async def _rotate_digest(settings: Settings, by: str, reason: str) -> dict[str, Any]:
    path = settings.register.keys_file
    if path is None:
        raise InputError("register.keys_file is not set")
    async with open_register(settings) as register:
        (holder,) = await register.connections.wire.exchange([(b"GET", ARCHIVER)], _WITHIN)
        if holder is not None:
            # It would not find the bans that are written under the new key.
            raise InputError(
                "a gateway runs on this register: stop it on every machine (wait 15 s for one "
                "that was killed), rotate, and give every machine the new key file"
            )
        detail = {"what": "digest key", "before": read_keys(path).current}
        await record_act(
            register, Act(action=Action.ROTATE, actor=by, reason=reason, detail=detail)
        )
        keys = add_key(path)
    # From now on no gateway starts on this register without the new key.
    async with open_register(settings):
        return {"key": "digest", "id": keys.current, "wrapped": {}}


@app.command()
def backup(
    target: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    by: Actor,
    config: Config = None,
) -> None:
    """Copy people's keys into a new file.

    Keep it apart from copies of the archive, and not for long: whoever was erased since
    can be read with it.
    """
    settings = settings_of(config)
    keys, destroyed = run(_backup(settings, target, by))
    typer.echo(f"{keys} keys, {destroyed} of people who were erased left out")


async def _backup(settings: Settings, target: Path, by: str) -> tuple[int, int]:
    async with open_stores(settings) as stores:
        act = Act(action=Action.BACKUP, actor=by, detail={"what": "people's keys"})
        await record_act(stores.register, act)
        await stores.custody.backup(target)
        return await stores.custody.count()


@app.command()
def retire(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As `keys list` names it.")],
    by: Actor,
    reason: Reason = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Remove an older content key for good, once nothing lies under it any more.

    Says what still does; exit status 1 then.  Backups of before cannot be read any more.
    """
    settings = settings_of(config)
    left = run(_retire(settings, key_id, by, reason))
    if json:
        typer.echo(orjson.dumps({"key": "content", "id": key_id, "needed_by": left}))
    elif left:
        typer.echo(f"content key {key_id} stays; still under it:")
        for word, number in left.items():
            typer.echo(f"  {number} {word}")
    else:
        typer.echo(f"content key {key_id} is gone")
    if left:
        raise typer.Exit(1)


async def _retire(settings: Settings, key_id: str, by: str, reason: str) -> dict[str, int]:
    # Late, for it loads the database's library.
    from gateway.records.keyusage import KeyUsage

    path = _content_file(settings)
    keys = read_keys(path)
    if key_id not in keys.by_id:
        raise InputError(f"{path}: there is no key {key_id}")
    if key_id == keys.current:
        raise InputError(f"{key_id} is the current content key: run `keys rotate` first")
    age = time.time() - path.stat().st_mtime
    if age < _SETTLED:
        raise InputError(
            f"the key file changed {max(age, 0):.0f} s ago, and a running gateway may still seal "
            f"under {key_id}: wait {_SETTLED:.0f} s"
        )
    async with open_stores(settings) as stores:
        await stores.catch_up()
        await _rewrap(stores)
        key = keys.by_id[key_id]
        usage = KeyUsage(stores.database, fingerprint(key))
        left = {"people's keys": await stores.custody.stale(_under(key))}
        left |= await usage.archive()
        wire = stores.register.connections.wire
        left["entries that wait to be archived"] = await usage.streams(
            wire, [RECORDS, *layout.event_streams()], _WITHIN
        )
        left = {word: number for word, number in left.items() if number}
        if not left:
            detail = {"what": "content key", "retired": key_id}
            await record_act(
                stores.register, Act(action=Action.ROTATE, actor=by, reason=reason, detail=detail)
            )
            drop_key(path, key_id)
        return left


def _content_file(settings: Settings) -> Path:
    path = settings.records.content_key_file
    if path is None:
        raise InputError("records.content_key_file is not set")
    return path


def _under(key: bytes) -> Callable[[bytes], bool]:
    """Tells whether a text lies under this key."""
    start = VERSION + fingerprint(key)
    return lambda sealed: sealed.startswith(start)
