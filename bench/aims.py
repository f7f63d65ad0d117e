"""The project's aims for its speed, and whether this run meets them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from bench.latency import Latency
from bench.memory import Memory
from bench.pause import Pause
from bench.rounds import Result, Results


@dataclass
class Found:
    """What a run has measured; what it has not is left as it is."""

    results: Results = field(default_factory=dict)
    latency: list[Latency] = field(default_factory=list)
    pause: Pause | None = None
    memory: Memory | None = None


@dataclass(frozen=True)
class _Pace:
    """The aims for one kind of traffic; 0 is none."""

    traffic: str
    name: str
    cpu: float = 0.0
    postfix: float = 0.0
    haraka: float = 0.0
    bare: float = 0.0


_PACES = (
    _Pace("1k", "1 KB", cpu=0.35, postfix=2.5, haraka=8, bare=0.5),
    _Pace("10k", "10 KB", cpu=0.40, postfix=2.2, bare=0.6),
    _Pace("100k", "100 KB", cpu=0.80, postfix=1.5, bare=0.85),
    _Pace("50", "10 KB, 50 recipients", cpu=6),
    _Pace("50p", "10 KB, 50 recipients, pipelined", cpu=1.5),
    _Pace("reconnect", "10 KB, a connection a message", postfix=1.2),
)


def lines(found: Found) -> list[str]:
    """Return the page's section: a line for each aim that this run can judge."""
    rows: list[tuple[str, str, bool | None]] = []
    for pace in _PACES:
        rows += _paced(pace, found.results)
    rows += _workers(found.results)
    if found.latency:
        p50, p99 = found.latency[0].added
        rows.append(("added latency, one session: p50 below 1.5 ms", f"{p50:.2f} ms", p50 < 1.5))
        rows.append(("added latency, one session: p99 below 5 ms", f"{p99:.2f} ms", p99 < 5))
    if found.pause is not None:
        longest = found.pause.longest
        control = max(found.pause.control) * 1000
        rows.append(
            (
                "20 x 25 MB at once: no pause of 50 ms",
                f"{longest:.0f} ms (a process that does nothing: {control:.0f} ms)",
                longest < 50,
            )
        )
        peak = found.pause.peak / 1e6
        rows.append(("20 x 25 MB at once: below 256 MB a worker", f"{peak:.0f} MB", peak < 256))
    if found.memory is not None:
        worker, each = found.memory.worker / 1e6, found.memory.connection / 1e3
        rows.append(("an idle worker: below 40 MB", f"{worker:.1f} MB", worker < 40))
        rows.append(("an idle connection: below 25 kB", f"{each:.1f} kB", each < 25))
    return [
        "| aim | this run | |",
        "|---|---|---|",
        *(f"| {aim} | {value} | {_WORDS[met]} |" for aim, value, met in rows),
    ]


_WORDS = {True: "met", False: "**not met**", None: "not judged"}


def _paced(pace: _Pace, results: Results) -> list[tuple[str, str, bool | None]]:
    rows: list[tuple[str, str, bool | None]] = []
    gateway = _valid(results, "gateway", pace.traffic)
    if gateway is None:
        return rows
    if pace.cpu:
        rows.append(
            (
                f"{pace.name}: at most {pace.cpu:.2f} ms CPU of the worker a message",
                f"{gateway.cpu:.2f} ms",
                gateway.cpu <= pace.cpu,
            )
        )
    for prefix, name, aim in (
        ("postfix", "the fastest Postfix", pace.postfix),
        ("haraka", "the faster Haraka", pace.haraka),
        ("bare", "the bare relay", pace.bare),
    ):
        rates = [
            result.median
            for (key, traffic), result in results.items()
            if key.startswith(prefix) and traffic == pace.traffic and not result.wrong
        ]
        best = max(rates, default=0.0)
        if aim and best:
            ratio = gateway.median / best
            rows.append((f"{pace.name}: at least {aim} x {name}", f"{ratio:.2f} x", ratio >= aim))
    return rows


def _workers(results: Results) -> list[tuple[str, str, bool | None]]:
    one, two = _valid(results, "gateway", "1k"), _valid(results, "gateway2", "1k")
    if one is None or two is None:
        return []
    ratio = two.median / one.median
    # Source and sink need a core each beside the workers'.
    met = ratio >= 1.5 if (os.cpu_count() or 1) >= 4 else None
    value = f"{ratio:.2f} x, at {two.cpu / one.cpu:.2f} x the CPU a message"
    return [("1 KB: two workers at least 1.5 x one, where cores are free", value, met)]


def _valid(results: Results, key: str, traffic: str) -> Result | None:
    result = results.get((key, traffic))
    return None if result is None or result.wrong or not result.rate else result
