"""From a request to its answer: judge, store, record, hand over, tell.

The order is what keeps the promises, as it does for mail:

1. The request is read whole.  Every recipient of every message in it is judged.  Where
   one cannot be decided now (register), nothing of it is sent; where it is quiet, that
   is recorded besides.
2. What must outlive us is stored: texts, what is held or kept, and last the records.
3. Those that are allowed are written into a request of their own.  Just before its body
   leaves, look-ups that have grown old are repeated (``docs/flow.md``).
4. The provider's answer is the tool's, with those added in the provider's own form that
   it never saw.

Nothing is ever handed over a second time: a tool hears whether that was possible.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import structlog

from gateway.clock import now_ms
from gateway.decision.facts import Outcome
from gateway.failure import GatewayError
from gateway.provider.adapter import Adapter, status_told
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Decided, Fate, Submission, Told
from gateway.records.record import Result
from gateway.settings.sms import OnQuiet, OnSchedule, SmsOnSuppress
from gateway.sms.evidence import Recorded
from gateway.sms.judged import Judged, outcomes_of, resting
from gateway.sms.judging import confirm, judge
from gateway.sms.keeping import Keeping, store_texts
from gateway.sms.noting import Noting
from gateway.sms.outlet import ProviderAway
from gateway.sms.repeat import Earlier, Turn, decided_then
from gateway.sms.route import Route
from gateway.sms.site import Site

log = structlog.get_logger(__name__)


class Resting(Refusal):
    """It is quiet where a recipient is; nothing was sent."""

    def __init__(self, until: int) -> None:
        super().__init__(Problem.QUIET, "Quiet hours of a recipient; try again later")
        self.until = until
        """When all may be written to, in ms since the epoch."""


class Delivery:
    """One submission's way to its answer.

    It goes on when the tool's connection is lost: what has begun is finished and
    recorded even if nobody waits for the answer.
    """

    def __init__(
        self, site: Site, route: Route, original: Request, submission: Submission, received: int
    ) -> None:
        """``original``: the request as it came, by which the tool's token is known."""
        self._site = site
        self._route = route
        self._original = original
        self._submission = submission
        self._received = received
        self._turn: Turn | None = None
        """Of a request that names itself."""
        self._keeping = Keeping(site, route, submission)
        self._noting = Noting(site, route, submission)

    async def run(self) -> Answer:
        """Judge, store, record, hand over.

        Raises:
            Refusal: the whole request is refused; nothing was sent.
            GatewayError: a fault of ours; nothing was sent.

        """
        site, route = self._site, self._route
        now = now_ms()
        if self._submission.scheduled and route.settings.on_schedule is OnSchedule.REFUSE:
            raise Refusal(
                Problem.MALFORMED,
                "Messages that the provider sends later are refused: a ban may come meanwhile",
            )
        judged = await judge(site, route, self._submission, now)
        self._noting.outcomes = [outcomes_of(one) for one in judged]
        self._refuse_unreadable(judged)
        deferred = any(Outcome.DEFER in outcomes for outcomes in self._noting.outcomes)
        if deferred and (until := self._quiet_until(judged)):
            await self._note_quiet(judged, now)
            raise Resting(until)
        key = site.repeats.key(route, self._submission.request)
        if key is None:
            return await self._carry_out(judged, now)
        async with site.repeats.turn(key, route.settings.answer_timeout) as self._turn:
            earlier = self._turn.earlier
            if earlier is not None and earlier.sent:
                then = decided_then(earlier, judged, self._fate, now).taken()
                return self._turn.answer or route.adapter.accepted(self._submission, then)
            return await self._carry_out(judged, now)

    async def _carry_out(self, judged: Sequence[Judged], now: int) -> Answer:
        await self._record(judged, now)
        decided = self._decided(judged, now)
        if not decided.any(Fate.SENT):
            try:
                await self._keeping.commit()
            except BaseException:
                await self._fail([[] for _ in self._noting.records], Result.FAILED)
                raise
            answer = self._answer_here(decided)
            self._noting.unsent(decided)
            await self._noting.keep_reports()
        else:
            answer = await self._hand_over(decided)
        return answer

    # -- before anything is stored ------------------------------------------------

    def _refuse_unreadable(self, judged: Sequence[Judged]) -> None:
        """Refuse the whole where the provider's answer could not tell of single ones."""
        causes = [one.addressees.cause for one in judged if one.addressees.cause]
        if not causes:
            return
        nobody = not any(one.addressees.contacts for one in judged)
        if nobody or not self._route.adapter.tells_each:
            raise Refusal(Problem.BAD_RECIPIENT, causes[0])

    def _quiet_until(self, judged: Sequence[Judged]) -> int:
        """Until when the whole is refused since somebody's hours are quiet; 0: it is not.

        Raises Refusal where somebody's message cannot be decided now.
        """
        until = 0
        for one in judged:
            for place, verdict in enumerate(one.verdicts):
                if verdict.outcome is not Outcome.DEFER:
                    continue
                if not resting(one, place):
                    self._site.metrics.fault("register")
                    raise Refusal(Problem.BUSY, "Temporarily unavailable; try again later")
                until = max(until, one.until[place] or 0)
        route, request = self._route, self._submission.request
        own = route.token is None and route.adapter.perishes(request)
        return until if own or route.settings.on_quiet is OnQuiet.REFUSE else 0

    async def _note_quiet(self, judged: Sequence[Judged], now: int) -> None:
        """Record that the whole was put off; raises RecordsUnavailable."""
        site, route, request = self._site, self._route, self._submission.request
        records = [
            site.evidence.record(
                route, request, one, self._received, now, keeps=False, content=False
            )
            for one in judged
        ]
        await store_texts(site, records)
        await site.evidence.store(records)
        for one in records:
            site.evidence.outcome(route, one, range(len(one.ids)), Result.DEFERRED, now_ms())

    # -- deciding and storing -----------------------------------------------------

    async def _record(self, judged: Sequence[Judged], now: int) -> None:
        """Store all that must outlive us; a request that was said before is there already."""
        site, route = self._site, self._route
        outcomes: list[list[str]] = []
        earlier = None
        if self._turn is not None:
            outcomes = [list(map(str, each)) for each in self._noting.outcomes]
            earlier = self._turn.earlier
        if earlier and earlier.fits(outcomes) and await self._keeping.adopt(earlier.held):
            self._noting.stored = earlier.waiting()
            for number, place in self._noting.stored:
                outcomes[number][place] = earlier.outcomes[number][place]
            if earlier.outcomes == outcomes:
                self._noting.records = [
                    Recorded(one, id_, ids)
                    for one, id_, ids in zip(judged, earlier.messages, earlier.records, strict=True)
                ]
                await self._begin(earlier)
                return
        self._noting.records = [
            site.evidence.record(
                route,
                self._submission.request,
                one,
                self._received,
                now,
                keeps=Outcome.HOLD in decided or Outcome.DEFER in decided,
                content=Outcome.FORWARD in decided,
            )
            for one, decided in zip(judged, self._noting.outcomes, strict=True)
        ]
        try:
            # A text that is kept is one of a message that waits, or of its kind.
            if any(one.written is None or one.written.content for one in self._noting.records):
                await self._keeping.store(self._original, self._noting.records, self._noting.stored)
            await site.evidence.store(self._noting.records)
        except BaseException:
            await self._keeping.undo()
            raise
        for number, place in self._noting.stored:
            site.evidence.outcome(
                route, self._noting.records[number], [place], Result.HELD, now_ms()
            )
        if self._turn is not None:
            held = [*(earlier.held if self._noting.stored and earlier else ()), *self._keeping.held]
            ids = [[*one.ids] for one in self._noting.records]
            said = Earlier(outcomes, [one.id for one in self._noting.records], ids, held)
            await self._begin(said)

    async def _begin(self, said: Earlier) -> None:
        """Remember a named request, before anything of it leaves."""
        if self._turn is None:
            return
        sends = any(outcome == Outcome.FORWARD for each in said.outcomes for outcome in each)
        try:
            await self._turn.begin(said._replace(begun=sends))
        except BaseException:
            await self._fail([[] for _ in self._noting.records], Result.FAILED)
            raise

    def _decided(self, judged: Sequence[Judged], now: int) -> Decided:
        fates, ids = [], []
        becomes = {outcome: self._fate(outcome) for outcome in Outcome}
        for number, (one, record) in enumerate(zip(judged, self._noting.records, strict=True)):
            of_contacts = list(map(becomes.__getitem__, self._noting.outcomes[number]))
            for stored, place in self._noting.stored:
                if stored == number:
                    of_contacts[place] = Fate.TAKEN
            of_all, names = of_contacts, list(record.ids)
            if len(of_contacts) < len(one.addressees.fates):
                # Some destinations are no contact, or one that stands there before.
                of_all = list(one.addressees.fates)
                names = [""] * len(of_all)
                for place, there in enumerate(one.addressees.places):
                    of_all[there] = of_contacts[place]
                    names[there] = record.ids[place]
            fates.append(of_all)
            ids.append(names)
        return Decided(fates, ids, now)

    def _fate(self, outcome: Outcome) -> Fate:
        if outcome is Outcome.FORWARD:
            return Fate.SENT
        if outcome is not Outcome.SUPPRESS:
            return Fate.TAKEN
        choice = self._route.settings.on_suppress
        if choice is SmsOnSuppress.NATIVE:
            return Fate.BLOCKED if self._submission.refuses else Fate.TAKEN
        return Fate.BLOCKED if choice is SmsOnSuppress.REJECT else Fate.TAKEN

    # -- answering here -----------------------------------------------------------

    def _answer_here(self, decided: Decided) -> Answer:
        adapter = self._route.adapter
        if decided.any(Fate.TAKEN):
            return adapter.accepted(self._submission, decided)
        return adapter.blocked(self._submission, decided)

    # -- handing over -------------------------------------------------------------

    async def _hand_over(self, decided: Decided) -> Answer:
        site, route, adapter = self._site, self._route, self._route.adapter
        forward = Outcome.FORWARD
        going = [
            [place for place in self._noting.fresh(number) if outcomes[place] is forward]
            for number, outcomes in enumerate(self._noting.outcomes)
        ]
        try:
            await self._keeping.keep()
            request = self._outgoing(decided)
            begin = partial(confirm, site, [one.judged for one in self._noting.records], going)
            answer = await site.outlets.send(route, request, begin)
        except BaseException as error:
            begun = isinstance(error, ProviderAway) and error.begun
            unknown = begun or not isinstance(error, GatewayError)
            await self._fail(going, Result.UNKNOWN if unknown else Result.FAILED)
            if begun:
                site.metrics.fault("provider_unanswered")
                log.warning("provider_unanswered", route=route.name, cause=str(error))
                raise Refusal(
                    Problem.UNANSWERED,
                    "The provider did not answer; the message may have been sent",
                ) from None
            raise
        if answer is None:
            # The sandbox takes everything.
            answer = adapter.accepted(self._submission, decided.taken())
            told: Sequence[Told] = [Told.ACCEPTED] * decided.count(Fate.SENT)
            await self._conclude(decided, going, answer, told)
            return self._heard(answer)
        return await self._told(decided, going, answer)

    def _outgoing(self, decided: Decided) -> Request:
        """The request with those that are allowed, as the provider is to see it."""
        request = self._route.adapter.narrowed(self._submission, decided.kept())
        return self._site.outlets.outgoing(self._route, self._original, request)

    async def _told(
        self, decided: Decided, going: Sequence[Sequence[int]], answer: Answer
    ) -> Answer:
        """The provider has answered."""
        adapter = self._route.adapter
        usable, answer = _usable(adapter, answer)
        try:
            told = adapter.told(answer, self._submission, decided)
            merged = answer
            if answer.good and usable:
                merged = adapter.merged(answer, self._submission, decided)
        except Exception:
            # It may have been sent: a shape that nobody thought of must not sound as if
            # the request could be said again.
            log.exception("provider_not_understood", route=self._route.name, status=answer.status)
            told, usable = [status_told(answer.status)] * decided.count(Fate.SENT), False
        if not usable or (not answer.good and answer.status >= 500):
            log.warning("provider_failed", route=self._route.name, status=answer.status)
            self._site.metrics.fault("provider")
        if not answer.good:
            self._noting.refused(going, answer, told)
            await self._undo()
            if usable:
                return answer
            raise Refusal(
                Problem.PROVIDER_AWAY if answer.status in (429, 502, 503) else Problem.UNANSWERED,
                f"The provider answered {answer.status} and nothing that can be read",
            )
        heard = decided._replace(answered=merged) if usable else decided
        await self._conclude(heard, going, answer, told)
        # Not usable: it said yes; what it said besides is lost.
        return self._heard(
            merged if usable else adapter.accepted(self._submission, decided.taken())
        )

    def _heard(self, answer: Answer) -> Answer:
        """What the tool hears of what was handed over; said again, it hears the same."""
        if self._turn is not None:
            self._turn.done(answer)
        return answer

    # -- telling ------------------------------------------------------------------

    async def _conclude(
        self,
        decided: Decided,
        going: Sequence[Sequence[int]],
        answer: Answer,
        told: Sequence[Told],
    ) -> None:
        """The provider has taken it: what was kept of it is ours now."""
        self._noting.sent(going, answer, told)
        self._noting.unsent(decided)
        await self._keeping.commit_in_time()
        await self._noting.keep_reports()

    async def _fail(self, going: Sequence[Sequence[int]], result: Result) -> None:
        """Nobody hears of success: nothing of the request waits any more."""
        self._noting.failed(going, result)
        await self._undo()

    async def _undo(self) -> None:
        """Take back what waits; said again, the request is a new one if anything did."""
        if await self._keeping.undo() and self._turn is not None:
            self._turn.forget()


def _usable(adapter: Adapter, answer: Answer) -> tuple[bool, Answer]:
    """Whether the tool may hear this answer; and the answer, its JSON read.

    Never a redirection: a tool that follows it would say its request, with all of its
    recipients, to the provider itself.
    """
    if 300 <= answer.status < 400 or not adapter.usable(answer):
        return False, answer
    if answer.body and "json" in answer.content_type:
        try:
            return True, answer.read()
        except ValueError:
            return False, answer
    return True, answer
