"""``sync run|status|plan|tasks|settle``: the lists of tools and the register, alike."""

from __future__ import annotations

import asyncio
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer
from rich.table import Table

from gateway.cli.console import console
from gateway.cli.moment import told
from gateway.cli.option import (
    Actor,
    Config,
    Json,
    Reader,
    open_stores,
    record_act,
    run,
    settings_of,
)
from gateway.failure import GatewayError, InputError
from gateway.records.act import Act, Action

if TYPE_CHECKING:
    from gateway.serve.stores import Stores
    from gateway.settings import Settings
    from gateway.sync.plan import Plan
    from gateway.sync.status import Status
    from gateway.sync.task import Task
    from gateway.sync.tool import Tool

app = typer.Typer(no_args_is_help=True, help="Suppression lists of other systems.")

ToolName = Annotated[str | None, typer.Argument(metavar="[TOOL]", help="Default: every tool.")]
_PATIENCE = 600.0
"""Seconds that the running gateway may take for a round."""


@app.command("run")
def run_command(
    tool: ToolName = None,
    whole: Annotated[
        bool, typer.Option("--whole", help="Read the whole list too, not only what is new.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Look at every ban anew, as for a new tool.")
    ] = False,
    json: Json = False,
    config: Config = None,
) -> None:
    """Do one round now; exit status 1 if a tool failed, or lacks something that it refuses."""
    settings = settings_of(config)
    rows = run(_run(settings, tool, whole=whole, again=again))
    for row in rows:
        if json:
            typer.echo(orjson.dumps(row))
        else:
            typer.echo(f"{row['tool']}: {row['failed'] or 'done'}; owed: {row['owed']}")
    if any(row["failed"] or row["owed"] for row in rows):
        raise typer.Exit(1)


@app.command("status")
def status_command(json: Json = False, config: Config = None) -> None:
    """Show lag, what is owed and what fails; exit status 1 if anything needs a person."""
    found = run(_status(settings_of(config)))
    rows = [_status_row(each) for each in found.tools]
    if json:
        for row in rows:
            typer.echo(orjson.dumps(row))
        typer.echo(orjson.dumps({"tasks": found.tasks}))
    else:
        table = Table()
        for heading in ("tool", "lag", "owed", "last done", "last listed", "state"):
            table.add_column(heading)
        for each in found.tools:
            state = "failing: " + each.cause if each.failing_since else "good"
            table.add_row(
                each.name,
                f"{each.lag:.0f} s",
                f"{each.owed}" + (f" ({each.refused} refused)" if each.refused else ""),
                "never" if each.succeeded is None else told(each.succeeded),
                "never" if each.listed is None else told(each.listed),
                state + (f"; {each.late} late" if each.late else ""),
            )
        console().print(table)
        for each in found.tools:
            for cause, count in each.causes.items():
                typer.echo(f"{each.name}: {count} not taken: {cause}")
            for warning in each.warnings:
                typer.echo(f"{each.name}: note: {warning}")
        typer.echo(f"tasks for a person: {found.tasks}")
    if not found.good:
        raise typer.Exit(1)


@app.command("plan")
def plan_command(tool: ToolName = None, json: Json = False, config: Config = None) -> None:
    """Show what a round would change, in both directions; exit status 1 if anything.

    A tool that cannot be read is told, the others are shown, and the exit status is 2.
    """
    plans, failed = run(_plan(settings_of(config), tool))
    for each in plans:
        row = _plan_row(each)
        if json:
            typer.echo(orjson.dumps(row))
            continue
        typer.echo(f"{each.tool}: {each.listed} entries there, {each.bad} of them not readable")
        typer.echo(f"  would be taken into the register: {each.take}")
        for name, count in sorted(each.put.items()):
            typer.echo(f"  would be put there ({name}): {count}")
        for name, count in sorted(each.left.items()):
            typer.echo(f"  bans that it cannot hold ({name}): {count}")
        if each.lifted:
            typer.echo(f"  lifted here, still there; take them out by hand: {each.lifted}")
        if each.unopened:
            typer.echo(f"  banned, but the address is gone (erased): {each.unopened}")
    for name, cause in failed.items():
        if json:
            typer.echo(orjson.dumps({"tool": name, "failed": cause}))
        else:
            typer.echo(f"{name}: {cause}", err=True)
    if failed:
        raise typer.Exit(2)
    if any(not each.nothing for each in plans):
        raise typer.Exit(1)


@app.command("tasks")
def tasks_command(
    every: Annotated[bool, typer.Option("--all", help="Also those that are settled.")] = False,
    by: Reader = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """List what a person is to look at, with addresses; exit status 1 if any is open."""
    found = run(_tasks(settings_of(config), by, every=every))
    if json:
        for task, address in found:
            sys.stdout.buffer.write(orjson.dumps(_task_row(task, address)) + b"\n")
    elif found:
        table = Table()
        for heading in ("task", "tool", "contact", "entry", "why", "since", "state"):
            table.add_column(heading, no_wrap=heading == "task")
        for task, address in found:
            table.add_row(
                *(task.id, task.tool, address or task.subject, task.entry),
                *(task.why, told(task.told), task.state),
            )
        console().print(table)
    else:
        typer.echo("nothing waits for a person")
    if any(task.closed is None for task, _ in found):
        raise typer.Exit(1)


@app.command("settle")
def settle_command(
    task: Annotated[str, typer.Argument(metavar="TASK", help="As `sync tasks` names it.")],
    by: Actor,
    reason: Annotated[str, typer.Option("--reason", help="What was done; it is kept. Needed.")],
    json: Json = False,
    config: Config = None,
) -> None:
    """Close a task; person and reason are recorded."""
    settled = run(_settle(settings_of(config), task, by, reason))
    if json:
        typer.echo(orjson.dumps(_task_row(settled, None)))
    else:
        typer.echo(f"{settled.id}: settled")


# -- work -----------------------------------------------------------------------------


def _chosen(settings: Settings, name: str | None) -> list[Tool]:
    from gateway.sync.tool import tools_of

    tools = tools_of(settings)
    chosen = [tool for tool in tools if name in (None, tool.name)]
    if name is not None and not chosen:
        names = ", ".join(tool.name for tool in tools) or "none"
        raise InputError(f"{name}: not among sync.tools ({names})")
    return chosen


async def _run(
    settings: Settings, name: str | None, *, whole: bool, again: bool
) -> list[dict[str, Any]]:
    tools = _chosen(settings, name)
    async with open_stores(settings) as stores:
        rows = []
        for tool in tools:
            failed = ""
            try:
                await _round(settings, stores, tool, whole=whole, again=again)
            except GatewayError as error:
                failed = str(error) or type(error).__name__
            figures = await _figures(stores, tool.name)
            rows.append({"tool": tool.name, "failed": failed, "owed": figures})
        return rows


async def _figures(stores: Stores, name: str) -> int:
    from gateway.sync.store import SyncStore

    figures = (await SyncStore(stores.database).figures(0)).get(name)
    return 0 if figures is None else figures.owed


async def _round(
    settings: Settings, stores: Stores, tool: Tool, *, whole: bool, again: bool
) -> None:
    """A round of ours, or by whoever drives the tool already."""
    from gateway.records.lease import Hold, Lease
    from gateway.serve.tools import bureau_of
    from gateway.sync.folder import session_of
    from gateway.sync.loop import LEASE_LASTS, Drive, lease_key, renewed

    bureau = bureau_of(settings, stores)
    await stores.catch_up()
    await bureau.store.tool(tool.name)
    if again:
        await bureau.store.change(tool.name, walked="")
    lease = Lease(bureau.wire, lease_key(tool.name), lasts=LEASE_LASTS)
    if await lease.hold() is Hold.ELSEWHERE:
        await _ask(stores, tool.name, whole=whole)
        return
    session = session_of(tool.settings, tool.connector)
    try:
        drive = Drive(bureau.hands, tool, settings.sync, session)
        if not await renewed(lease, drive.round(whole=whole, archived=stores.catch_up)):
            raise GatewayError("cut off half-way: another process took the tool over; run it again")
    finally:
        await session.aclose()
        with suppress(GatewayError):
            await lease.release()


async def _ask(stores: Stores, name: str, *, whole: bool) -> None:
    """Have the running gateway do it, and wait; raises GatewayError where it fails."""
    from gateway.sync.loop import asked_key
    from gateway.sync.store import SyncStore

    store, wire = SyncStore(stores.database), stores.register.connections.wire
    before = await store.tool(name)
    key = asked_key(name)
    await wire.exchange([(b"SET", key, b"whole" if whole else b"new", b"EX", b"600")], 5.0)
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        await asyncio.sleep(0.2)
        now = await store.tool(name)
        if now.rounds > before.rounds:
            if now.failing_since is not None:
                raise GatewayError(now.cause)
            return
    raise GatewayError("the running gateway did not do it in time; see its log")


async def _status(settings: Settings) -> Status:
    from gateway.serve.stores import open_database
    from gateway.sync.status import status

    tools = _chosen(settings, None)
    database = await open_database(settings)
    try:
        return await status(database, tools, settings.sync)
    finally:
        await database.aclose()


async def _plan(settings: Settings, name: str | None) -> tuple[list[Plan], dict[str, str]]:
    """The plans, and by tool why there is none."""
    from gateway.connector.connector import ToolRefused, ToolUnreadable
    from gateway.serve.tools import bureau_of
    from gateway.sync.folder import session_of
    from gateway.sync.plan import plan
    from gateway.sync.session import ToolAway

    tools = _chosen(settings, name)
    async with open_stores(settings) as stores:
        await stores.catch_up()
        bureau = bureau_of(settings, stores)
        plans = []
        failed = {}
        for tool in tools:
            session = session_of(tool.settings, tool.connector)
            try:
                plans.append(await plan(bureau, stores.ring, tool, session))
            except (ToolAway, ToolRefused, ToolUnreadable) as error:
                failed[tool.name] = str(error)
            finally:
                await session.aclose()
        return plans, failed


async def _tasks(settings: Settings, by: str, *, every: bool) -> list[tuple[Task, str | None]]:
    from gateway.serve.tools import bureau_of

    async with open_stores(settings) as stores:
        bureau = bureau_of(settings, stores)
        found = await bureau.tasks.list(closed=every)
        if found:
            act = Act(action=Action.READ, actor=by, detail={"what": "sync tasks"})
            await record_act(stores.register, act)
        return await bureau.with_addresses(found)


async def _settle(settings: Settings, task: str, by: str, reason: str) -> Task:
    from gateway.serve.tools import bureau_of

    async with open_stores(settings) as stores:
        act = Act(
            action=Action.CHANGE,
            actor=by,
            subject=task,
            reason=reason,
            detail={"what": "sync task"},
        )
        await record_act(stores.register, act)
        return await bureau_of(settings, stores).tasks.settle(task, by, reason)


# -- words ----------------------------------------------------------------------------


def _status_row(each: Any) -> dict[str, Any]:  # noqa: ANN401 - imported late
    return {
        "tool": each.name,
        "kind": each.kind,
        "lag_seconds": round(each.lag, 3),
        "owed": each.owed,
        "refused": each.refused,
        "late": each.late,
        "causes": dict(each.causes),
        "unreadable": each.bad,
        "new_tool_done": each.walked,
        "last_done": None if each.succeeded is None else told(each.succeeded),
        "last_listed": None if each.listed is None else told(each.listed),
        "failing_since": None if each.failing_since is None else told(each.failing_since),
        "cause": each.cause,
        "warnings": list(each.warnings),
    }


def _plan_row(each: Plan) -> dict[str, Any]:
    return {
        "tool": each.tool,
        "listed": each.listed,
        "unreadable": each.bad,
        "take": each.take,
        "put": dict(each.put),
        "cannot_hold": dict(each.left),
        "lifted_here": each.lifted,
        "address_gone": each.unopened,
    }


def _task_row(task: Task, address: str | None) -> dict[str, Any]:
    return {
        "task": task.id,
        "tool": task.tool,
        "contact": address,
        "digest": task.subject,
        "entry": task.entry,
        "why": task.why,
        "since": told(task.told),
        "state": task.state,
        "closed": None if task.closed is None else told(task.closed),
        "closed_by": task.closed_by,
        "reason": task.reason,
    }
