"""How each tool is: cursors, what is owed, what fails, what its list cannot hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gateway.clock import Clock, now_ms
from gateway.records.database import Database
from gateway.settings.sync import Sync
from gateway.sync.store import SyncStore
from gateway.sync.task import Tasks
from gateway.sync.tool import Tool, warnings_of


@dataclass(frozen=True, slots=True)
class ToolStatus:
    """One tool; times are milliseconds since the epoch."""

    name: str
    kind: str
    lag: float
    """Seconds since the oldest change that it lacks, and may still get, was in force."""
    owed: int
    refused: int
    """Of these: what it will not take."""
    late: int
    causes: Mapping[str, int]
    """Why what is owed failed, and how often each."""
    bad: int
    """Entries of its list that could not be read, since it was added."""
    walked: bool
    """Whether all bans of before it was added have been looked at."""
    succeeded: int | None
    listed: int | None
    failing_since: int | None
    cause: str
    warnings: Sequence[str]

    @property
    def good(self) -> bool:
        """Whether nothing of it needs a person."""
        return not (self.failing_since or self.late or self.refused)


@dataclass(frozen=True, slots=True)
class Status:
    """Every tool of the settings."""

    tools: Sequence[ToolStatus]
    tasks: int
    """Tasks that wait for a person."""

    @property
    def good(self) -> bool:
        """Whether nothing needs a person."""
        return not self.tasks and all(tool.good for tool in self.tools)


async def status(
    database: Database, tools: Sequence[Tool], settings: Sync, clock: Clock = now_ms
) -> Status:
    """How the tools are now; raises RecordsUnavailable."""
    now = clock()
    store = SyncStore(database, clock)
    figures = await store.figures(now - int(settings.alarm_after * 3_600_000))
    cursors = await store.tools()
    found = []
    for tool in tools:
        owed, at = figures.get(tool.name), cursors.get(tool.name)
        oldest = None if owed is None else owed.oldest
        found.append(
            ToolStatus(
                name=tool.name,
                kind=tool.settings.kind.value,
                lag=0.0 if oldest is None else max(0, now - oldest) / 1000,
                owed=0 if owed is None else owed.owed,
                refused=0 if owed is None else owed.final,
                late=0 if owed is None else owed.late,
                causes=await store.causes(tool.name),
                bad=0 if at is None else at.bad,
                walked=at is not None and at.walked is None,
                succeeded=None if at is None else at.succeeded,
                listed=None if at is None else at.listed,
                failing_since=None if at is None else at.failing_since,
                cause="" if at is None else at.cause,
                warnings=warnings_of(tool),
            )
        )
    return Status(found, await Tasks(database, clock).waiting())
