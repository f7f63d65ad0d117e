"""Where the worker's time goes: functions by the time spent in themselves (py-spy)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from bench.gateway import Gateway
from bench.machine import Missing, tool
from bench.traffic import Traffic, send

TOP = 20
_LOOP = "Runner.run (asyncio/"
"""In every stack of the thread that runs the event loop."""


@dataclass(frozen=True)
class Profile:
    """Shares of the samples in which the event loop's thread was not idle."""

    traffic: str
    samples: int
    functions: list[tuple[str, float]]


def measure(gateway: Gateway, traffic: Traffic, file: Path, rate: float, seconds: int) -> Profile:
    """Sample the worker while so many messages a second come in.

    Raises Missing where py-spy is not installed or may not look.
    """
    try:
        spy = tool("py-spy")
    except Missing:
        spy = str(Path(sys.executable).parent / "py-spy")
        if not Path(spy).exists():
            raise
    load = threading.Thread(
        target=send,
        args=(traffic, file, gateway.port, max(100, int(rate * (seconds + 2)))),
        kwargs={"reject": False, "timeout": 300},
    )
    with tempfile.TemporaryDirectory(prefix="sg-bench-") as folder:
        path = Path(folder) / "stacks"
        load.start()
        try:
            subprocess.run(
                [
                    *(spy, "record", "-F", "-f", "raw", "-r", "250", "-d", str(seconds)),
                    *("-o", str(path), "-p", str(gateway.serving()[0])),
                ],
                check=True,
                capture_output=True,
                timeout=seconds + 60,
            )
            text = path.read_text()
        except (subprocess.SubprocessError, OSError) as error:
            raise Missing("py-spy may not look at the worker here") from error
        finally:
            load.join()
    own: Counter[str] = Counter()
    for line in text.splitlines():
        stack, _, samples = line.rpartition(" ")
        if _LOOP not in stack:
            continue  # another thread, which py-spy cannot tell from a busy one
        own[_short(stack.rpartition(";")[2])] += int(samples)
    total = sum(own.values())
    return Profile(
        traffic.name,
        total,
        [(name, samples / total) for name, samples in own.most_common(TOP)],
    )


def _short(frame: str) -> str:
    """Return ``function (package/module.py)``: no folder of this machine, no line."""
    name, _, place = frame.partition(" (")
    parts = place.rpartition(":")[0].split("/")
    if "site-packages" in parts:
        parts = parts[parts.index("site-packages") + 1 :]
    elif "gateway" in parts:
        parts = parts[parts.index("gateway") :]
    else:
        parts = parts[-2:]
    return f"{name} ({'/'.join(parts)})"


def lines(found: list[Profile]) -> list[str]:
    """Return the page's section."""
    out: list[str] = []
    for one in found:
        out += [
            f"{one.traffic}, {one.samples} samples:",
            "",
            "| share | function |",
            "|---|---|",
            *(f"| {share:.1%} | `{name}` |" for name, share in one.functions),
            "",
        ]
    return out[:-1]
