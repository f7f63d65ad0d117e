"""What a change writes: its event made whole, under every digest that must hear of it.

A contact's own entry hears of all.  The entry of its wider spelling hears of what that
inherits, and those under older keys of what must not be missed there.  In which order the
writes are to take effect is told by where they stand; nothing is written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from ulid import ULID

from gateway.clock import CLOCK_SKEW_MS, Clock
from gateway.contacts.contact import Contact
from gateway.contacts.digest import Digest, KeyRing, base_subject, subject_of
from gateway.contacts.hashed import Scheme
from gateway.contacts.identity_code import mask
from gateway.entry.entry import ORIGIN_SIZE
from gateway.entry.event import Event, EventError, EventKind, heritable
from gateway.register.commit import Elder, Write

Seal = Callable[[str], bytes]
"""Encrypts an address so that the person's own export can show it."""
SealAll = Callable[[Sequence[bytes], Sequence[str]], list[bytes]]
"""Encrypts many addresses, each bound to the digest (``key:hex``) at its place."""
SealEvidence = Callable[[str, str], bytes]
"""Encrypts the evidence of the event of an id, so that the person alone can be shown it."""

LIFTING = frozenset({EventKind.UNBAN, EventKind.DELIVERABLE})
"""Kinds that make an entry laxer: see :meth:`Drafting.lifting`."""
_EVERY_KEY = LIFTING | {EventKind.UNRESTRICT, EventKind.ERASE}
"""Kinds that must reach the entries of every live key, not only the current one's."""


class Tightening(NamedTuple):
    """The writes of what lifts nothing, the wider spelling first: a crash is strict."""

    wider: list[Write]
    others: list[Write]
    """Under older keys; rare, and one digest may be among them twice."""
    exact: list[Write]


class Lifting(NamedTuple):
    """The writes of what lifts something, the wider spelling last."""

    exact: list[Write]
    """The event's own first, under the current key."""
    wider: list[Write]

    @property
    def event(self) -> Event:
        """The event as it is logged for the contact itself."""
        return self.exact[0].events[0]


class Drafting:
    """Makes writes of events; pure but for the clock and the ids it gives."""

    def __init__(
        self, ring: KeyRing, clock: Clock, seal: Seal | None, seal_evidence: SealEvidence | None
    ) -> None:
        """See :meth:`gateway.register.register.Register.open`."""
        self._ring = ring
        self._clock = clock
        self._seal = seal
        self._seal_evidence = seal_evidence

    def filled(self, event: Event, address: str) -> Event:
        """The event with its empty ``id``, ``recorded`` and ``sealed`` filled.

        Raises EventError for one of the future.
        """
        refuse_future(event, self._clock())
        sealed = event.sealed
        if sealed is None and self._seal is not None and event.kind is not EventKind.ERASE:
            sealed = self._seal(address)
        event_id = event.id or self.new_id()
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

    def tightening(
        self, changes: Iterable[tuple[Event, Contact]], only_changes: bool
    ) -> Tightening:
        """Events that lift nothing, for their contacts; raises as :meth:`filled`."""
        wider: dict[Digest, Write] = {}
        exact: dict[Digest, Write] = {}
        others: list[Write] = []
        for draft, contact in changes:
            event = self.filled(draft, contact.canonical)
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
                others += self.under_keys(event, digests, only_changes)[1:]
        return Tightening([*wider.values()], others, [*exact.values()])

    def lifting(self, draft: Event, contact: Contact, only_changes: bool) -> Lifting:
        """An event that lifts a ban or a delivery suppression, under every live key.

        Raises as :meth:`filled`.
        """
        event = self.filled(draft, contact.canonical)
        digests = self._ring.digests(subject_of(contact))
        exact = self.under_keys(event, digests, only_changes)
        event = exact[0].events[0]
        wider = []
        if contact.base != contact.canonical:
            bases = self._ring.digests(base_subject(contact))
            wider = [
                Write(base, [self._inherited(event, base, digest)], only_changes=True)
                for base, digest in zip(bases, digests, strict=True)
            ]
        return Lifting(exact, wider)

    def lifting_hashed(
        self, event: Event, contact: Contact, schemes: Iterable[Scheme]
    ) -> list[Write]:
        """An unban, for what hashed lists say of the contact's own spelling."""
        own = contact._replace(base=contact.canonical)
        writes = []
        for scheme in schemes:
            for value in scheme.hashes(own):
                for digest in self._ring.digests(scheme.subject(value)):
                    copy = replace(
                        event, id=self.new_id(), cause=event.id, subject=str(digest), sealed=None
                    )
                    writes.append(Write(digest, [copy], only_changes=True))
        return writes

    def under_keys(
        self, event: Event, digests: Sequence[Digest], only_changes: bool
    ) -> list[Write]:
        """A filled event's write under the current key, and copies under the others."""
        event = replace(event, subject=str(digests[0]))
        writes = [Write(digests[0], [event], only_changes=only_changes)]
        if only_changes and event.imported:
            writes[0].elders = tuple(map(Elder, digests[1:]))
        if event.kind in _EVERY_KEY:
            for digest in digests[1:]:
                copy = replace(event, id=self.new_id(), cause=event.id, subject=str(digest))
                writes.append(Write(digest, [copy], only_changes=True))
        return writes

    def of_digest(self, event: Event, digest: Digest) -> Write:
        """An event's write for a contact of which only the digest is known."""
        filled = replace(
            event,
            id=event.id or self.new_id(),
            recorded=event.recorded or self._clock(),
            subject=str(digest),
        )
        return Write(digest, [filled], only_changes=True)

    def new_id(self) -> str:
        """An event's id, of now."""
        return str(ULID.from_timestamp(self._clock() / 1000))

    def _inherited(self, event: Event, base: Digest, exact: Digest) -> Event:
        return replace(
            event,
            id=self.new_id(),
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


def refuse_future(event: Event, now: int) -> None:
    """Raise EventError for an event that would outrank every ban and withdrawal until then."""
    if event.at > now + CLOCK_SKEW_MS:
        raise EventError("the time of the change lies in the future; give the true one")
