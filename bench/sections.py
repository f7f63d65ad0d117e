"""What a run measures, section by section of the page."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from bench import (
    aims,
    archived,
    instructions,
    latency,
    lookups,
    machine,
    memory,
    pause,
    profile,
    scale,
    sms,
    table,
)
from bench.aims import Found
from bench.ceiling import Bare
from bench.gateway import Gateway
from bench.machine import Missing
from bench.participant import Participant, Place
from bench.rounds import entered, measure, verify
from bench.sink import Sink
from bench.traffic import SESSIONS, TRAFFIC, Traffic, message


class Run:
    """One run; ``sections`` grows with what is measured."""

    def __init__(self, sink: Sink, place: Place, folder: Path, seconds: float, rounds: int) -> None:
        self._sink = sink
        self._place = place
        self._folder = folder
        self._seconds = seconds
        self._rounds = rounds
        self._traffic = {traffic.key: traffic for traffic in TRAFFIC}
        self.sizes = [scale.SIZES["100k"]]
        """Contacts of the registers that are made for the section on scale."""
        self.found = Found()
        self.sections: dict[str, list[str]] = {}

    def table(
        self,
        kinds: Sequence[type[Participant]],
        traffics: Sequence[Traffic],
        *,
        verified: bool = True,
    ) -> None:
        """All participants side by side."""
        with ExitStack() as stack:
            running, notes = entered(stack, kinds, self._place)
            results = self.found.results
            if verified:
                verify(running, traffics, self._sink, self._folder, results)
            measure(
                *(running, traffics, self._sink, self._folder, results),
                rounds=self._rounds,
                seconds=self._seconds,
            )
            if not all(one.meter.complete for one in running):
                notes.append(
                    "No control groups here: the CPU of processes that nobody waited for "
                    "(Exim's deliveries) is missing."
                )
        lines = table.lines(running, traffics, results)
        lines += [
            "",
            "### Memory of all processes",
            "",
            *table.memory_lines(running, traffics, results),
        ]
        if notes:
            lines += ["", *(f"- {note}" for note in notes)]
        self.sections["table"] = lines

    def small(self, names: Sequence[str]) -> None:
        """Measure the sections that need a gateway to themselves."""
        if {"memory", "latency", "pause", "profile"} & set(names):
            with ExitStack() as stack:
                running, notes = entered(stack, (Gateway, Bare), self._place)
                if notes:
                    return
                gateway, bare = running
                assert isinstance(gateway, Gateway)
                self._of_gateway(gateway, bare, names)
        if "lookups" in names:
            self._try("lookups", self._lookups)
        if "scale" in names:
            self._try("scale", self._scale)
        if "sms" in names:
            self._try("sms", lambda: sms.lines(sms.measure(self._rounds, self._seconds)))
        if "instructions" in names:
            self._try("instructions", self._instructions)

    def finish(self) -> None:
        """Add what follows from the rest."""
        if self.found.results or self.found.latency or self.found.memory or self.found.pause:
            self.sections["aims"] = aims.lines(self.found)
        self.sections["machine"] = [
            f"{machine.description()}, Python {sys.version.split()[0]} "
            f"(its pace: {machine.pace():.0f} ns), "
            f"{datetime.now(UTC):%Y-%m-%d}; {SESSIONS} sessions, medians of {self._rounds} rounds "
            f"of about {self._seconds:g} s each (lowest-highest)."
        ]

    def _of_gateway(self, gateway: Gateway, bare: Participant, names: Sequence[str]) -> None:
        # Memory first, of a worker that has carried nothing yet.
        if "memory" in names:
            self.found.memory = memory.measure(gateway)
            self._say("memory", memory.lines(self.found.memory))
        if "latency" in names:
            self.found.latency = latency.measure(gateway, self._place.upstream, 10)
            sync = latency.sync_seconds(gateway.folder)
            self._say("latency", latency.lines(self.found.latency, sync))
        if "profile" in names:
            self._try("profile", lambda: self._profile(gateway))
        if "pause" in names:
            self.found.pause = pause.measure(gateway, bare, self._sink, self._folder)
            self._say("pause", pause.lines(self.found.pause))

    def _profile(self, gateway: Gateway) -> list[str]:
        found = []
        for key, rate in (("10k", 800), ("50p", 150)):
            traffic = self._traffic[key]
            file = message(self._folder, traffic.size)
            found.append(profile.measure(gateway, traffic, file, rate, 8))
        return profile.lines(found)

    def _lookups(self) -> list[str]:
        return lookups.lines(*lookups.measure(self._place.register, 2))

    def _scale(self) -> list[str]:
        found = []
        with ExitStack() as stack:
            running, notes = entered(stack, (Gateway,), self._place)
            for gateway in running:
                assert isinstance(gateway, Gateway)
                for key, messages in (("1k", 5000), ("50", 200)):
                    found.append(archived.measure(gateway, self._traffic[key], messages))
        sized = scale.measure(self.sizes, self._rounds)
        return [*scale.lines(sized), "", *(notes or archived.lines(found))]

    def _instructions(self) -> list[str]:
        counts = {"1k": 200, "10k": 200, "100k": 100, "50": 10, "50p": 20}
        cases = [
            (self._traffic[key], message(self._folder, self._traffic[key].size), messages)
            for key, messages in counts.items()
        ]
        return instructions.lines(instructions.measure(self._place, self._sink, cases))

    def _try(self, name: str, made: Callable[[], list[str]]) -> None:
        try:
            self._say(name, made())
        except Missing as error:
            self._say(name, [f"Not measured: {error}."])

    def _say(self, name: str, lines: list[str]) -> None:
        self.sections[name] = lines
        print("\n".join(["", *lines]), file=sys.stderr)
