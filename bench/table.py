"""The results as tables, a table for each kind of traffic."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from bench.participant import Participant
from bench.rounds import Result, Results
from bench.traffic import Traffic


def lines(
    participants: Sequence[Participant], traffics: Sequence[Traffic], results: Results
) -> list[str]:
    """Return the page's section."""
    out: list[str] = []
    for traffic in traffics:
        gateway = results.get(("gateway", traffic.key), Result())
        out += [
            f"### {traffic.name[0].upper()}{traffic.name[1:]}",
            "",
            "| | msg/s | CPU ms/msg | beside | Redis | gateway to this one |",
            "|---|---|---|---|---|---|",
        ]
        for one in participants:
            result = results[one.key, traffic.key]
            out.append(f"| {one.name} | {_cells(one, result, gateway)} |")
        out.append("")
    return out[:-1]


def _cells(one: Participant, result: Result, gateway: Result) -> str:
    if result.wrong or not result.rate:
        return f"wrong: {result.wrong or 'nothing measured'} | | | | "
    ratio = f"{gateway.median / result.median:.2f}" if gateway.rate and not gateway.wrong else ""
    if one.key == "direct":
        return f"{rate(result)} | | | | {ratio}"
    beside = statistics.median(result.beside)
    register = statistics.median(result.register)
    return " | ".join(
        [
            rate(result),
            cpu(result),
            f"{max(0.0, beside):.2f}" if one.key.startswith("gateway") else "",
            f"{register:.2f}" if register > 0 else "",
            ratio,
        ]
    )


def rate(result: Result) -> str:
    """Return messages a second, the median with lowest and highest."""
    return f"{result.median:.0f} ({min(result.rate):.0f}-{max(result.rate):.0f})"


def cpu(result: Result) -> str:
    """Return CPU milliseconds a message, the median with lowest and highest."""
    return f"{result.cpu:.2f} ({min(result.work):.2f}-{max(result.work):.2f})"


def memory_lines(
    participants: Sequence[Participant], traffics: Sequence[Traffic], results: Results
) -> list[str]:
    """Return the table of the most that all processes of each participant held (PSS)."""
    columns = [traffic.name for traffic in traffics]
    return [
        f"| MB at the most | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
        *(
            f"| {one.name} | "
            + " | ".join(f"{results[one.key, t.key].held / 1e6:.0f}" for t in traffics)
            + " |"
            for one in participants
            if one.key != "direct"
        ),
    ]
