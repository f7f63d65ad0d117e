"""What came of each recipient of a submission: outcomes for its records, reports that are owed."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.clock import now_ms
from gateway.decision.facts import Outcome
from gateway.provider.request import Answer
from gateway.provider.submission import Decided, Fate, Report, Submission, Told
from gateway.records.record import Result
from gateway.settings.sms import SmsOnSuppress
from gateway.sms.evidence import Recorded
from gateway.sms.keeping import Place
from gateway.sms.route import Route
from gateway.sms.site import Site

_RESULTS = {
    Told.ACCEPTED: Result.FORWARDED,
    Told.REFUSED: Result.REFUSED,
    Told.LATER: Result.DEFERRED,
}


class Noting:
    """Notes the outcomes of one submission, as its delivery learns of them."""

    def __init__(self, site: Site, route: Route, submission: Submission) -> None:
        self._site = site
        self._route = route
        self._submission = submission
        self.outcomes: list[list[Outcome]] = []
        """What was decided, of each contact of each message."""
        self.records: list[Recorded] = []
        self.stored: list[Place] = []
        """Those that wait already since the same request was said before."""
        self._reports: list[Report] = []

    def sent(self, going: Sequence[Sequence[int]], answer: Answer, told: Sequence[Told]) -> None:
        """What the provider said of each that it was told of."""
        site, at = self._site, now_ms()
        if told.count(Told.ACCEPTED) == len(told):
            # The usual case.  Of whom nothing is said is accepted as well.
            for record, places in zip(self.records, going, strict=True):
                site.evidence.outcome(self._route, record, places, Result.FORWARDED, at, answer)
            return
        said = iter(told)
        for record, places in zip(self.records, going, strict=True):
            by_result: dict[Result, list[int]] = {}
            for place in places:
                result = _RESULTS[next(said, Told.ACCEPTED)]
                by_result.setdefault(result, []).append(place)
            for result, some in by_result.items():
                site.evidence.outcome(self._route, record, some, result, at, answer)

    def unsent(self, decided: Decided) -> None:
        """Those that were never to reach the provider, and the reports of some of them."""
        site, route, at = self._site, self._route, now_ms()
        alone = not decided.any(Fate.SENT) and not decided.any(Fate.TAKEN)
        for number, (record, outcomes) in enumerate(zip(self.records, self.outcomes, strict=True)):
            if outcomes.count(Outcome.FORWARD) == len(outcomes):
                continue
            suppressed: list[int] = []
            rejected: list[int] = []
            waiting: list[int] = []
            places = record.judged.addressees.places
            for place in self.fresh(number):
                outcome = outcomes[place]
                if outcome is Outcome.SUPPRESS:
                    fate = decided.fates[number][places[place]]
                    heard = fate is Fate.BLOCKED and (alone or route.adapter.tells_each)
                    (rejected if heard else suppressed).append(place)
                elif outcome is not Outcome.FORWARD:
                    waiting.append(place)
            for some, result in (
                (suppressed, Result.SUPPRESSED),
                (rejected, Result.REJECTED),
                (waiting, Result.HELD),
            ):
                site.evidence.outcome(route, record, some, result, at)
            if route.settings.on_suppress is not SmsOnSuppress.DISCARD:
                self._report(decided, number, [places[place] for place in suppressed])

    def _report(self, decided: Decided, number: int, places: Sequence[int]) -> None:
        """Owe the reports of those of whom the tool's answer tells nothing."""
        adapter, secret = self._route.adapter, self._route.report_secret
        for place in places:
            report = adapter.report(self._submission, decided, number, place, secret)
            if report is not None:
                self._reports.append(report)

    async def keep_reports(self) -> None:
        """Store the delivery reports that are owed; see :mod:`gateway.sms.owed`."""
        if self._reports:
            hosts = self._route.settings.report_hosts
            await self._site.reporter.keep(self._reports, hosts)

    def failed(self, going: Sequence[Sequence[int]], result: Result) -> None:
        """Nobody hears of success: all else of the request comes to nothing as well."""
        at = now_ms()
        for number, (record, places) in enumerate(zip(self.records, going, strict=True)):
            rest = _others(self.fresh(number), places)
            self._site.evidence.outcome(self._route, record, places, result, at)
            self._site.evidence.outcome(self._route, record, rest, Result.FAILED, at)

    def refused(self, going: Sequence[Sequence[int]], answer: Answer, told: Sequence[Told]) -> None:
        """The provider refused the whole: the others are not sent either."""
        self.sent(going, answer, told)
        at = now_ms()
        result = _RESULTS[told[0]] if told else Result.REFUSED
        for number, (record, places) in enumerate(zip(self.records, going, strict=True)):
            rest = _others(self.fresh(number), places)
            self._site.evidence.outcome(self._route, record, rest, result, at, answer)

    def fresh(self, number: int) -> Sequence[int]:
        """The contacts of a message that this request decides on."""
        if not self.stored:
            return range(len(self.outcomes[number]))
        stored = {place for one, place in self.stored if one == number}
        return [place for place in range(len(self.records[number].ids)) if place not in stored]


def _others(contacts: Sequence[int], places: Sequence[int]) -> list[int]:
    """Those of the contacts that are not among these."""
    return sorted({*contacts} - {*places})
