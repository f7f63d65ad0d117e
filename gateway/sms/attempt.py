"""One try to send on a text message that waits: read again, judged, recorded, sent.

A person's release and that of the gateway at its time are made of the same steps, and
of those of a message that has just come: the stored request is read by the adapter,
judged by the gate, recorded before anything leaves, and its look-ups are repeated just
before its body does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from gateway.clock import Clock
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError, InputError, RegisterUnavailable
from gateway.gate import Verdict
from gateway.held.message import Held, HeldMessage, HeldRecipient
from gateway.provider.request import Request
from gateway.provider.submission import Decided, Fate, Submission, Told
from gateway.records.identifier import new_id
from gateway.records.record import OutcomeRecord, Result
from gateway.sms.evidence import Recorded
from gateway.sms.judged import Judged, resting
from gateway.sms.judging import confirm, judge
from gateway.sms.keeping import destinations, pieces, store_texts
from gateway.sms.outlet import ProviderAway
from gateway.sms.route import Route
from gateway.sms.site import Site
from gateway.sms.stored import Stored, recipient_of

_NOT_SENT = (429, 502, 503)
"""Answers, whatever their body, that nobody gives who has taken the message."""
_ANSWER_LOST = 504


class ReleaseRefused(InputError):
    """The message may not be released as asked; the text says what to do."""


class NotTaken(GatewayError):
    """The provider did not take the message; ``later``: it may do so later."""

    status = "4.4.1"
    line = "The provider did not take it"

    def __init__(self, status: int, *, later: bool) -> None:
        super().__init__(f"the provider did not take it: HTTP status {status}")
        self.http_status = status
        self.later = later


class Person(NamedTuple):
    """One for whom the message waits, judged again."""

    stored: HeldRecipient
    number: int
    """Of the message in the stored request."""
    place: int
    """Among that message's contacts."""
    verdict: Verdict
    until: int | None
    """When their quiet hours are over (ms); None: they have none now."""
    resting: bool
    """Whether nothing but those keeps the message."""

    @property
    def key(self) -> tuple[int, int]:
        """Which one it is."""
        return self.number, self.place

    @property
    def outcome(self) -> Outcome:
        """What is decided for them now."""
        return self.verdict.outcome


class Attempt:
    """One try, by ``by`` for ``reason``; the message is claimed."""

    def __init__(self, site: Site, held: Held, by: str, reason: str, clock: Clock) -> None:
        self.site = site
        self.held = held
        self.message: HeldMessage = held.message
        self.clock = clock
        self.may_have_left = False
        """Whether the provider may have it: then it is never sent again."""
        self.people: list[Person] = []
        self.by = by
        self.reason = reason
        self._route: Route
        self._stored: Stored
        self._submission: Submission
        self._judged: list[Judged] = []
        self._records: list[Recorded] = []
        self._status: int | None = None

    async def judge(self, kind: Kind) -> None:
        """Read what is stored, and judge everybody in it anew.

        Raises:
            InputError: its route is gone or another now, or it cannot be read any more.
            RegisterUnavailable: nobody can say.

        """
        message = self.message
        route = self.site.routes.named(message.client)
        if route is None:
            raise ReleaseRefused(
                f"route {message.client!r} is not in the configuration any more; "
                "add it again to release its messages, or discard them"
            )
        octets = [piece async for piece in self.site.held.open_content(self.held.id)]
        self._route = route
        self._stored = Stored.from_json(b"".join(octets))
        numbers = [one.address for one in message.recipients]
        self._submission = self._stored.read(route, numbers)
        self._judged = await judge(self.site, route, self._submission, self.clock(), kind)
        everybody = (
            (number, place, one)
            for number, one in enumerate(self._judged)
            for place in range(len(one.verdicts))
        )
        self.people = [
            Person(
                stored, number, place, one.verdicts[place], one.until[place], resting(one, place)
            )
            for stored, (number, place, one) in zip(message.recipients, everybody, strict=True)
        ]
        if any(one.outcome is Outcome.DEFER and not one.resting for one in self.people):
            raise RegisterUnavailable("the register cannot be asked; try again later")

    async def record(self) -> None:
        """Write the new decisions down, before anything is sent; raises RecordsUnavailable."""
        self._records = [
            self.site.evidence.record(
                self._route,
                self._submission.request,
                one,
                self.held.created,
                self.clock(),
                keeps=False,
                content=any(verdict.outcome is not Outcome.SUPPRESS for verdict in one.verdicts),
            )
            for one in self._judged
        ]
        await store_texts(self.site, self._records)
        await self.site.evidence.store(self._records)

    # -- sending ------------------------------------------------------------------

    async def send(self, going: Sequence[Person]) -> list[Told]:
        """Send it to these, who are recorded; what the provider says of each.

        Raises:
            NotTaken: it was not sent.
            GatewayError: it was not sent, or nobody can say; see :attr:`may_have_left`.

        """
        try:
            return await self._send(going)
        except BaseException as error:
            self._note_failed(going, error)
            raise

    async def _send(self, going: Sequence[Person]) -> list[Told]:
        route, adapter, outlets = self._route, self._route.adapter, self.site.outlets
        request = adapter.narrowed(self._submission, self._destinations(going))
        request = outlets.outgoing_stored(route, self._renamed(request, going), self._stored.scheme)

        async def begin() -> None:
            places: list[list[int]] = [[] for _ in self._judged]
            for one in going:
                places[one.number].append(one.place)
            await confirm(self.site, self._judged, places)
            self.may_have_left = True

        answer = await outlets.send(route, request, begin)
        if answer is None:
            # The sandbox takes everything.
            return [Told.ACCEPTED] * len(going)
        self._status = answer.status
        decided = self._decided(going)
        told = list(adapter.told(answer, self._submission, decided))
        if answer.good:
            return told + [Told.ACCEPTED] * (len(going) - len(told))
        usable = adapter.usable(answer)
        later = answer.status in _NOT_SENT or (usable and Told.LATER in told)
        if answer.status == _ANSWER_LOST or not (usable or later or answer.status < 500):
            # Said by somebody between, who may have handed it on.
            raise ProviderAway(f"no answer of the provider's: {answer.status}", begun=True)
        self.may_have_left = False
        raise NotTaken(answer.status, later=later)

    def _renamed(self, request: Request, going: Sequence[Person]) -> Request:
        """The request under a name of its own, where it has one.

        The tool's was said to the provider with others in it, perhaps.  Said again to
        the same people it is the same.
        """
        said = " ".join((self.held.id, *(one.stored.record_id for one in going)))
        name = str(UUID(bytes=hashlib.blake2b(said.encode(), digest_size=16).digest()))
        named = [one for one in self._route.adapter.idempotency if request.header(one)]
        return request.with_headers(dict.fromkeys(named, name))

    def _destinations(self, people: Sequence[Person]) -> list[list[int]]:
        return destinations(self._judged, [one.key for one in people])

    def _decided(self, going: Sequence[Person]) -> Decided:
        chosen = self._destinations(going)
        fates = [
            [
                Fate.SENT if place in places else Fate.TAKEN
                for place in range(len(one.message.destinations))
            ]
            for one, places in zip(self._judged, map(set, chosen), strict=True)
        ]
        return Decided(fates, [[""] * len(each) for each in fates], self.clock())

    # -- what is left -------------------------------------------------------------

    async def left(self, people: Sequence[Person], due: int | None) -> HeldMessage:
        """The message for those that still wait, each with why; its content is stored."""
        recipients = tuple(
            recipient_of(self._judged[one.number], one.place, one.stored.record_id)
            for one in people
        )
        message = replace(self.message, recipients=recipients, due=due)
        if len(people) == len(self.people):
            return message
        stored = self._stored.narrowed(
            self._route,
            self._submission,
            self._destinations(people),
            [one.address for one in recipients],
        )
        content_id = await self.site.contents.put(new_id(), pieces(stored.to_json()))
        return replace(message, content_id=content_id)

    # -- telling ------------------------------------------------------------------

    def note(self, one: Person, result: Result, original: Result | None = None) -> None:
        """Say what came of it for one: of the new decision, and of the one it waited by."""
        answered = result in (Result.FORWARDED, Result.REFUSED, Result.DEFERRED)
        told = [(self._records[one.number].ids[one.place], result)]
        if original is not None:
            told.append((one.stored.record_id, original))
        for record_id, came in told:
            self.site.recorder.note_outcome(
                OutcomeRecord(
                    record_id=record_id,
                    at=self.clock(),
                    result=came,
                    reply_code=self._status if answered else None,
                    upstream=self._route.settings.upstreams[0] if answered else "",
                    person=self.by,
                    reason=self.reason,
                )
            )

    def _note_failed(self, going: Sequence[Person], error: BaseException) -> None:
        """Say that it came to nothing, or that nobody knows."""
        if self.may_have_left:
            result = Result.UNKNOWN
        elif isinstance(error, NotTaken):
            result = Result.DEFERRED if error.later else Result.REFUSED
        else:
            result = Result.FAILED
        tried = {one.key for one in going}
        for one in self.people:
            self.note(one, result if one.key in tried else Result.FAILED)
