"""``make bench``: messages a second and CPU per message, beside the sink alone.

Each round measures the direct way (smtp-source into smtp-sink) and the way through
one gateway worker, one after the other, so that a busy machine slows both; the
figures are medians of the rounds with their spread.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench.rig import cpu_model, cpu_seconds, gateway, message, send, sink, spread

PAGE = Path(__file__).parent.parent / "docs" / "benchmarks.md"
MARK = "<!-- the table below is written by make bench -->"


@dataclass(frozen=True)
class Case:
    """One kind of traffic."""

    name: str
    size: int
    count: int
    recipients: int = 1
    keep: bool = True


CASES = (
    Case("1 KB", 1_000, 3000),
    Case("10 KB", 10_000, 3000),
    Case("100 KB", 100_000, 600),
    Case("10 KB, 50 recipients", 10_000, 300, recipients=50),
    Case("10 KB, a connection a message", 10_000, 1000, keep=False),
)


async def measure(rounds: int, sessions: int) -> list[str]:
    """The table's rows."""
    rows = []
    with tempfile.TemporaryDirectory() as name, sink() as direct:
        folder = Path(name)
        async with gateway(direct) as one:
            for case in CASES:
                file = message(folder, case.size)
                straight: list[float] = []
                through: list[float] = []
                worker: list[float] = []
                others: list[float] = []
                for number in range(rounds + 1):
                    count = case.count if number else max(50, case.count // 10)
                    settings = {
                        "sessions": sessions,
                        "recipients": case.recipients,
                        "keep": case.keep,
                    }
                    rate = await asyncio.to_thread(send, direct, file, count, **settings)
                    before = cpu_seconds(one.worker), cpu_seconds(one.others)
                    relayed = await asyncio.to_thread(send, one.port, file, count, **settings)
                    used = cpu_seconds(one.worker), cpu_seconds(one.others)
                    if not number:
                        continue  # warming up
                    straight.append(rate)
                    through.append(relayed)
                    worker.append((used[0] - before[0]) / count * 1000)
                    others.append((used[1] - before[1]) / count * 1000)
                ratio = statistics.median(through) / statistics.median(straight)
                rows.append(
                    f"| {case.name} | {statistics.median(straight):.0f} | "
                    f"{statistics.median(through):.0f} ({min(through):.0f}-{max(through):.0f}) | "
                    f"{ratio:.2f} | {spread(worker)} | {spread(others)} |"
                )
                print(rows[-1], file=sys.stderr)
    return rows


def main() -> None:
    """Measure and write the page's table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--print", action="store_true", help="do not write docs/benchmarks.md")
    arguments = parser.parse_args()
    rows = asyncio.run(measure(arguments.rounds, arguments.sessions))
    table = "\n".join(
        [
            f"{os.cpu_count()} cores, {cpu_model()}, Python {sys.version.split()[0]}; "
            f"{arguments.sessions} sessions, medians of {arguments.rounds} rounds "
            "(lowest-highest).",
            "",
            "| traffic | direct msg/s | gateway msg/s | ratio | worker CPU ms/msg | "
            "archive and register CPU ms/msg |",
            "|---|---|---|---|---|---|",
            *rows,
        ]
    )
    print(table)
    if not arguments.print:
        text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else f"{MARK}\n"
        PAGE.write_text(text.partition(MARK)[0] + f"{MARK}\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
