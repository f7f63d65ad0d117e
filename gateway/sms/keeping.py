"""What is stored of a submission beside its records: texts, and what waits.

A message waits for a person (held) or for the end of quiet hours (kept).  Its copy is
prepared before the record is written, kept before the hand-over to the others, and
committed once the tool has its answer, as it is for mail.

A submission has one copy for all that wait for a person, and one for each moment that
others wait for: a failover chain is not torn apart, and nobody waits for another
country's morning.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import structlog

from gateway.contacts.contact import Channel
from gateway.contacts.identity_code import mask
from gateway.decision.facts import Outcome
from gateway.failure import GatewayError
from gateway.held.message import HeldMessage
from gateway.provider.request import Request
from gateway.provider.submission import Submission
from gateway.records.identifier import new_id
from gateway.sms.evidence import Recorded
from gateway.sms.judged import Judged, resting
from gateway.sms.route import Route
from gateway.sms.site import Site
from gateway.sms.stored import Stored, recipient_of

log = structlog.get_logger(__name__)

Place = tuple[int, int]
"""A message's number and the place of one of its contacts."""


class Group(NamedTuple):
    """Some that wait for the same."""

    due: int | None
    """A moment (ms), or None: a person."""
    places: list[Place]


class Keeping:
    """What is stored of one submission; of most it is nothing."""

    def __init__(self, site: Site, route: Route, submission: Submission) -> None:
        self._site = site
        self._route = route
        self._submission = submission
        self._held: list[str] = []

    @property
    def held(self) -> Sequence[str]:
        """The ids of the copies."""
        return self._held

    async def adopt(self, held: Sequence[str]) -> bool:
        """Whether what an earlier, same request stored is there still; if so, it is ours.

        It is committed at once, since that request may never have come to it, and never
        taken back: the other may have told its tool that it was accepted.
        """
        return not held or await self._site.held.adopt(*held)

    async def store(
        self, original: Request, records: Sequence[Recorded], besides: Sequence[Place] = ()
    ) -> None:
        """Store texts that are kept and copies of what waits.

        ``besides``: whose copies are stored already.

        Raises:
            GatewayError: :meth:`undo` what has been stored so far.

        """
        await store_texts(self._site, records)
        for group in waiting(records, besides):
            stored = Stored.of(
                self._route,
                original,
                self._submission,
                destinations([one.judged for one in records], group.places),
                [_number(records, place) for place in group.places],
            )
            message = self._message(records, group)
            await self._site.contents.put(message.content_id, pieces(stored.to_json()))
            self._held.append(await self._site.held.prepare(message))

    def _message(self, records: Sequence[Recorded], group: Group) -> HeldMessage:
        first = records[group.places[0][0]]
        traits = first.judged.traits
        return HeldMessage(
            channel=Channel.SMS,
            message_id=first.id,
            client=self._route.name,
            upstream=self._route.settings.upstreams[0],
            kind=traits.kind,
            topic=traits.topic,
            content_id=new_id(),
            sender=first.judged.message.sender,
            recipients=tuple(
                recipient_of(records[number].judged, place, records[number].ids[place])
                for number, place in group.places
            ),
            due=group.due,
        )

    async def keep(self) -> None:
        """Keep the copies, whatever comes of the message for the others."""
        if self._held:
            await self._site.held.keep(*self._held)

    async def commit(self) -> None:
        """Let the copies be acted on."""
        if self._held:
            await self._site.held.commit(*self._held)

    async def commit_in_time(self) -> None:
        """:meth:`commit`, or leave it to the sweep: the copies are ours and on the disk."""
        try:
            await self.commit()
        except GatewayError as error:
            log.error("held_not_shown_yet", cause=str(error))

    async def undo(self) -> bool:
        """Take back what waits of a request that the tool will say again.

        Returns whether anything was.
        """
        try:
            return bool(self._held) and await self._site.held.revoke(*self._held) > 0
        except GatewayError as error:
            log.warning("undo_failed", cause=str(error))
            return True


def waiting(records: Sequence[Recorded], besides: Sequence[Place] = ()) -> list[Group]:
    """Those whose messages wait, by what for."""
    groups: dict[int | None, list[Place]] = {}
    stored = frozenset(besides)
    for number, record in enumerate(records):
        judged = record.judged
        for place, verdict in enumerate(judged.verdicts):
            if (number, place) in stored:
                continue
            if verdict.outcome is Outcome.HOLD:
                groups.setdefault(None, []).append((number, place))
            elif resting(judged, place):
                groups.setdefault(judged.until[place], []).append((number, place))
    return [Group(due, places) for due, places in groups.items()]


def destinations(judged: Sequence[Judged], places: Sequence[Place]) -> list[list[int]]:
    """For each message, where the destinations of these contacts stand."""
    chosen: list[list[int]] = [[] for _ in judged]
    for number, place in places:
        chosen[number].append(judged[number].addressees.places[place])
    return chosen


def _number(records: Sequence[Recorded], place: Place) -> str:
    return records[place[0]].judged.addressees.contacts[place[1]].canonical


async def store_texts(site: Site, records: Sequence[Recorded]) -> None:
    """Store the texts that records name; raises RecordsUnavailable."""
    for one in records:
        if one.written is not None and one.written.content is not None:
            text = mask(one.judged.message.text or "")
            await site.contents.put(one.id, pieces(text.encode()))


async def pieces(octets: bytes) -> AsyncIterator[bytes]:
    """Octets as the content store takes them."""
    yield octets
