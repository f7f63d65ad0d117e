"""How far tools lag, as numbers for ``/metrics`` and as an alarm in the log.

Read from the archive, so that they are true whichever machine drives a tool, and where
none does.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import structlog
from prometheus_client import CollectorRegistry, Gauge

from gateway.clock import Clock, now_ms
from gateway.records.database import Database
from gateway.settings.sync import Sync
from gateway.sync.store import SyncStore
from gateway.sync.task import Tasks

log = structlog.get_logger(__name__)

_HOUR: Final = 3600.0


@dataclass(frozen=True, slots=True)
class ToolFigures:
    """How far one tool is behind."""

    lag: float
    """Seconds since the oldest change that it does not have, and can have, was in force."""
    owed: int
    late: int
    failing: bool


@dataclass(frozen=True, slots=True)
class SyncFigures:
    """How far the tools of the settings are behind."""

    tools: Mapping[str, ToolFigures]
    tasks: int
    """Tasks that wait for a person."""


async def sync_figures(database: Database, settings: Sync, clock: Clock = now_ms) -> SyncFigures:
    """The figures now; raises RecordsUnavailable."""
    now = clock()
    store = SyncStore(database, clock)
    owed = await store.figures(now - int(settings.alarm_after * 3_600_000))
    cursors = await store.tools()
    found = {}
    for name in (tool.name for tool in settings.tools):
        figures, cursor = owed.get(name), cursors.get(name)
        oldest = None if figures is None else figures.oldest
        found[name] = ToolFigures(
            lag=0.0 if oldest is None else max(0, now - oldest) / 1000,
            owed=0 if figures is None else figures.owed,
            late=0 if figures is None else figures.late,
            failing=cursor is not None and cursor.failing_since is not None,
        )
    return SyncFigures(found, await Tasks(database, clock).waiting())


class SyncGauges:
    """The figures as metrics; labels are tools' names alone."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str) -> Gauge:
            return Gauge(name, text, ["tool"], registry=registry)

        self._lag = gauge(
            "gateway_sync_lag_seconds",
            "Since the oldest change that a tool's list lacks was in force",
        )
        self._owed = gauge("gateway_sync_owed", "Contacts that a tool's list lacks a change of")
        self._late = gauge(
            "gateway_sync_late", "Of these: lacking for longer than sync.alarm_after"
        )
        self._failing = gauge("gateway_sync_failing", "1 while a tool cannot be read or written")
        self._tasks = Gauge(
            "gateway_sync_tasks", "Questions about tools that nobody has settled", registry=registry
        )

    def show(self, figures: SyncFigures | None) -> None:
        """Put the figures there; tools that are no more are left out."""
        for gauge in (self._lag, self._owed, self._late, self._failing):
            gauge.clear()
        self._tasks.set(0 if figures is None else figures.tasks)
        for name, each in () if figures is None else figures.tools.items():
            self._lag.labels(name).set(each.lag)
            self._owed.labels(name).set(each.owed)
            self._late.labels(name).set(each.late)
            self._failing.labels(name).set(each.failing)


class Alarm:
    """Says once an hour which tools lack changes for too long."""

    def __init__(self) -> None:
        self._said: dict[str, float] = {}

    def tell(self, figures: SyncFigures) -> None:
        """Say it where an hour has gone by."""
        for name, each in figures.tools.items():
            if not each.late:
                self._said.pop(name, None)
                continue
            now = time.monotonic()
            if now - self._said.get(name, now - _HOUR) >= _HOUR:
                self._said[name] = now
                log.error("sync_late", tool=name, late=each.late, owed=each.owed)
