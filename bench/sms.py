"""Text messages: the gateway beside a bare proxy and the provider itself, driven by wrk."""

from __future__ import annotations

import csv
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.machine import Missing, command, cpu_seconds, end, family, free_port, tool

_ROOT = Path(__file__).parent.parent
_PEOPLE = 10_000
_BATCH = 1000
_SESSIONS = 20
_LOOK, _IDLE = 0.5, 0.1
"""How long the processes of a way are looked at, and what share of a processor is none."""

_CONFIG = """\
data_dir = "data"
workers = {workers}
[controller]
name = "Bench"
contact_email = "privacy@bench.example"
domains = ["bench.example"]
[rules]
set = "opt-out"
[records]
backlog_max = 10000000
[smtp]
listen = ["127.0.0.1:{smtp}"]
[[smtp.clients]]
name = "bench"
networks = ["127.0.0.0/8"]
kind = "marketing"
upstream = "sandbox"
[[smtp.upstreams]]
name = "sandbox"
sandbox = "sandbox"
[http]
listen = ["127.0.0.1:{http}"]
[log]
level = "warning"
[sms]
listen = ["127.0.0.1:{port}"]
[[sms.routes]]
name = "one"
provider = "twilio"
host = "one.bench"
networks = ["127.0.0.0/8"]
kind = "marketing"
topic = "bench"
senders = ["Bench"]
base_url = "http://127.0.0.1:{provider}"
region = "EEA"
[[sms.routes]]
name = "batch"
provider = "infobip"
host = "batch.bench"
networks = ["127.0.0.0/8"]
kind = "marketing"
topic = "bench"
senders = ["Bench"]
base_url = "http://127.0.0.1:{provider}"
region = "EEA"
"""

_ONE = """\
local n = 0
wrk.method = "POST"
wrk.headers["Host"] = "one.bench"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Authorization"] = "Basic QUMwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDp0b2tlbg=="
request = function()
  n = (n + 7) % {people}
  local body = string.format("To=%%2B35840%07d&From=Bench&Body=Syysale+alkoi."
    .. "+Lopeta+vastaamalla+STOP", 1000000 + n)
  return wrk.format(nil, "/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json",
    nil, body)
end
"""

_MANY = """\
local n = 0
wrk.method = "POST"
wrk.headers["Host"] = "batch.bench"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "App key"
local bodies = {{}}
for b = 0, 9 do
  local to = {{}}
  for i = 1, {batch} do
    to[i] = string.format('{{"to":"35840%07d"}}', 1000000 + (b * {batch} + i) % {people})
  end
  bodies[b] = '{{"messages":[{{"sender":"Bench","destinations":[' .. table.concat(to, ",")
    .. '],"content":{{"text":"Syysale. Vastaa STOP"}}}}]}}'
end
request = function()
  n = (n + 1) % 10
  return wrk.format(nil, "/sms/3/messages", nil, bodies[n])
end
"""


@dataclass
class Way:
    """One way to the provider, and what was measured of it."""

    name: str
    port: int
    pid: int
    rates: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    """Milliseconds of the workers, or of the proxy, for a request."""
    latency: list[float] = field(default_factory=list)
    """p50 in milliseconds of one session."""

    def pids(self) -> list[int]:
        """What does the work."""
        own = family(self.pid)
        workers = [pid for pid in own if "gateway.serve.worker" in command(pid)]
        return workers or own


def measure(rounds: int, seconds: float) -> list[Way]:
    """All ways side by side, in turn; raises Missing without wrk."""
    wrk = tool("wrk")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-bench-sms-")))
        scripts = {}
        for key, text in (("one", _ONE), ("many", _MANY)):
            scripts[key] = folder / f"{key}.lua"
            wanted = text.format(people=_PEOPLE, batch=_BATCH) if key == "many" else text
            scripts[key].write_text(wanted.replace("{people}", str(_PEOPLE)))
        provider = stack.enter_context(_running("bench.smsprovider"))
        bare = stack.enter_context(_running("bench.smsproxy", str(provider[0])))
        ways = [Way("straight to the provider", *provider), Way("bare aiohttp proxy", *bare)]
        for workers in (1, 2):
            port, pid = stack.enter_context(
                _gateway(folder / f"gateway{workers}", workers, provider[0])
            )
            ways.append(Way(f"gateway, {workers} worker{'s' * (workers > 1)}", port, pid))
        for number in range(rounds + 1):
            for way in ways:
                for key in ("one", "many"):
                    _load(wrk, scripts[key], way, key, seconds, counted=number > 0)
                found = _wrk(wrk, scripts["one"], way.port, 1, min(seconds, 2))
                if number:
                    way.latency.append(found[1])
    return ways


def lines(ways: list[Way]) -> list[str]:
    """The section of the page."""
    bare = ways[1]
    rows = [
        f"One recipient a request: {_SESSIONS} sessions of wrk. Batches: {_BATCH} recipients, "
        f"4 sessions. {_PEOPLE} numbers, a fifth of them banned. Medians (lowest-highest).",
        "",
        "| | requests/s | of the bare proxy | CPU ms/request | p50 of one session, ms | "
        "batch: recipients/s | batch: CPU ms |",
        "|---|---|---|---|---|---|---|",
    ]
    for way in ways:
        one, many = way.rates["one"], [rate * _BATCH for rate in way.rates["many"]]
        rows.append(
            f"| {way.name} | {_spread(one, 0)} | {median(one) / median(bare.rates['one']):.2f} | "
            f"{median(way.cpu['one']):.2f} | {_spread(way.latency, 2)} | {_spread(many, 0)} | "
            f"{median(way.cpu['many']):.1f} |"
        )
    rows += [
        "",
        "Published by others, on other machines: Jasmin 20-600 messages/s (its users), "
        "KSMPPD 1,534/s (its author).",
    ]
    return rows


def _spread(values: list[float], digits: int) -> str:
    return f"{median(values):.{digits}f} ({min(values):.{digits}f}-{max(values):.{digits}f})"


def _load(wrk: str, script: Path, way: Way, key: str, seconds: float, *, counted: bool) -> None:
    before = sum(map(cpu_seconds, way.pids()))
    rate, _ = _wrk(wrk, script, way.port, _SESSIONS if key == "one" else 4, seconds)
    used = sum(map(cpu_seconds, way.pids())) - before
    if counted:
        way.rates.setdefault(key, []).append(rate)
        way.cpu.setdefault(key, []).append(used * 1000 / max(1.0, rate * seconds))
    _settle(way)


def _settle(way: Way) -> None:
    """Wait, for a minute at the most, until what the load has left behind is done.

    A gateway's archiver is at work for seconds after a batch.  What is measured next
    would have to share the processors with it.
    """
    until = time.monotonic() + 60
    before = sum(map(cpu_seconds, family(way.pid)))
    while time.monotonic() < until:
        time.sleep(_LOOK)
        now = sum(map(cpu_seconds, family(way.pid)))
        if now - before < _LOOK * _IDLE:
            return
        before = now


def _wrk(wrk: str, script: Path, port: int, sessions: int, seconds: float) -> tuple[float, float]:
    """Requests a second, and p50 in milliseconds."""
    done = subprocess.run(
        [
            wrk,
            "-t1",
            f"-c{sessions}",
            f"-d{max(1, round(seconds))}s",
            "--latency",
            "-s",
            script,
            f"http://127.0.0.1:{port}/",
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    rate = re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)
    half = re.search(r"50%\s+([\d.]+)(us|ms|s)", done.stdout)
    if rate is None or half is None:
        raise Missing(f"wrk says something else: {done.stdout[-300:]}")
    if "Non-2xx" in done.stdout and "one" not in script.name:
        raise Missing(f"not all batches were taken: {done.stdout[-300:]}")
    unit = {"us": 0.001, "ms": 1.0, "s": 1000.0}[half[2]]
    return float(rate[1]), float(half[1]) * unit


@contextmanager
def _running(module: str, *arguments: str) -> Iterator[tuple[int, int]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", module, str(port), *arguments], cwd=_ROOT)
    try:
        _wait(port)
        yield port, process.pid
    finally:
        end(process)


@contextmanager
def _gateway(folder: Path, workers: int, provider: int) -> Iterator[tuple[int, int]]:
    folder.mkdir()
    port = free_port()
    config = folder / "config.toml"
    config.write_text(
        _CONFIG.format(
            workers=workers, port=port, provider=provider, smtp=free_port(), http=free_port()
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    people = folder / "people.csv"
    with people.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["phone", "ban", "source"])
        rows.writerows([f"+35840{1_000_000 + n}", "all", "bench"] for n in range(0, _PEOPLE, 5))
    words = (sys.executable, "-m", "gateway")
    subprocess.run(
        [*words, "register", "import", people, "--by", "bench", "--config", config],
        env=environment,
        cwd=folder,
        check=True,
        capture_output=True,
        timeout=300,
    )
    process = subprocess.Popen(
        [*words, "serve", "--config", config],
        env=environment,
        cwd=folder,
        start_new_session=True,
    )
    try:
        _wait(port, process)
        yield port, process.pid
    finally:
        end(process, 60)


def _wait(port: int, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return when the port takes connections and somebody answers."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if process is not None and process.poll() is not None:
            raise Missing(f"it ended at its start with status {process.returncode}")
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.settimeout(2)
                probe.sendall(b"GET / HTTP/1.1\r\nHost: probe\r\nConnection: close\r\n\r\n")
                if probe.recv(4):
                    return
        except OSError:
            time.sleep(0.05)
    raise Missing("nobody answered")
