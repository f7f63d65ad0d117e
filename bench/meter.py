"""CPU time of a participant: of every process it has, and of those that have ended.

Exim and Postfix start and end processes all the time, and some of them wait for
nobody.  A control group counts them all, to the nanosecond.  Where none can be made
(no rights, no such kernel), the processes' own counters are summed; those of children
nobody waited for are then missing, which the page says.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from bench.machine import cpu_seconds, family

_V1 = Path("/sys/fs/cgroup/cpuacct")
_V2 = Path("/sys/fs/cgroup")


class Meter:
    """Counts what is started by a command that ``wrapped`` made."""

    def __init__(self, name: str) -> None:
        self._roots: list[int] = []
        self._group: Path | None = None
        for parent, counter in ((_V1, "cpuacct.usage"), (_V2, "cpu.stat")):
            group = parent / f"bench-{os.getpid()}-{name}"
            try:
                group.mkdir()
            except OSError:
                continue
            if (group / counter).exists():
                self._group = group
                self._counter = counter
                break
            group.rmdir()

    @property
    def complete(self) -> bool:
        """Whether the processes that nobody waited for are counted too."""
        return self._group is not None

    def wrapped(self, words: list[str]) -> list[str]:
        """Return the command that runs ``words``, in the same process, counted here."""
        if self._group is None:
            return words
        return ["/bin/sh", "-c", 'echo 0 >"$0"; exec "$@"', f"{self._group}/cgroup.procs", *words]

    def add(self, pid: int) -> None:
        """Count this process and its descendants where no group can be made."""
        self._roots.append(pid)

    def seconds(self) -> float:
        """Return the CPU time used so far."""
        if self._group is None:
            return sum(cpu_seconds(pid, True) for root in self._roots for pid in family(root))
        text = (self._group / self._counter).read_text()
        if self._counter == "cpuacct.usage":
            return int(text) / 1e9
        return int(text.split()[1]) / 1e6

    def pids(self) -> list[int]:
        """Return the processes that are running."""
        if self._group is None:
            return [pid for root in self._roots for pid in family(root)]
        return [int(word) for word in (self._group / "cgroup.procs").read_text().split()]

    def close(self) -> None:
        """Remove the group; its processes have ended, or are just about to."""
        if self._group is None:
            return
        until = time.monotonic() + 3
        while time.monotonic() < until:
            try:
                self._group.rmdir()
            except OSError:
                time.sleep(0.05)
            else:
                return
        # An empty group that stays costs nothing.
