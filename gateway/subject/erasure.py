"""Erasure (GDPR 17): content and identity go, a tombstone stays so that bans go on.

Each step may be done again, and whatever is cut off is ended by asking for the same
again.  In this order: the act; bans that tools' lists still lack, for which the address
is needed; tombstones in the register under every live key; held messages; the keys, with
which all that was ever kept becomes unreadable in the archive and in every copy of it;
the row.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Channel, Contact
from gateway.custody.custody import Custody
from gateway.entry.event import Event, EventKind
from gateway.failure import InputError, SealError
from gateway.held.message import Held
from gateway.held.message import State as HeldState
from gateway.held.store import HeldStateError, HeldStore
from gateway.records.act import Action
from gateway.records.record import OutcomeRecord, Result
from gateway.records.recorder import Recorder
from gateway.register.register import Register
from gateway.subject.directory import State, owner_of
from gateway.subject.people import People, Who
from gateway.subject.person import Language, Person
from gateway.subject.request import Kind
from gateway.subject.requests import Requests
from gateway.subject.retention import day_of
from gateway.subject.wording import say

_PAGE: Final = 500
_WAITING: Final = (HeldState.HELD, HeldState.WAITING, HeldState.UNCERTAIN, HeldState.RELEASING)


class Ground(StrEnum):
    """Why erasure can be refused (GDPR 17(1)(a), 17(3))."""

    RELATIONSHIP = "relationship"
    CONTRACT = "contract"
    WARRANTY = "warranty"
    HOLD = "hold"
    """Kept for a legal claim or duty."""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """One reason why a person is not erased now."""

    ground: Ground
    reference: str = ""
    """Which contract or warranty, or why data is held."""
    until: str = ""
    """Its end, a day in ISO 8601, where it has one."""


class ErasureRefused(InputError):
    """Data of the person is still needed; ``text`` tells so in the person's language."""

    def __init__(self, obstacles: Sequence[Obstacle], text: str) -> None:
        grounds = ", ".join(dict.fromkeys(each.ground for each in obstacles))
        super().__init__(f"not erased: still needed ({grounds})")
        self.obstacles = tuple(obstacles)
        self.text = text


@dataclass(slots=True)
class Erasing:
    """What an erasure would do, or did."""

    person_id: str
    contacts: list[str] = field(default_factory=list)
    """Addresses that get a tombstone; empty where they cannot be read any more."""
    shared: list[str] = field(default_factory=list)
    """Addresses that are somebody else's as well: the link goes, the address stays."""
    obstacles: list[Obstacle] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)
    """Held messages that are thrown away."""
    cut: list[str] = field(default_factory=list)
    """Held messages to several that go on without this person."""
    left: list[str] = field(default_factory=list)
    """Held messages that a person has to release or discard."""
    untold: list[str] = field(default_factory=list)
    """Tools whose lists lack a ban of the person: nobody can put it there later."""
    keys: int = 0
    """The person's keys, destroyed."""
    language: Language = Language.FI
    ended: bool = False


class Erasure:
    """Erases people.  Every method raises RecordsUnavailable and RegisterUnavailable."""

    def __init__(
        self,
        people: People,
        register: Register,
        held: HeldStore,
        recorder: Recorder,
        custody: Custody,
        requests: Requests,
        catch_up: Callable[[], Awaitable[object]],
        clock: Clock = now_ms,
        tell_tools: Callable[[Sequence[Contact]], Awaitable[list[str]]] | None = None,
    ) -> None:
        """``catch_up`` archives what waits, so that no address waits sealed otherwise.

        ``tell_tools`` puts bans of contacts into the lists of tools that lack them; which
        tools lack them still.
        """
        self._people = people
        self._store = people.store
        self._register = register
        self._held = held
        self._recorder = recorder
        self._custody = custody
        self._requests = requests
        self._catch_up = catch_up
        self._clock = clock
        self._tell_tools = tell_tools

    async def check(self, person_id: str, who: Who) -> Erasing:
        """What an erasure would do, without doing it; raises PersonStateError."""
        await self._people.note(Action.READ, person_id, who, what="erasure check")
        row = await self._store.row(person_id)
        erasing = Erasing(row.merged_into or row.id, ended=row.state is State.ERASED)
        if not erasing.ended:
            await self._plan(erasing)
        return erasing

    async def erase(
        self,
        person_id: str,
        who: Who,
        *,
        excepted: Collection[Ground] = (),
        request_id: str | None = None,
    ) -> Erasing:
        """Erase a person, or end an erasure that was cut off.

        ``excepted`` grounds do not stand against it; ``request_id`` is closed with it
        (as are other requests for erasure of this person).  Raises ErasureRefused
        (also on record, and the request is refused), InputError without a reason,
        PersonStateError.
        """
        if not who.reason.strip():
            raise InputError("say why the person is erased; it is recorded")
        row = await self._store.row(person_id)
        if row.merged_into is not None:
            row = await self._store.row((await self._store.get(person_id)).person.id)
        erasing = Erasing(row.id)
        contacts: list[Contact] = []
        if row.state is not State.ERASED:
            contacts = await self._plan(erasing)
            standing = [each for each in erasing.obstacles if each.ground not in excepted]
            if standing and row.state is State.ACTIVE:
                await self._refuse(erasing, standing, who, request_id)
            await self._people.note(
                Action.ERASE, row.id, who, contacts=len(contacts), excepted=" ".join(excepted)
            )
            # As it was looked at: a contact that was linked since would be left.
            await self._store.begin_erasure(row.id, row.changed)
            if self._tell_tools is not None and contacts:
                erasing.untold = await self._tell_tools(contacts)
            await self._bury(contacts, who)
            await self._drop_held(contacts, who, erasing)
            await self._catch_up()
            await self._destroy(row.id, contacts, erasing)
            await self._store.end_erasure(row.id)
        erasing.ended = True
        await self._close(row.id, who, request_id)
        return erasing

    # -- what stands against it -------------------------------------------------------

    async def _plan(self, erasing: Erasing) -> list[Contact]:
        """Fill in what there is to do; the contacts that are this person's alone."""
        try:
            stored = await self._store.open(erasing.person_id)
        except SealError:
            return []  # the keys are gone: what is left is to end
        person = stored.person
        erasing.language = person.language
        erasing.obstacles = obstacles_of(person, self._clock())
        ours: list[Contact] = []
        for contact in person.every_contact:
            owners = await self._store.having(self._store.digests(contact))
            if any(each != person.id for each in owners):
                erasing.shared.append(contact.canonical)
            else:
                ours.append(contact)
                erasing.contacts.append(contact.canonical)
        for held in await self._held_of(ours):
            self._sort(held, self._digests(ours), erasing)
        return ours

    async def _refuse(
        self,
        erasing: Erasing,
        standing: Sequence[Obstacle],
        who: Who,
        request_id: str | None,
    ) -> None:
        text = refusal(standing, erasing.language)
        await self._people.note(
            Action.REFUSE,
            erasing.person_id,
            Who(who.name),
            what="erasure",
            grounds=" ".join(each.ground for each in standing),
        )
        if request_id is not None:
            await self._requests.refuse(request_id, Who(who.name, text))
        raise ErasureRefused(standing, text)

    # -- the steps --------------------------------------------------------------------

    async def _bury(self, contacts: Sequence[Contact], who: Who) -> None:
        event = Event(
            kind=EventKind.ERASE,
            at=self._clock(),
            actor=who.name,
            source="erasure",
            evidence="GDPR 17: erased, the ban of marketing stays",
        )
        await self._register.apply_many([(event, each) for each in contacts])

    async def _drop_held(self, contacts: Sequence[Contact], who: Who, erasing: Erasing) -> None:
        digests = self._digests(contacts)
        erasing.discarded, erasing.cut, erasing.left = [], [], []
        for held in await self._held_of(contacts):
            now = self._clock()
            sort = self._sort(held, digests, erasing)
            try:
                if sort is erasing.discarded:
                    await self._held.mark_discarded(held.id, who.name, "erasure", now)
                elif sort is erasing.cut:
                    await self._cut(held, digests)
            except HeldStateError:
                sort.remove(held.id)
                erasing.left.append(held.id)
                continue
            if sort is not erasing.left:
                self._recorder.note_outcome(
                    *(
                        OutcomeRecord(
                            record_id=each.record_id,
                            at=now,
                            result=Result.DISCARDED,
                            person=who.name,
                            reason="erasure",
                        )
                        for each in held.message.recipients
                        if each.digest in digests
                    )
                )

    async def _cut(self, held: Held, digests: Collection[str]) -> None:
        """Take the person's addresses out of what waits for others too."""
        rest = replace(
            held.message,
            recipients=tuple(r for r in held.message.recipients if r.digest not in digests),
        )
        claimed = await self._held.claim(held.id, of=held.state)
        if held.state is HeldState.WAITING:
            await self._held.put_off(held.id, held.next_try or self._clock(), rest)
        else:
            await self._held.hand_over(held.id, claimed.reason, rest)

    async def _destroy(self, person_id: str, contacts: Sequence[Contact], erasing: Erasing) -> None:
        owners = [owner_of(each) for each in await self._merged(person_id)]
        if contacts:
            owners += sorted(self._digests(contacts))
        await self._custody.destroy(owners, self._clock())
        erasing.keys = len(owners)

    async def _close(self, person_id: str, who: Who, request_id: str | None) -> None:
        ids = await self._merged(person_id)
        for each in await self._requests.every(person_ids=ids):
            if each.kind is Kind.ERASURE or each.id == request_id:
                await self._requests.answer(each.id, Who(who.name, "erased"))

    # -- parts ------------------------------------------------------------------------

    async def _merged(self, person_id: str) -> list[str]:
        return [person_id, *await self._store.merged_into(person_id)]

    def _digests(self, contacts: Sequence[Contact]) -> frozenset[str]:
        return frozenset(digest for each in contacts for digest in self._store.digests(each))

    @staticmethod
    def _sort(held: Held, digests: Collection[str], erasing: Erasing) -> list[str]:
        """Put a held message where it belongs; which list that is."""
        alone = all(each.digest in digests for each in held.message.recipients)
        busy = held.state is HeldState.RELEASING
        # What was stored of text messages is the request itself, with every number.
        mail = held.message.channel is Channel.EMAIL
        known = held.state in (HeldState.HELD, HeldState.WAITING)
        sort = erasing.left
        if alone and not busy:
            sort = erasing.discarded
        elif mail and known:
            sort = erasing.cut
        sort.append(held.id)
        return sort

    async def _held_of(self, contacts: Sequence[Contact]) -> list[Held]:
        digests = self._digests(contacts)
        if not digests:
            return []
        found: list[Held] = []
        before: str | None = None
        while True:
            page = await self._held.list(_WAITING, limit=_PAGE, before=before)
            found += [
                held
                for held in page
                if any(each.digest in digests for each in held.message.recipients)
            ]
            if len(page) < _PAGE:
                return found
            before = page[-1].id


def obstacles_of(person: Person, now: int) -> list[Obstacle]:
    """What stands against erasing a person at a time (ms since the epoch)."""
    today = day_of(now)
    found = [
        Obstacle(Ground.RELATIONSHIP, until="" if each.end is None else each.end.isoformat())
        for each in person.relationships
        if each.end is None or each.end >= today
    ]
    found += [
        Obstacle(
            Ground(each.bond), each.reference, "" if each.end is None else each.end.isoformat()
        )
        for each in person.commitments
        if each.end is None or each.end >= today
    ]
    if person.hold is not None:
        found.append(Obstacle(Ground.HOLD, person.hold.reason))
    return found


def refusal(obstacles: Sequence[Obstacle], language: Language) -> str:
    """The refusal as a text that can be sent (GDPR 12(4)): why, and what can be done."""
    lines = [say("refusal.opening", language), ""]
    for each in obstacles:
        line = say(f"refusal.{each.ground}", language)
        if each.reference and each.ground is not Ground.HOLD:
            line += f" {each.reference}"
        if each.until:
            line += " " + say("refusal.until", language).format(day=each.until)
        lines.append(f"- {line}")
    lines += ["", say("refusal.closing", language), "", say("authority", language)]
    return "\n".join(lines)
