"""The register as the gateway uses it: look up, apply, show.

A look-up asks for every tier and every live key of all its contacts in one round
trip, shared with concurrent callers.  A change is acknowledged only when it is
logged and in effect; the next look-up of any process sees it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Self

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.contacts.digest import (
    ORGANISATION,
    Digest,
    KeyRing,
    organisation_subject,
    prefix_of,
    subject_of,
)
from gateway.contacts.parse import parse_domain
from gateway.entry.entry import Entry, Scope
from gateway.entry.event import Event, EventError, EventKind
from gateway.entry.merging import merge_exact
from gateway.entry.standing import Standing
from gateway.failure import InputError
from gateway.register.check import prepare, warn_of_fill, warn_of_settings
from gateway.register.commit import Committer, Write
from gateway.register.connect import Connections, connect
from gateway.register.current import Current
from gateway.register.drafting import LIFTING, Drafting, Seal, SealAll, SealEvidence
from gateway.register.fill import Fill, fill
from gateway.register.hashed import HashedLists
from gateway.register.layout import Layout
from gateway.register.log import Log
from gateway.register.schemes import Schemes

if TYPE_CHECKING:
    from gateway.register.newcomers import Newcomers

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
        self._within = write_timeout
        self._guarded = guarded
        wire = connections.wire
        self.schemes = Schemes(wire, ring, timeout)
        """How the hashes of hashed lists are made."""
        self.current = Current(
            *(connections, ring, places, self.schemes),
            timeout=timeout,
            write_timeout=write_timeout,
            lanes=lanes,
            guarded=guarded,
        )
        """Where entries are now, and whether they are all there."""
        self._log = Log(wire, places, write_timeout)
        self._committer = Committer(wire, places, write_timeout, self.current.refresh)
        self.hashed = HashedLists(
            wire, ring, places, self.schemes, self._committer, write_timeout, clock
        )
        """What hashed lists ban."""
        self.current.tell(self._committer.turn, self.hashed.turn)
        self._settle = settle
        self._drafting = Drafting(ring, clock, seal, seal_evidence)
        self._seal_all = seal_all or (None if seal is None else partial(_sealed_singly, seal))
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

    @property
    def settling(self) -> float:
        """Seconds that a hand-over may rest on a look-up; see :meth:`settle`."""
        return self._settle

    async def aclose(self) -> None:
        """Close the connections; look-ups under way hear RegisterUnavailable."""
        await self.current.aclose()
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
        return self.current.look_up.standings(contacts)

    async def show(self, contact: Contact) -> Entry:
        """Return the contact's own entry, merged over the live keys."""
        prefix = prefix_of(contact.channel)
        return merge_exact(await self.current.look_up.entries(prefix, contact.canonical))

    async def show_organisation(self, domain: str) -> Entry:
        """Return the entry of an organisation's domain, merged over the live keys.

        Raises ContactError for a text that is not a domain.
        """
        return merge_exact(await self.current.look_up.entries(ORGANISATION, parse_domain(domain)))

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
        return await fill(self.connections.wire, self.current.places, ids, self._within, every=True)

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
            if event.kind in LIFTING:
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
            *(self.connections.wire, self._ring, self.current.places),
            within=max(self._within, _WINDOW_SECONDS),
            renew=self.current.refresh,
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
        filled = self._drafting.filled(event, name)
        writes = self._drafting.under_keys(filled, digests, only_changes)
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
        write = self._drafting.of_digest(event, digest)
        await self._committer.commit([write])
        return write.logged

    async def entry_at(self, digest: Digest) -> Entry:
        """The entry kept under a digest; raises RegisterUnavailable."""
        return await self._committer.entry(digest)

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
        drafted = self._drafting.tightening(changes, only_changes)
        await self._committer.commit(drafted.wider)
        for write in drafted.others:
            await self._committer.commit([write])
        await self._committer.commit(drafted.exact)
        return [event for write in drafted.exact for event in write.logged]

    async def _lift(self, draft: Event, contact: Contact, only_changes: bool) -> list[Event]:
        """Apply what lifts a ban or a delivery suppression under every live key.

        The wider spelling comes last, hashed lists after it.

        What a register has lost cannot be lifted: then NotWhole is raised.
        """
        if self._guarded:
            await self.current.require_whole()
        drafted = self._drafting.lifting(draft, contact, only_changes)
        await self._committer.commit(drafted.exact)
        await self._committer.commit(drafted.wider)
        logged = drafted.exact[0].logged
        if drafted.event.kind is not EventKind.UNBAN:  # hashed lists hold bans alone
            return logged
        await self.schemes.read()
        hashed = self._drafting.lifting_hashed(drafted.event, contact, self.schemes.known)
        await self._committer.commit(hashed)
        return logged + [event for write in hashed for event in write.logged]


def _sealed_singly(seal: Seal, addresses: Sequence[bytes], _: Sequence[str]) -> list[bytes]:
    return [seal(address.decode()) for address in addresses]
