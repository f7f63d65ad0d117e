"""Rounds: everybody in turn, again and again, so that a busy machine slows all alike."""

from __future__ import annotations

import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.dataset import suppressed
from bench.machine import Missing
from bench.participant import Participant, Place, Usage
from bench.sink import Sink
from bench.traffic import Traffic, message, send

_PATIENCE = 15.0
"""Seconds without a message at the sink until a round counts as failed."""


@dataclass
class Result:
    """What one participant did with one kind of traffic, a value for each round."""

    rate: list[float] = field(default_factory=list)
    """Messages a second."""
    work: list[float] = field(default_factory=list)
    """CPU milliseconds a message, of what does the work."""
    beside: list[float] = field(default_factory=list)
    register: list[float] = field(default_factory=list)
    held: int = 0
    """The most octets (PSS) that all its processes held in the round that is not counted."""
    wrong: str = ""
    """Why the figure does not count."""

    @property
    def median(self) -> float:
        """The median rate; 0 where nothing was measured."""
        return statistics.median(self.rate) if self.rate else 0.0

    @property
    def cpu(self) -> float:
        """The median of the work's CPU time; 0 where nothing was measured."""
        return statistics.median(self.work) if self.work else 0.0


Results = dict[tuple[str, str], Result]
"""By the participant's key and the traffic's."""


def entered(
    stack: ExitStack, kinds: Sequence[type[Participant]], place: Place
) -> tuple[list[Participant], list[str]]:
    """Start the participants; return those that run, and a line for each that does not."""
    running, notes = [], []
    for kind in kinds:
        try:
            running.append(stack.enter_context(kind(place)))
        except (Missing, OSError, subprocess.SubprocessError) as error:
            notes.append(f"{kind.name}: not measured ({str(error).splitlines()[0][:300]})")
            print(notes[-1], file=sys.stderr)
    return running, notes


def verify(
    participants: Sequence[Participant],
    traffics: Sequence[Traffic],
    sink: Sink,
    folder: Path,
    results: Results,
) -> None:
    """See that each drops every suppressed recipient and passes every other one.

    The sink writes down what it gets meanwhile; this round is not measured.
    """
    sink.start(keep=True)
    for one in participants:
        for traffic in traffics:
            result = results.setdefault((one.key, traffic.key), Result())
            messages = 100 if traffic.recipients == 1 else 10
            numbers = range(1, messages * traffic.recipients + 1)
            due = [n for n in numbers if one.key == "direct" or not suppressed(n)]
            copies = messages if one.key == "direct" else traffic.copies(messages)
            try:
                before = sink.messages()
                send(
                    *(traffic, message(folder, traffic.size), one.port, messages),
                    reject=one.rejects,
                    timeout=60,
                )
                sink.wait(before + copies, _PATIENCE)
            except (subprocess.SubprocessError, OSError):
                result.wrong = "it does not take these messages"
                continue
            time.sleep(0.1)
            got = sorted(sink.received())
            if got != due:
                leaked = sum(suppressed(n) for n in got) if one.key != "direct" else 0
                result.wrong = (
                    f"of {len(due)} due recipients {len(set(got) & set(due))} were reached, "
                    f"{leaked} suppressed ones too"
                )
    sink.start()


def measure(
    participants: Sequence[Participant],
    traffics: Sequence[Traffic],
    sink: Sink,
    folder: Path,
    results: Results,
    *,
    rounds: int,
    seconds: float,
) -> None:
    """Fill ``results``: a short round that sets each one's number of messages, then the rest."""
    for traffic in traffics:
        file = message(folder, traffic.size)
        counts: dict[str, int] = {}
        for number in range(rounds + 1):
            for one in participants:
                result = results.setdefault((one.key, traffic.key), Result())
                if result.wrong:
                    continue
                count = counts.get(one.key, traffic.first)
                if number:
                    if not _round(one, traffic, file, count, sink, result):
                        _again(one, traffic, file, count, sink, result)
                    continue
                with _Holding(one) as holding:
                    warming = Result()
                    rate = _round(one, traffic, file, count, sink, warming)
                result.held = holding.octets
                if rate:
                    counts[one.key] = max(traffic.first // 2, int(rate * seconds))
        for one in participants:
            _say(one, traffic, results[one.key, traffic.key])


def _again(
    one: Participant, traffic: Traffic, file: Path, count: int, sink: Sink, result: Result
) -> None:
    """Repeat a round in which something was missing, once: a machine may have been too busy."""
    cause, result.wrong = result.wrong, ""
    print(f"{traffic.key:10} {one.name}: again, for {cause}", file=sys.stderr)
    time.sleep(1)
    _round(one, traffic, file, count, sink, result)


def _round(
    one: Participant,
    traffic: Traffic,
    file: Path,
    count: int,
    sink: Sink,
    result: Result,
) -> float:
    copies = count if one.key == "direct" else traffic.copies(count)
    due = sink.messages() + copies
    before = one.usage()
    began = time.monotonic()
    try:
        send(traffic, file, one.port, count, reject=one.rejects, timeout=120)
    except (subprocess.SubprocessError, OSError) as error:
        result.wrong = f"the load tool gave up ({type(error).__name__})"
        return 0.0
    passed = sink.wait(due, _PATIENCE)
    rate = count / (time.monotonic() - began)
    after = _settled(one)
    if not passed or sink.messages() != due:
        result.wrong = f"{sink.messages() - due + copies} of {copies} messages reached the sink"
        return 0.0
    per = 1000 / count
    result.rate.append(rate)
    result.work.append((after.work - before.work) * per)
    result.beside.append((after.beside - before.beside) * per)
    result.register.append((after.register - before.register) * per)
    return rate


class _Holding:
    """Looks ten times a second at what a participant holds; kept out of counted rounds."""

    def __init__(self, one: Participant) -> None:
        self._one = one
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.octets = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.1):
            self.octets = max(self.octets, self._one.memory())


def _settled(one: Participant) -> Usage:
    """Return its usage once it has finished what it does behind its replies."""
    last = one.usage()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        time.sleep(0.1)
        now = one.usage()
        if now.all - last.all < 0.012 and one.drained():
            return now
        last = now
    return last


def _say(one: Participant, traffic: Traffic, result: Result) -> None:
    if result.wrong:
        print(f"{traffic.key:10} {one.name}: wrong: {result.wrong}", file=sys.stderr)
        return
    print(
        f"{traffic.key:10} {one.name:45} {result.median:7.0f}/s "
        f"({min(result.rate):.0f}-{max(result.rate):.0f})  "
        f"{result.cpu:6.2f} ms ({min(result.work):.2f}-{max(result.work):.2f})"
        f"  beside {statistics.median(result.beside):.2f}"
        f"  register {statistics.median(result.register):.2f}",
        file=sys.stderr,
    )
