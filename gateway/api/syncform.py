"""What comes in and goes out about the lists of tools: see :mod:`.form`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import Field

from gateway.api.form import Form, Needed, Shown
from gateway.sync.task import Why


class SyncTool(Shown):
    """How far one tool's list is."""

    tool: str
    kind: str
    lag_seconds: float = Field(
        description="Since the oldest change that it lacks, and may still get, was in force."
    )
    owed: int
    refused: int = Field(description="Of these: what it will not take.")
    late: int = Field(description="Of these: lacking for longer than sync.alarm_after.")
    causes: dict[str, int]
    unreadable: int
    last_done: datetime | None
    last_listed: datetime | None
    failing_since: datetime | None
    cause: str
    warnings: list[str]


class SyncStatus(Shown):
    """How far all tools are."""

    tools: list[SyncTool]
    tasks: int = Field(description="Tasks that wait for a person.")


class TaskQuery(Form):
    """Which tasks."""

    closed: bool = Field(False, description="Also those that are settled.")
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class SyncTask(Shown):
    """What a person is to look at in a tool."""

    task: str
    tool: str
    digest: str
    contact: str | None = Field(description="None where it cannot be told (any more).")
    entry: str = Field(description="What is concerned: all, delivery, or topic:NAME.")
    why: Why
    since: datetime
    closed: datetime | None
    closed_by: str
    reason: str


class SyncTasks(Shown):
    """Tasks, the oldest first."""

    tasks: list[SyncTask]


class SettleForm(Form):
    """A person's word that a task is done."""

    reason: Needed
