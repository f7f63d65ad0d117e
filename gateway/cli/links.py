"""``links …``: the keys that people's links are sealed under, and how they are exchanged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import orjson
import typer

from gateway.cli.option import Actor, Config, Json, open_register, record_act, run, settings_of
from gateway.failure import InputError
from gateway.keyfile import Keys, add_key, drop_key, read_keys
from gateway.records.act import Act, Action, Detail
from gateway.serve.offer import links_of
from gateway.settings import Settings

app = typer.Typer(no_args_is_help=True, help="The keys of links by which people refuse.")

Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]


@app.command()
def rotate(by: Actor, reason: Reason = "", json: Json = False, config: Config = None) -> None:
    """Make a new current key; links that were sealed under older ones stay good.

    Running processes take it at the next reload (SIGHUP).  Give every machine the new
    file before the first of them reloads.
    """
    settings = settings_of(config)
    path = _file(settings)
    detail: dict[str, Detail] = {"what": "link key", "before": read_keys(path).current}
    run(_record(settings, by, reason, detail))
    _tell(add_key(path), "is the current one now; reload the gateway (SIGHUP)", json=json)


@app.command()
def retire(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As the key file names it.")],
    by: Actor,
    reason: Reason = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Remove an older key for good: links that were sealed under it are good no more.

    For a key that others know, and for one that is older than ``unsubscribe.expire_after``.
    """
    settings = settings_of(config)
    path = _file(settings)
    keys = read_keys(path)
    if key_id not in keys.by_id:
        raise InputError(f"{path}: there is no key {key_id} ({', '.join(sorted(keys.by_id))})")
    if key_id == keys.current:
        raise InputError(f"{key_id} is the current link key: run `links rotate` first")
    run(_record(settings, by, reason, {"what": "link key", "retired": key_id}))
    _tell(drop_key(path, key_id), f"stays the current one; {key_id} is gone", json=json)


async def _record(settings: Settings, by: str, reason: str, detail: dict[str, Detail]) -> None:
    async with open_register(settings) as register:
        act = Act(action=Action.ROTATE, actor=by, reason=reason, detail=detail)
        await record_act(register, act)


def _tell(keys: Keys, words: str, *, json: bool) -> None:
    if json:
        told = {"key": "link", "id": keys.current, "keys": list(keys.by_id)}
        typer.echo(orjson.dumps(told))
    else:
        typer.echo(f"link key {keys.current} {words}")


def _file(settings: Settings) -> Path:
    """The key file, which is made if there is none."""
    links_of(settings)
    path = settings.unsubscribe.key_file
    if path is None:
        raise InputError("unsubscribe.key_file is not set")
    return path
