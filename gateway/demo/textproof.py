"""Whether the text messages came out as the expectation says, from the files alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from gateway.decision.facts import Outcome
from gateway.demo.expectation import Expected, Fate
from gateway.demo.observation import Observation
from gateway.demo.texter import Texted
from gateway.demo.texting import TEXT_AFTER_THE_BAN, TEXTINGS
from gateway.records.record import Result

_OUTCOMES = {
    Fate.ARRIVES: (Outcome.FORWARD, Result.FORWARDED),
    Fate.REJECTED: (Outcome.SUPPRESS, Result.REJECTED),
    Fate.HELD: (Outcome.HOLD, Result.HELD),
    Fate.LATER: (Outcome.DEFER, Result.DEFERRED),
}
_REPLIES = {
    Fate.ARRIVES: ("201 queued", "200 PENDING"),
    Fate.REJECTED: ("400 21610", "200 REJECTED"),
    Fate.HELD: ("201 queued", "200 PENDING"),
    Fate.LATER: ("503 20503",),
}
_Row = tuple[str, str, str, Outcome, Result | None]
_TEXTINGS = {one.name: one for one in (*TEXTINGS, TEXT_AFTER_THE_BAN)}
_BY_TEXT = {one.text: one for one in _TEXTINGS.values()}


class TextCase:
    """The expectation, what the tools heard and what was seen, brought together."""

    def __init__(
        self, expectation: Sequence[Expected], texted: Sequence[Texted], seen: Observation
    ) -> None:
        self._wanted = {(one.mailing, one.address): one for one in expectation}
        self._texted = texted
        self._seen = seen

    def arrivals(self) -> Iterator[str]:
        """Texts that are missing, that should not have arrived, and that were altered."""
        arrived: Counter[tuple[str, str]] = Counter()
        for one in self._seen.texts:
            texting = _BY_TEXT.get(one.text)
            if texting is None or (one.route, one.sender) != (texting.route, texting.sender):
                yield f"a text that was never sent arrived ({one.route}: {one.text!r})"
            else:
                arrived[texting.name, one.number] += 1
        right = Counter(key for key, one in self._wanted.items() if one.fate is Fate.ARRIVES)
        for name, number in sorted((right - arrived).elements()):
            yield f"{name}: {number}: expected to arrive, did not"
        for name, number in sorted((arrived - right).elements()):
            wanted = self._wanted.get((name, number))
            why = f"{wanted.fate} by {wanted.rule}" if wanted else "nobody sent it there"
            yield f"{name}: {number}: arrived too often; expected: {why}"

    def replies(self) -> Iterator[str]:
        """Numbers that were not tried once, or of which the tool heard something else."""
        tried = Counter((one.texting, one.number) for one in self._texted)
        for key in sorted(self._wanted.keys() | tried.keys()):
            if tried[key] != int(key in self._wanted):
                yield f"{key[0]}: {key[1]} was tried {tried[key]} times"
        for one in self._texted:
            wanted = self._wanted.get((one.texting, one.number))
            if wanted is not None and one.reply not in _REPLIES.get(wanted.fate, ()):
                yield f"{one.texting}: {one.number}: the tool heard {one.reply!r}, {wanted.fate}"

    def records(self) -> Iterator[str]:
        """Records that are missing, too many, or say something else."""
        right: Counter[_Row] = Counter(
            (_TEXTINGS[one.mailing].route, one.address, one.rule, *_OUTCOMES[one.fate])
            for one in self._wanted.values()
        )
        made: Counter[_Row] = Counter(
            (one.found.client, one.address, one.found.rule, one.found.outcome, one.found.result)
            for one in self._seen.text_records
        )
        for what, some in (("no record", right - made), ("a record too many", made - right)):
            for route, number, rule, outcome, result in some.elements():
                yield f"{route}: {number}: {what}: {outcome} by {rule}, then {result}"
