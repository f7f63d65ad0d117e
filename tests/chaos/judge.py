"""Compares what three know of the same mail: sink, client, archive."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from tests.chaos.archive import Row
from tests.chaos.letter import Letter
from tests.chaos.sink import Arrival

_MAY_HAVE_LEFT = frozenset({"forwarded", "unknown", None})
"""Results that a record of something that arrived may have; None: nobody could tell yet."""


@dataclass
class Findings:
    """What is wrong, and what was counted."""

    faults: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {what}" for what, count in self.counts.items())
        more = len(self.faults) - 40
        shown = self.faults[:40] + ([f"... and {more} more"] if more > 0 else [])
        return "\n".join([counts, *shown])

    def check(self) -> None:
        """Print the counts; raise AssertionError if anything is wrong."""
        print(self)
        assert not self.faults, str(self)


def judge(
    letters: Sequence[Letter],
    arrivals: Sequence[Arrival],
    rows: Sequence[Row],
    *,
    banned: Collection[str],
    crashed: bool = False,
    garbled: bool = False,
) -> Findings:
    """All that contradicts the gateway's promises.

    ``crashed``: processes were killed, or records could not be written, so that a record
    may stand without its result.  ``garbled``: replies to the client were corrupted, so
    that a 250 may name no id.
    """
    trial = _Trial(letters, arrivals, rows, frozenset(banned))
    trial.of_arrivals()
    trial.of_senders(garbled)
    trial.of_records(crashed)
    trial.of_duplicates()
    return trial.findings


class _Trial:
    def __init__(
        self,
        letters: Sequence[Letter],
        arrivals: Sequence[Arrival],
        rows: Sequence[Row],
        banned: frozenset[str],
    ) -> None:
        self.letters = {letter.id: letter for letter in letters}
        self.arrivals = arrivals
        self.rows = rows
        self.banned = banned
        self.findings = Findings()
        self.arrived = Counter((a.gateway_id, one) for a in arrivals for one in a.recipients)
        self.reached = {(a.letter, a.gateway_id, one) for a in arrivals for one in a.recipients}
        self.records = {(row.message, row.address): row for row in rows}
        counts = self.findings.counts
        counts["letters"] = len(letters)
        counts["attempts"] = sum(letter.attempts for letter in letters)
        counts["arrivals"] = len(arrivals)

    def fault(self, text: str) -> None:
        self.findings.faults.append(text)

    def of_arrivals(self) -> None:
        """Nobody banned, nobody unasked, nothing altered, nothing unrecorded."""
        for arrival in self.arrivals:
            letter = self.letters.get(arrival.letter)
            if letter is None:
                self.fault(f"an arrival of no letter that was sent: {arrival.letter!r}")
                continue
            if arrival.body != letter.body:
                self.fault(f"{letter.id} arrived altered")
            for one in arrival.recipients:
                if one in self.banned:
                    self.fault(f"LEAK: {letter.id} arrived at {one}, who has banned it")
                if one not in letter.recipients:
                    self.fault(f"{letter.id} arrived at {one}, whom nobody named")
                record = self.records.get((arrival.gateway_id, one))
                if record is None:
                    self.fault(f"{letter.id} arrived at {one} without a record")
                    continue
                if record.outcome != "forward":
                    self.fault(f"{letter.id} arrived at {one}; decided was {record.outcome}")
                if record.result not in _MAY_HAVE_LEFT:
                    self.fault(f"{letter.id} arrived at {one}; the record says {record.result}")
                if record.letter != letter.id:
                    self.fault(f"{letter.id} arrived by the record of {record.letter!r}")

    def of_senders(self, garbled: bool) -> None:
        """Who was told 250 has got it; nobody who may get it was refused."""
        somehow = {(letter, one) for letter, _, one in self.reached}
        for letter in self.letters.values():
            if letter.pending:
                self.fault(f"{letter.id}: nothing final was heard of {len(letter.pending)}")
            for one, id_ in letter.taken.items():
                if one in self.banned or (letter.id, id_, one) in self.reached:
                    continue
                if id_ or not garbled or (letter.id, one) not in somehow:
                    self.fault(f"LOST: {letter.id} to {one} was told 250 ({id_}); not there")
            for one, reply in letter.refused.items():
                if one in self.banned:
                    self.findings.counts["told of a ban"] += 1
                else:
                    self.fault(f"{letter.id} to {one} was refused for good: {reply}")

    def of_records(self, crashed: bool) -> None:
        """What is called forwarded has arrived; who has a ban was never allowed."""
        counts = self.findings.counts
        for row in self.rows:
            counts["records"] += 1
            if not row.letter or not row.address:
                self.fault(f"a record of nobody's message ({row.message})")
            if row.address in self.banned and row.outcome not in ("suppress", "defer"):
                self.fault(f"{row.letter}: {row.outcome} was decided of {row.address}, banned")
            if row.result == "forwarded" and not self.arrived[row.message, row.address]:
                self.fault(f"UNTRUE: {row.letter} to {row.address} is not there, yet 'forwarded'")
            if row.result is None:
                counts["without a result"] += 1
                if not crashed:
                    self.fault(f"{row.letter} to {row.address} has no result")
            elif row.result == "unknown":
                counts["unknown"] += 1

    def of_duplicates(self) -> None:
        """Twice only where the client, or the gateway, could not know of the first time."""
        for (id_, one), count in self.arrived.items():
            if count > 1:
                self.fault(f"TWICE: message {id_} was handed over {count} times to {one}")
        copies: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for arrival in self.arrivals:
            for one in arrival.recipients:
                row = self.records.get((arrival.gateway_id, one))
                if row is not None:
                    copies[arrival.letter, one].append(row)
        for (name, one), found in copies.items():
            letter = self.letters.get(name)
            if letter is None:
                continue
            self.findings.counts["duplicates"] += len(found) - 1
            told = sum(row.result == "forwarded" for row in found)
            if told > (one in letter.taken) + letter.unclear:
                self.fault(
                    f"{name} to {one} was forwarded {told} times; its client heard of "
                    f"{int(one in letter.taken)} and missed {letter.unclear} answers"
                )
