"""``/v1/sync``: how far the lists of tools are, and what a person is to look at there."""

from __future__ import annotations

from gateway.api import form, syncform
from gateway.api.account import Permission
from gateway.api.desk import Call
from gateway.api.problem import not_found
from gateway.api.route import Route
from gateway.records.act import Action
from gateway.sync.status import status
from gateway.sync.task import Task, TaskError


async def show(call: Call) -> syncform.SyncStatus:
    """How far every tool is."""
    desk = call.desk
    found = await status(desk.sync.store.database, desk.tools, desk.settings.sync)
    return syncform.SyncStatus(
        tools=[
            syncform.SyncTool(
                tool=each.name,
                kind=each.kind,
                lag_seconds=each.lag,
                owed=each.owed,
                refused=each.refused,
                late=each.late,
                causes=dict(each.causes),
                unreadable=each.bad,
                last_done=form.moment(each.succeeded),
                last_listed=form.moment(each.listed),
                failing_since=form.moment(each.failing_since),
                cause=each.cause,
                warnings=list(each.warnings),
            )
            for each in found.tools
        ],
        tasks=found.tasks,
    )


async def tasks(call: Call) -> syncform.SyncTasks:
    """What waits for a person, with addresses."""
    asked: syncform.TaskQuery = call.form
    await call.record(Action.READ, what="sync tasks")
    found = await call.desk.sync.tasks.list(closed=asked.closed, limit=asked.limit)
    named = await call.desk.sync.with_addresses(found)
    return syncform.SyncTasks(tasks=[_task(task, address) for task, address in named])


async def settle(call: Call) -> syncform.SyncTask:
    """Close a task; person and reason are recorded."""
    task_id, reason = call.path["task"], call.form.reason
    await call.record(Action.CHANGE, task_id, what="sync task")
    try:
        settled = await call.desk.sync.tasks.settle(task_id, call.account.name, reason)
    except TaskError:
        raise not_found("there is no open task of this id") from None
    return _task(settled, None)


def _task(task: Task, address: str | None) -> syncform.SyncTask:
    return syncform.SyncTask(
        task=task.id,
        tool=task.tool,
        digest=task.subject,
        contact=address,
        entry=task.entry,
        why=task.why,
        since=form.time(task.told),
        closed=form.moment(task.closed),
        closed_by=task.closed_by,
        reason=task.reason,
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/sync",
        summary="How far the lists of tools are.",
        permission=Permission.SEARCH,
        handler=show,
        answer=syncform.SyncStatus,
        tag="sync",
    ),
    Route(
        method="GET",
        path="/v1/sync/tasks",
        summary="What a person is to look at in a tool; recorded as a read.",
        permission=Permission.READ,
        handler=tasks,
        query=syncform.TaskQuery,
        answer=syncform.SyncTasks,
        tag="sync",
    ),
    Route(
        method="POST",
        path="/v1/sync/tasks/{task}/settle",
        summary="Close a task with the reason.",
        permission=Permission.SUBJECTS,
        handler=settle,
        body=syncform.SettleForm,
        answer=syncform.SyncTask,
        tag="sync",
        may_miss=True,
    ),
)
