"""The figures that the supervisor itself tells in ``/metrics``."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Gauge

from gateway.serve.keeper import Keeper
from gateway.sync.gauge import SyncGauges


class Gauges:
    """Of archive, register, processes, requests and tools."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self._backlog = Gauge(
            "gateway_archive_backlog", "Messages recorded but not yet archived", registry=own
        )
        self._lag = Gauge(
            "gateway_archive_lag_seconds",
            "Age of the oldest record that is not archived yet",
            registry=own,
        )
        self._archive_failures = Gauge(
            "gateway_archive_failures",
            "Batches that the archive refused since the start",
            registry=own,
        )
        self._whole = Gauge(
            "gateway_register_whole",
            "1 while the register is known to have all that the archive has",
            registry=own,
        )
        self._rebuilds = Gauge(
            "gateway_register_rebuilds",
            "Rebuilds of the register from the archive since the start",
            registry=own,
        )
        self.restarts = Gauge(
            "gateway_worker_restarts", "Workers replaced since the start", registry=own
        )
        self._requests = Gauge(
            "gateway_subject_requests",
            "Requests of people that wait for an answer, and those of them that are late",
            ["state"],
            registry=own,
        )
        self._sync = SyncGauges(own)

    def show(self, keeper: Keeper) -> None:
        """Take the keeper's figures as they are now."""
        status = keeper.archiver
        if status is not None:
            self._backlog.set(status.backlog)
            self._lag.set(status.lag / 1000)
            self._archive_failures.set(status.failures)
        watch = keeper.watch
        if watch is not None:
            self._whole.set(watch.whole)
            self._rebuilds.set(watch.rebuilds)
        waiting, late = keeper.requests
        self._requests.labels("open").set(waiting)
        self._requests.labels("late").set(late)
        self._sync.show(keeper.sync)
