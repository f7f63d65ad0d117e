"""``held …``: the messages that wait for a person, or for a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import orjson
import typer
from prometheus_client import CollectorRegistry
from rich.table import Table

from gateway.cli.console import console
from gateway.cli.moment import told
from gateway.cli.option import Actor, Config, Json, open_stores, run, settings_of
from gateway.contacts.contact import Channel
from gateway.decision.facts import Kind
from gateway.evidence.metric import Metrics
from gateway.failure import InputError
from gateway.held.message import Held, State
from gateway.held.notice import DAY
from gateway.records.act import Act, Action, Detail
from gateway.records.recorder import Recorder
from gateway.serve.assembly import build_parts, register_url
from gateway.serve.holding import Decided, Holding
from gateway.serve.holding import discard as discard_held
from gateway.serve.sandbox import running_sandboxes
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.serve.stores import Stores

app = typer.Typer(no_args_is_help=True, help="Messages that wait for a person.")

HeldId = Annotated[str, typer.Argument(help="As `held list` names it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why; it is recorded. Needed.")]


@app.command("list")
def list_command(
    every: Annotated[
        bool,
        typer.Option("--all", help="Also those that wait for a time or are over."),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 100,
    json: Json = False,
    config: Config = None,
) -> None:
    """List held messages, the newest first; exit status 1 when there are some."""
    settings = settings_of(config)
    states: list[State] | None = None
    if every:
        states = [state for state in State if state not in (State.PREPARED, State.KEPT)]
    held = run(_list(settings, states, limit))
    if json:
        for one in held:
            typer.echo(orjson.dumps(_row(one)))
    elif held:
        table = Table()
        for heading in (
            "held",
            "since",
            "state",
            "channel",
            "client",
            "kind",
            "rules",
            "recipients",
        ):
            table.add_column(heading, no_wrap=heading == "held")
        for one in held:
            table.add_row(
                one.id,
                told(one.created),
                one.state,
                one.message.channel,
                one.message.client,
                one.message.kind,
                " ".join(sorted({r.rule for r in one.message.recipients})),
                str(len(one.message.recipients)),
            )
        console().print(table)
    else:
        typer.echo("nothing is held")
    if held and not every:
        raise typer.Exit(1)


async def _list(settings: Settings, states: list[State] | None, limit: int) -> list[Held]:
    async with open_stores(settings) as stores:
        if states is None:
            return await stores.held.list(limit=limit)
        return await stores.held.list(states, limit=limit)


@app.command()
def show(
    held_id: HeldId,
    by: Actor,
    content: Annotated[
        Path | None, typer.Option("--content", help="Write the message into this file.")
    ] = None,
    json: Json = False,
    config: Config = None,
) -> None:
    """Show a held message: recipients, rule, reason, facts; and its content on request.

    Of a text message the content is each sender and text in it. Who looked is recorded.
    """
    settings = settings_of(config)
    held, octets = run(_show(settings, held_id, by, with_content=content is not None))
    if content is not None:
        try:
            content.write_bytes(octets)
        except OSError as error:
            raise InputError(f"{content}: {error.strerror}") from None
    row = _row(held)
    if held.state in (State.HELD, State.UNCERTAIN):
        row["expires"] = told(held.created + int(settings.held.expire_after * DAY))
    if json:
        typer.echo(orjson.dumps(row))
        return
    table = Table(title=f"held {held_id}", title_justify="left", show_header=False)
    for name, value in row.items():
        if name != "recipients" and value not in (None, ""):
            table.add_row(name, str(value))
    for recipient in held.message.recipients:
        facts = ", ".join(f"{k}={v}" for k, v in recipient.facts.items() if v not in (False, None))
        table.add_row(
            recipient.address,
            f"{recipient.rule}: {recipient.reason}\nrecord {recipient.record_id}\n{facts}",
        )
    console().print(table)


async def _show(
    settings: Settings, held_id: str, by: str, *, with_content: bool
) -> tuple[Held, bytes]:
    async with open_stores(settings) as stores:
        held = await stores.held.get(held_id)
        recorder = _recorder(settings, stores)
        try:
            detail: dict[str, Detail] = {"what": "held message", "content": with_content}
            await recorder.act(_act(Action.READ, by, held_id, detail=detail))
        finally:
            await recorder.aclose()
        pieces = []
        if with_content:
            pieces = [piece async for piece in stores.held.open_content(held_id)]
        octets = b"".join(pieces)
        if with_content and held.message.channel is Channel.SMS:
            octets = _texts(octets)
        return held, octets


def _texts(octets: bytes) -> bytes:
    """What people will read of a stored text message: the rest may be credentials."""
    from gateway.sms.stored import Stored

    lines = [
        f"{sender or '(default sender)'}: {'(no text to be read here)' if text is None else text}\n"
        for sender, text in Stored.from_json(octets).texts()
    ]
    return "".join(lines).encode()


@app.command("release")
def release_command(
    held_id: HeldId,
    by: Actor,
    reason: Reason,
    kind: Annotated[
        Kind | None, typer.Option(help="What it is, where its kind was unclear.")
    ] = None,
    config: Config = None,
) -> None:
    """Decide anew and send; bans still stop it. Exit status 1 if a recipient is suppressed."""
    _needs(reason)
    settings = settings_of(config)
    done = run(_release(settings, held_id, by, reason, kind))
    sent = [one for one in done if one.sent]
    for one in done:
        word = f"{one.recipient.address}: "
        if one.sent:
            typer.echo(word + "sent")
        elif one.rule is not None:
            typer.echo(f"{word}not sent, {one.rule.id}: {one.rule.reason.en}")
        else:
            typer.echo(word + "not sent, the provider did not take it; it stays held")
    if not sent:
        typer.echo(f"{held_id}: nothing was sent; it stays held, discard it with a reason")
    if len(sent) < len(done):
        raise typer.Exit(1)


async def _release(
    settings: Settings, held_id: str, by: str, reason: str, kind: Kind | None
) -> list[Decided]:
    from gateway.serve.stores import open_database
    from gateway.serve.vouching import vouch

    async with register_url(settings) as url, running_sandboxes(settings):
        # Makes the archive where there is none yet, and says what is wrong with another.
        await (await open_database(settings)).aclose()
        parts = await build_parts(settings, Metrics(CollectorRegistry()), url)
        try:
            await vouch(settings, parts.register)
            return await Holding(parts).release(held_id, by, reason, kind)
        finally:
            await parts.aclose()


@app.command()
def discard(held_id: HeldId, by: Actor, reason: Reason, config: Config = None) -> None:
    """Throw a held message away; person and reason are recorded."""
    _needs(reason)
    settings = settings_of(config)
    run(_discard(settings, held_id, by, reason))
    typer.echo(f"{held_id}: discarded")


async def _discard(settings: Settings, held_id: str, by: str, reason: str) -> None:
    async with open_stores(settings) as stores:
        recorder = _recorder(settings, stores)
        try:
            await discard_held(stores.held, recorder, held_id, by, reason)
        finally:
            await recorder.aclose()


def _recorder(settings: Settings, stores: Stores) -> Recorder:
    return Recorder(stores.register.connections.wire, stores.seal, timeout=settings.records.timeout)


def _act(
    action: Action,
    by: str,
    held_id: str,
    reason: str = "",
    detail: Mapping[str, Detail] | None = None,
) -> Act:
    return Act(action=action, actor=by, subject=held_id, reason=reason, detail=detail or {})


def _needs(reason: str) -> None:
    if not reason.strip():
        raise InputError("--reason: say why; it is recorded with your name")


def _row(held: Held) -> dict[str, object]:
    message = held.message
    return {
        "held": held.id,
        "message": message.message_id,
        "state": held.state,
        "channel": message.channel,
        "since": told(held.created),
        "due": told(held.next_try) if held.state is State.WAITING and held.next_try else None,
        "client": message.client,
        "upstream": message.upstream,
        "kind": message.kind,
        "topic": message.topic,
        "sender": message.sender,
        "recipients": [
            {
                "address": recipient.address,
                "record": recipient.record_id,
                "rule": recipient.rule,
                "reason": recipient.reason,
                "facts": dict(recipient.facts),
            }
            for recipient in message.recipients
        ],
        "ended": told(held.ended) if held.ended is not None else None,
        "person": held.person,
        "reason": held.reason,
    }
