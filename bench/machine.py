"""The machine: its programs, its free ports, its processes and what they use."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

CACHE = Path(__file__).parent.parent / ".bench"
"""What is fetched or prepared once: the register's entries, the peers."""

TICK = os.sysconf("SC_CLK_TCK")


class Missing(Exception):
    """A program or peer cannot be used here; the text says why, in a line."""


def tool(name: str) -> str:
    """Return a program's path; raises Missing when it is not installed."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if found is None:
        raise Missing(f"{name} is not installed")
    return found


def free_port() -> int:
    """Return a port of loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(
    port: int, process: subprocess.Popen[bytes] | None = None, seconds: float = 30
) -> None:
    """Return when somebody greets on the port; raises Missing when nobody does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process is not None and process.poll() is not None:
            raise Missing(f"it ended at its start with status {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.settimeout(5)
                if probe.recv(4):
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise Missing(f"nobody answered on its port within {seconds:.0f} s")


def cpu_seconds(pid: int, reaped: bool = False) -> float:
    """Return the user and system time of a process; ``reaped`` adds its ended children's."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    ticks = int(fields[11]) + int(fields[12])
    if reaped:
        ticks += int(fields[13]) + int(fields[14])
    return ticks / TICK


def children(pid: int) -> list[int]:
    """Return a process's children, the next generation only."""
    try:
        tasks = list(Path(f"/proc/{pid}/task").iterdir())
        return [int(word) for task in tasks for word in (task / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []


def family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    found = [pid]
    for parent in found:
        found += children(parent)
    return found


def command(pid: int) -> str:
    """Return a process's command line; empty once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def pss(pids: list[int]) -> int:
    """Return the octets of memory of these processes, shared pages divided (PSS)."""
    return sum(_memory(pid, "Pss:") for pid in pids)


def private(pids: list[int]) -> int:
    """Return the octets that only these processes hold."""
    return sum(_memory(pid, "Private_Clean:") + _memory(pid, "Private_Dirty:") for pid in pids)


def _memory(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    for line in text.splitlines():
        if line.startswith(name):
            return int(line.split()[1]) * 1024
    return 0


def end(process: subprocess.Popen[bytes], within: float = 20) -> None:
    """End a process of ours, by force when it does not within so many seconds."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(within)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def description() -> str:
    """Return cores and processor, as the machine names them."""
    model = "unknown processor"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return f"{os.cpu_count()} cores, {model}"


class _Step:
    __slots__ = ("size",)

    def __init__(self, size: int) -> None:
        self.size = size

    def grown(self, by: int) -> int:
        return self.size + by


def pace() -> float:
    """Return nanoseconds for a few dozen steps of this interpreter, the least of five tries.

    One that was built without profile-guided optimisation needs half as long again.
    """
    turns, best = 200_000, float("inf")
    for _ in range(5):
        began = time.perf_counter()
        kept = {}
        for turn in range(turns):
            kept[turn & 63] = (b"<%b>" % b"path", _Step(turn).grown(1))
        best = min(best, time.perf_counter() - began)
    return best / turns * 1e9
