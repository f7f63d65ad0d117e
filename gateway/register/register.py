"""The register as the gateway uses it: look up, apply, show.

A look-up asks for every tier and every live key of all its contacts in one round
trip, shared with concurrent callers.  A change is acknowledged only when it is
logged and in effect; the next look-up of any process sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from ulid import ULID

from gateway.clock import CLOCK_SKEW_MS, Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.contacts.digest import (
    HASHED,
    ORGANISATION,
    Digest,
    KeyRing,
    base_subject,
    organisation_subject,
    prefix_of,
    subject_of,
)
from gateway.contacts.hashed import Scheme
from gateway.contacts.identity_code import mask
from gateway.contacts.parse import parse_domain
from gateway.entry.entry import ORIGIN_SIZE, Entry, Scope
from gateway.entry.event import Event, EventError, EventKind, heritable
from gateway.entry.standing import Standing, merge_exact
from gateway.failure import InputError
from gateway.register.batcher import Batcher
from gateway.register.check import prepare, warn_of_fill, warn_of_settings
from gateway.register.commit import Committer, Elder, Write
from gateway.register.connect import Connections, connect
from gateway.register.fill import Fill, fill
from gateway.register.hashed import HashedWriter
from gateway.register.layout import Layout
from gateway.register.log import Log
from gateway.register.lookup import LookUp
from gateway.register.schemes import Schemes
from gateway.register.whole import Finding, Proof, State, examine, require

if TYPE_CHECKING:
    from gateway.register.newcomers import Newcomers

Seal = Callable[[str], bytes]
"""Encrypts an address so that the person's own export can show it."""
SealAll = Callable[[Sequence[bytes], Sequence[str]], list[bytes]]
"""Encrypts many addresses, each bound to the digest (``key:hex``) at its place."""
SealEvidence = Callable[[str, str], bytes]
"""Encrypts the evidence of the event of an id, so that the person alone can be shown it."""

_LIFTING = frozenset({EventKind.UNBAN, EventKind.DELIVERABLE})
_EVERY_KEY = _LIFTING | {EventKind.UNRESTRICT, EventKind.ERASE}
"""Kinds that must reach the entries of every live key, not only the current one's."""
_SCHEMES = HASHED + "schemes"
"""The subject of the events that name hashing schemes."""
_WINDOW_SECONDS = 30.0
"""Seconds that a window of an import may take at the least: thousands of entries."""


class Register:
    """One register; made by :meth:`open`, ended by :meth:`aclose`."""

    def __init__(
        self,
        connections: Connections,
        ring: KeyRing,
        places: Layout,
        *,
        timeout: float,
        write_timeout: float,
        lanes: int,
        settle: float,
        seal: Seal | None,
        seal_all: SealAll | None,
        seal_evidence: SealEvidence | None,
        clock: Clock,
        guarded: bool,
    ) -> None:
        """Use :meth:`open`, which also checks the server, the layout and the keys."""
        self.connections = connections
        self._ring = ring
        self._timeout = timeout
        self._within = write_timeout
        self._lanes = lanes
        self._guarded = guarded
        self._earlier_trips = self._earlier_contacts = 0
        self._refreshing: asyncio.Task[Layout] | None = None
        wire = connections.wire
        self.schemes = Schemes(wire, ring, timeout)
        """How the hashes of hashed lists are made."""
        self._log = Log(wire, places, write_timeout)
        self._committer = Committer(wire, places, write_timeout, self.refresh)
        self._hashed = HashedWriter(wire, ring, places, self._committer, write_timeout)
        self._take(places)
        self._settle = settle
        self._seal = seal
        self._seal_all = seal_all or (None if seal is None else partial(_sealed_singly, seal))
        self._seal_evidence = seal_evidence
        self._clock = clock

    @classmethod
    async def open(
        cls,
        server: str | Connections,
        ring: KeyRing,
        *,
        timeout: float = 1.0,
        write_timeout: float = 5.0,
        bits: int | None = None,
        lanes: int = 2,
        settle: float = 0.0,
        seal: Seal | None = None,
        seal_all: SealAll | None = None,
        seal_evidence: SealEvidence | None = None,
        clock: Clock = now_ms,
        guarded: bool = False,
    ) -> Self:
        """Open the register at a URL (see ``register.connect``) or on connections.

        ``timeout`` bounds a look-up and ``write_timeout`` each round trip of a change
        (seconds).  ``bits`` fixes the number of buckets at creation (default 16);
        later it must be left out or be the same.  ``settle`` (seconds) is how long a
        hand-over may rest on a look-up: a change is acknowledged that much after it
        is in effect.  ``seal`` fills the events' ``sealed``, ``seal_all`` those of
        an import, ``seal_evidence`` their ``sealed_evidence``.  ``guarded``: look-ups
        raise RegisterUnavailable unless the register was found whole (see
        ``register.whole``).  The connections are closed with the register.

        Raises RegisterUnavailable if the server does not answer, InputError if its
        version or layout is not one this gateway works with, or if a key that
        entries are kept under is missing from the ring.
        """
        connections = connect(server, timeout=timeout) if isinstance(server, str) else server
        try:
            places = await prepare(connections, ring, bits, write_timeout)
            await warn_of_settings(connections, write_timeout)
            await warn_of_fill(connections, places, ring, write_timeout)
        except BaseException:
            await connections.aclose()
            raise
        return cls(
            connections,
            ring,
            places,
            timeout=timeout,
            write_timeout=write_timeout,
            lanes=lanes,
            settle=settle,
            seal=seal,
            seal_all=seal_all,
            seal_evidence=seal_evidence,
            clock=clock,
            guarded=guarded,
        )

    def _take(self, places: Layout) -> None:
        """Look up in this layout from now on."""
        wire = self.connections.wire
        proof = Proof(wire, places.generation, self._doubt) if self._guarded else None
        self.places = places
        """Where entries are; another after a rebuild."""
        self.schemes.forget()
        self._batcher = Batcher(wire, self._timeout, lanes=self._lanes, proof=proof)
        self._look_up = LookUp(self._batcher, self._ring, places, self.schemes)
        self._committer.turn(places)
        self._hashed.turn(places)

    def _doubt(self, _: bytes) -> None:
        """See whether the register was rebuilt or emptied, in a task of our own."""
        if self._refreshing is None:
            task = asyncio.create_task(self._read_again(), name="register-refresh")
            self._refreshing = task
            task.add_done_callback(self._refreshed)

    def _refreshed(self, task: asyncio.Task[Layout]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # the next look-up is told, and tries again

    async def refresh(self) -> Layout:
        """Read the register's layout again; returns it.

        Raises as :meth:`open`.
        """
        self._doubt(b"")
        task = self._refreshing
        if task is None:
            return self.places
        return await asyncio.shield(task)

    async def _read_again(self) -> Layout:
        places = await prepare(self.connections, self._ring, None, self._within)
        known = self.places
        if (places.generation, places.tag) != (known.generation, known.tag):
            old = self._batcher
            self._earlier_trips += old.trips
            self._earlier_contacts += self._look_up.contacts
            self._take(places)
            # Questions that are under way were made for the old buckets.
            await old.aclose()
        return places

    async def examine(self, cursors: Mapping[bytes, bytes]) -> State:
        """Compare the register with the archive; see :func:`gateway.register.whole.examine`.

        A register that is whole is marked so, one that is not loses its mark.
        """
        wire = self.connections.wire
        state = await examine(wire, self.places, cursors, self._within)
        if Finding.ANOTHER in state.found or Finding.REBUILT in state.found:
            await self.refresh()
            state = await examine(wire, self.places, cursors, self._within)
        return state

    async def require_whole(self) -> None:
        """Raise NotWhole unless look-ups are answered, RegisterUnavailable as they do."""
        await require(self.connections.wire, self.places, self._within)

    @property
    def settling(self) -> float:
        """Seconds that a hand-over may rest on a look-up; see :meth:`settle`."""
        return self._settle

    @property
    def trips(self) -> int:
        """Round trips for look-ups since the start."""
        return self._earlier_trips + self._batcher.trips

    @property
    def looked_up(self) -> int:
        """Contacts looked up since the start."""
        return self._earlier_contacts + self._look_up.contacts

    async def aclose(self) -> None:
        """Close the connections; look-ups under way hear RegisterUnavailable."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        await self._batcher.aclose()
        await self.schemes.aclose()
        await self.connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    # Reading

    def look_up(self, contacts: Sequence[Contact]) -> Coroutine[Any, Any, list[Standing]]:
        """Return where each contact stands, in order, from one round trip.

        Raises RegisterUnavailable within the timeout if the register does not
        answer, or answers with what is not an entry.
        """
        return self._look_up.standings(contacts)

    async def show(self, contact: Contact) -> Entry:
        """Return the contact's own entry, merged over the live keys."""
        prefix = prefix_of(contact.channel)
        return merge_exact(await self._look_up.entries(prefix, contact.canonical))

    async def show_organisation(self, domain: str) -> Entry:
        """Return the entry of an organisation's domain, merged over the live keys.

        Raises ContactError for a text that is not a domain.
        """
        return merge_exact(await self._look_up.entries(ORGANISATION, parse_domain(domain)))

    async def history(self, contact: Contact) -> list[Event]:
        """Return the contact's events that are still in the log, oldest first.

        The archiver moves older ones away.  Reads the whole log of the contact's
        shards: for a person's page or export, not for the hot path.
        """
        events = []
        for digest in self._ring.digests(subject_of(contact)):
            events += await self._log.of(digest)
        if len(self._ring.key_ids) > 1:
            events.sort(key=lambda event: event.recorded)
        return events

    async def fill(self) -> Fill:
        """Return how full the buckets are; every one is looked at.

        Raises RegisterUnavailable.
        """
        ids = self._ring.key_ids
        return await fill(self.connections.wire, self.places, ids, self._within, every=True)

    async def waiting(self) -> int:
        """Return how many events are not archived yet; raises RegisterUnavailable."""
        return await self._log.waiting()

    async def numbered(self, digest: Digest) -> list[tuple[bytes, Event]]:
        """Return a digest's events that are still in the log, with their ids in its stream."""
        return await self._log.numbered(digest)

    async def position(self) -> str:
        """Return the id of the latest event in the log, ``milliseconds-sequence``.

        ``0-0`` stands for an empty log.  Events of all shards are numbered by the
        server's clock.
        """
        return await self._log.position()

    def subject(self, contact: Contact) -> str:
        """Return the subject that the contact's new events carry."""
        return str(self._ring.digest(subject_of(contact)))

    # Changing

    async def apply(self, event: Event, contact: Contact) -> Event:
        """Put one event in effect for a contact and log it; returns it as logged.

        The event's empty ``id``, ``recorded``, ``subject`` and ``sealed`` are filled.
        When this returns, every later look-up sees the change.  Raises EventError
        for an organisation's ban, RegisterUnavailable when it is unknown whether
        the change took effect (applying the event again is then safe).
        """
        return (await self.apply_many([(event, contact)]))[0]

    async def apply_many(
        self,
        changes: Sequence[tuple[Event, Contact]],
        *,
        only_changes: bool = False,
        settled: bool = True,
    ) -> list[Event]:
        """Put events in effect for their contacts, in order; returns those logged.

        With ``only_changes`` an event that would change nothing is not logged.
        Events of one contact change its entry in one step.  With ``settled`` False
        the caller waits for :meth:`settle` itself, once for many calls.  Raises as
        :meth:`apply`.
        """
        for event, _ in changes:
            if event.scope is Scope.ORGANISATION:
                raise EventError("a ban of an organisation is applied to its domain")
        logged: list[Event] = []
        batch: list[tuple[Event, Contact]] = []
        for event, contact in changes:
            if event.kind in _LIFTING:
                logged += await self._tighten(batch, only_changes)
                batch = []
                logged += await self._lift(event, contact, only_changes)
            else:
                batch.append((event, contact))
        logged += await self._tighten(batch, only_changes)
        if settled:
            await self.settle()
        return logged

    def newcomers(self) -> Newcomers:
        """Return what writes the entries of contacts that the register has not heard of."""
        # Late: who carries mail alone imports nothing.
        from gateway.register.newcomers import Newcomers

        return Newcomers(
            *(self.connections.wire, self._ring, self.places),
            within=max(self._within, _WINDOW_SECONDS),
            renew=self.refresh,
            seal_all=self._seal_all,
            clock=self._clock,
        )

    async def settle(self) -> None:
        """Wait until no hand-over can rest on a look-up from before the last change.

        A hand-over begins within the settling time of its look-up, or looks up anew;
        so whichever begins after this returns has seen the change.
        """
        await asyncio.sleep(self._settle)

    async def apply_organisation(
        self, event: Event, domain: str, *, only_changes: bool = False, settled: bool = True
    ) -> list[Event]:
        """Ban or unban marketing to every address under a domain; returns what was logged.

        A scope of CONTACT or DISCLOSURE is kept, any other becomes ORGANISATION.
        Raises ContactError for a text that is not a domain, EventError for an event
        of another kind, RegisterUnavailable as :meth:`apply`.
        """
        if event.kind not in (EventKind.BAN, EventKind.UNBAN):
            raise EventError("an organisation can only be banned or unbanned")
        scope = event.scope
        if scope is not Scope.CONTACT and scope is not Scope.DISCLOSURE:
            event = replace(event, scope=Scope.ORGANISATION, channel=None, topic=None)
        name = parse_domain(domain)
        digests = self._ring.digests(organisation_subject(name))
        writes = self._writes(self._filled(event, name), digests, only_changes)
        await self._committer.commit(writes)
        if settled:
            await self.settle()
        return [event for write in writes for event in write.logged]

    async def apply_to_digest(self, event: Event, digest: Digest) -> list[Event]:
        """Apply an event to a contact of which only the digest is known; what was logged.

        Only RESTRICT and FORGET: what else is said of a contact reaches its other
        spellings too, and they cannot be told from a digest.  Raises EventError,
        RegisterUnavailable as :meth:`apply`.
        """
        if event.kind not in (EventKind.RESTRICT, EventKind.FORGET):
            raise EventError("of a digest alone a contact can be restricted or forgotten, no more")
        filled = replace(
            event,
            id=event.id or self._new_id(),
            recorded=event.recorded or self._clock(),
            subject=str(digest),
        )
        write = Write(digest, [filled], only_changes=True)
        await self._committer.commit([write])
        return write.logged

    async def entry_at(self, digest: Digest) -> Entry:
        """The entry kept under a digest; raises RegisterUnavailable."""
        return await self._committer.entry(digest)

    async def announce(self, scheme: Scheme, actor: str, source: str, evidence: str = "") -> None:
        """Log that lists of a scheme are taken in, so that a rebuild finds it again.

        Raises RegisterUnavailable.
        """
        event = Event(
            kind=EventKind.DESCRIBE,
            at=self._clock(),
            actor=actor,
            source=source,
            evidence=evidence,
            scheme=self.schemes.told(scheme),
            imported=True,
            id=self._new_id(),
            recorded=self._clock(),
        )
        digest = self._ring.digest(_SCHEMES)
        await self._committer.commit([Write(digest, [replace(event, subject=str(digest))])])

    @property
    def scheme_subjects(self) -> list[str]:
        """The subjects whose archived events name every hashing scheme ever in use."""
        return [str(digest) for digest in self._ring.digests(_SCHEMES)]

    async def restore_schemes(self, events: Iterable[Event]) -> None:
        """Put in use what events of :attr:`scheme_subjects` name, where it was lost.

        Before a register that is made anew answers look-ups: they would not ask for
        what its hashed lists ban.  Raises RegisterUnavailable.
        """
        told = {event.scheme for event in events if event.scheme}
        for scheme in sorted(told):
            await self.schemes.adopt(scheme)

    async def apply_hashed(self, event: Event, scheme: Scheme, values: Sequence[bytes]) -> int:
        """Put a ban in effect for whoever has one of these hashes; returns how many were new.

        The scheme must be in use (:attr:`schemes`), each hash be named once.  Nothing
        is settled: see :meth:`settle`.  Raises RegisterUnavailable as :meth:`apply`.
        """
        if event.kind is not EventKind.BAN:
            raise EventError("of a hash only a ban can be told")
        if event.at > self._clock() + CLOCK_SKEW_MS:
            raise EventError("the time of the change lies in the future; give the true one")
        event = replace(event, recorded=self._clock(), sealed=None)
        return await self._hashed.write(event, scheme, values)

    async def replay(self, events: Iterable[Event]) -> int:
        """Project logged events onto the entries again, without logging them.

        For rebuilding entries from the archive, in the order of the log; returns
        the number of entries visited.  Raises EventError for an event without a
        subject, RegisterUnavailable as :meth:`apply`.
        """
        writes: dict[str, Write] = {}
        for event in events:
            if event.scheme:
                await self.schemes.adopt(event.scheme)
            try:
                digest = Digest.parse(event.subject)
            except InputError as error:
                raise EventError("an event without its subject cannot be replayed") from error
            write = writes.setdefault(event.subject, Write(digest, [], silent=True))
            write.events.append(event)
        await self._committer.commit(list(writes.values()))
        return len(writes)

    async def _tighten(
        self, changes: Sequence[tuple[Event, Contact]], only_changes: bool
    ) -> list[Event]:
        """Apply all that lifts nothing: the wider spelling first, so that a crash is strict."""
        wider: dict[Digest, Write] = {}
        exact: dict[Digest, Write] = {}
        others: list[Write] = []
        for draft, contact in changes:
            event = self._filled(draft, contact.canonical)
            digests = self._ring.digests(subject_of(contact))
            event = replace(event, subject=str(digests[0]))
            older = digests[1:] if only_changes and event.imported else ()
            if heritable(event) and contact.base != contact.canonical:
                bases = self._ring.digests(base_subject(contact))
                digest = bases[0]
                write = wider.setdefault(digest, Write(digest, [], only_changes=True))
                write.events.append(self._inherited(event, digest, digests[0]))
                ours = digests[0].value[:ORIGIN_SIZE]
                for each, exactly in zip(bases[1:], older, strict=False):
                    elder = Elder(each, ours, exactly.value[:ORIGIN_SIZE])
                    if elder not in write.elders:
                        write.elders += (elder,)
            write = exact.setdefault(digests[0], Write(digests[0], [], only_changes=only_changes))
            write.events.append(event)
            if not write.elders:
                write.elders = tuple(map(Elder, older))
            if event.kind in _EVERY_KEY:
                others += self._writes(event, digests, only_changes)[1:]
        await self._committer.commit(list(wider.values()))
        for write in others:  # rare, and one digest may be among them twice
            await self._committer.commit([write])
        await self._committer.commit(list(exact.values()))
        return [event for write in exact.values() for event in write.logged]

    async def _lift(self, draft: Event, contact: Contact, only_changes: bool) -> list[Event]:
        """Apply what lifts a ban or a delivery suppression under every live key.

        The wider spelling comes last, hashed lists after it.

        What a register has lost cannot be lifted: then NotWhole is raised.
        """
        if self._guarded:
            await self.require_whole()
        event = self._filled(draft, contact.canonical)
        digests = self._ring.digests(subject_of(contact))
        writes = self._writes(event, digests, only_changes)
        await self._committer.commit(writes)
        event = writes[0].events[0]
        if contact.base != contact.canonical:
            bases = self._ring.digests(base_subject(contact))
            await self._committer.commit(
                [
                    Write(base, [self._inherited(event, base, digest)], only_changes=True)
                    for base, digest in zip(bases, digests, strict=True)
                ]
            )
        if event.kind is not EventKind.UNBAN:  # hashed lists hold bans alone
            return writes[0].logged
        return writes[0].logged + await self._lift_hashed(event, contact)

    async def _lift_hashed(self, event: Event, contact: Contact) -> list[Event]:
        """Apply an unban to what hashed lists say of the contact's own spelling."""
        await self.schemes.read()
        own = contact._replace(base=contact.canonical)
        writes = []
        for scheme in self.schemes.known:
            for value in scheme.hashes(own):
                for digest in self._ring.digests(scheme.subject(value)):
                    copy = replace(
                        event, id=self._new_id(), cause=event.id, subject=str(digest), sealed=None
                    )
                    writes.append(Write(digest, [copy], only_changes=True))
        await self._committer.commit(writes)
        return [logged for write in writes for logged in write.logged]

    def _writes(self, event: Event, digests: Sequence[Digest], only_changes: bool) -> list[Write]:
        """Return the event's write under the current key, and copies under the others."""
        event = replace(event, subject=str(digests[0]))
        writes = [Write(digests[0], [event], only_changes=only_changes)]
        if only_changes and event.imported:
            writes[0].elders = tuple(map(Elder, digests[1:]))
        if event.kind in _EVERY_KEY:
            for digest in digests[1:]:
                copy = replace(event, id=self._new_id(), cause=event.id, subject=str(digest))
                writes.append(Write(digest, [copy], only_changes=True))
        return writes

    def _inherited(self, event: Event, base: Digest, exact: Digest) -> Event:
        return replace(
            event,
            id=self._new_id(),
            cause=event.id,
            subject=str(base),
            # A ban that came from elsewhere (another contact of the same person) goes
            # again by where it came from, here too.
            origin=event.origin or exact.value[:ORIGIN_SIZE],
            # Both stand in the event that it follows from.
            evidence="",
            sealed=None,
            sealed_evidence=None,
        )

    def _filled(self, event: Event, address: str) -> Event:
        if event.at > self._clock() + CLOCK_SKEW_MS:
            # It would outrank every ban and withdrawal until then.
            raise EventError("the time of the change lies in the future; give the true one")
        sealed = event.sealed
        if sealed is None and self._seal is not None and event.kind is not EventKind.ERASE:
            sealed = self._seal(address)
        event_id = event.id or self._new_id()
        evidence, told = mask(event.evidence), event.sealed_evidence
        if told is None and self._seal_evidence is not None and evidence:
            told = self._seal_evidence(evidence, event.cause or event_id)
        return replace(
            event,
            id=event_id,
            recorded=event.recorded or self._clock(),
            sealed=sealed,
            source=mask(event.source),
            evidence=evidence,
            wording=mask(event.wording),
            sealed_evidence=told,
        )

    def _new_id(self) -> str:
        return str(ULID.from_timestamp(self._clock() / 1000))


def _sealed_singly(seal: Seal, addresses: Sequence[bytes], _: Sequence[str]) -> list[bytes]:
    return [seal(address.decode()) for address in addresses]
