"""The parts of a measurement: gateway, sink, source, and what each process used."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
RECIPIENTS = 10_000
BANNED_SHARE = 5  # one in so many


def tool(name: str) -> str:
    """A program's path.

    Raises:
        SystemExit: it is not installed.

    """
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        raise SystemExit(f"{name} is missing: install Debian's postfix to measure")
    return found


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def cpu_seconds(pids: list[int]) -> float:
    """User and system time that these processes have used so far."""
    total = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        except FileNotFoundError:
            continue
        total += int(fields[11]) + int(fields[12])
    return total / TICK


@contextmanager
def sink() -> Iterator[int]:
    """Postfix's smtp-sink on a free port."""
    port = free_port()
    process = subprocess.Popen(
        [tool("smtp-sink"), "-u", "nobody", f"127.0.0.1:{port}", "512"],
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait()


def wait_for(port: int, seconds: float = 20) -> None:
    """Until somebody listens."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit(f"nothing listens on port {port}")


@dataclass
class Gateway:
    """A running gateway and its processes."""

    port: int
    worker: list[int]
    others: list[int]


@asynccontextmanager
async def gateway(upstream: int, workers: int = 1) -> AsyncIterator[Gateway]:
    """A gateway with rules and records on, and a register that bans one in five."""
    folder = Path(tempfile.mkdtemp(prefix="sg-bench-"))
    port = free_port()
    config = folder / "config.toml"
    config.write_text(
        f"""
data_dir = "data"
[controller]
name = "Bench"
contact_email = "privacy@bench.example"
domains = ["bench.example"]
[rules]
set = "opt-out"
[records]
backlog_max = 10000000
[smtp]
listen = ["127.0.0.1:{port}"]
[[smtp.clients]]
name = "bench"
networks = ["127.0.0.0/8"]
kind = "marketing"
topic = "bench"
max_recipients = 10000
upstream = "sink"
[[smtp.upstreams]]
name = "sink"
host = "127.0.0.1"
port = {upstream}
tls = "none"
region = "EEA"
[http]
listen = ["127.0.0.1:{free_port()}"]
[log]
level = "warning"
"""
    )
    suppressed = folder / "banned.csv"
    with suppressed.open("w") as file:
        file.write("email,ban\n")
        for number in range(0, RECIPIENTS, BANNED_SHARE):
            file.write(f"{number}r@bench.example,all\n")
    run = [sys.executable, "-m", "gateway"]
    subprocess.run(
        [*run, "register", "import", str(suppressed), "--by", "bench", "--config", str(config)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    process = await asyncio.create_subprocess_exec(
        *run, "serve", "--workers", str(workers), "--config", str(config)
    )
    try:
        await asyncio.to_thread(wait_for, port)
        await asyncio.sleep(1)
        children = _children(process.pid)
        serving = [pid for pid in children if "gateway.serve.worker" in _command(pid)]
        others = [process.pid, *(pid for pid in children if pid not in serving)]
        yield Gateway(port, serving, others)
    finally:
        process.terminate()
        await process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in text.split()]


def _command(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")


def message(folder: Path, size: int) -> Path:
    """A marketing message of about ``size`` octets, as a file for smtp-source."""
    head = (
        "From: bench@bench.example\nSubject: bench\nList-Unsubscribe: <https://bench.example/u>\n\n"
    )
    line = "x" * 76 + "\n"
    path = folder / f"{size}.eml"
    path.write_text(head + line * max(1, (size - len(head)) // len(line)))
    return path


def send(port: int, file: Path, count: int, *, sessions: int, recipients: int, keep: bool) -> float:
    """Messages a second that smtp-source gets through."""
    command = [
        tool("smtp-source"),
        *(["-d"] if keep else []),
        *("-s", str(sessions), "-m", str(count), "-r", str(recipients)),
        *("-f", "bench@bench.example", "-t", "r@bench.example", "-N", "-F", str(file)),
        f"127.0.0.1:{port}",
    ]
    began = time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return count / (time.monotonic() - began)


def spread(values: list[float]) -> str:
    """Median with lowest and highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"


def cpu_model() -> str:
    """What the machine says it is."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown"


def as_json(rows: list[dict[str, object]]) -> str:
    """The raw figures."""
    return json.dumps(rows, indent=2)
