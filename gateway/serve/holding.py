"""Held messages as people end them, mail and text messages alike."""

from __future__ import annotations

from typing import NamedTuple

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.decision.facts import Kind
from gateway.decision.rule import Rule
from gateway.failure import InputError
from gateway.held.message import Held, HeldRecipient, State
from gateway.held.store import HeldStore
from gateway.records.act import Act, Action
from gateway.records.record import OutcomeRecord, Result
from gateway.records.recorder import Recorder
from gateway.serve.assembly import Parts
from gateway.smtp.release import release


class Decided(NamedTuple):
    """What a release did for one recipient."""

    recipient: HeldRecipient
    sent: bool
    rule: Rule | None
    """The rule that stopped it; None: sent, or the provider did not take it."""


class Holding:
    """The held messages of one process's parts."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def waiting(self, limit: int) -> list[Held]:
        """Those that wait for a person, the newest first; raises RecordsUnavailable."""
        store = (await self._parts.shelf.stores()).held
        return await store.list([State.HELD, State.RELEASING, State.UNCERTAIN], limit=limit)

    async def get(self, held_id: str) -> Held:
        """One of them; raises HeldStateError when there is none, RecordsUnavailable."""
        return await (await self._parts.shelf.stores()).held.get(held_id)

    async def release(self, held_id: str, by: str, reason: str, kind: Kind | None) -> list[Decided]:
        """Decide anew for each recipient, record the person, and send.

        That is an act, recorded before it is done.  Raises InputError when it may not be
        released as asked, UpstreamUnavailable and what else a release raises.
        """
        held = await self.get(held_id)
        act = Act(action=Action.RELEASE, actor=by, subject=held_id, reason=reason)
        await self._parts.site.recorder.act(act)
        if held.message.channel is Channel.SMS:
            return await self._release_text(held, by, reason, kind)
        done = await release(self._parts.site, held_id, by=by, reason=reason, kind=kind)
        return [
            *(Decided(one, True, None) for one in done.sent),
            *(Decided(one, False, verdict.decision.rule) for one, verdict in done.suppressed),
        ]

    async def _release_text(
        self, held: Held, by: str, reason: str, kind: Kind | None
    ) -> list[Decided]:
        plane = self._parts.plane
        if plane is None:
            raise InputError(
                f"sms.routes: no {held.message.client!r} any more; add it again to release its "
                "messages, or discard them"
            )
        # Late: with it comes the HTTP library.
        from gateway.sms.release import release as release_text

        done = await release_text(plane.site, held.id, by=by, reason=reason, kind=kind)
        return [
            *(Decided(one, True, None) for one in done.sent),
            *(Decided(one, False, verdict.decision.rule) for one, verdict in done.suppressed),
            *(Decided(one, False, None) for one in done.refused),
        ]

    async def discard(self, held_id: str, by: str, reason: str) -> None:
        """Throw it away; raises HeldStateError when it does not wait."""
        store = (await self._parts.shelf.stores()).held
        await discard(store, self._parts.site.recorder, held_id, by, reason)


async def discard(store: HeldStore, recorder: Recorder, held_id: str, by: str, reason: str) -> None:
    """Throw a held message away; person and reason are recorded first.

    Raises HeldStateError when it does not wait, RecordsUnavailable.
    """
    held = await store.get(held_id)
    await recorder.act(Act(action=Action.DISCARD, actor=by, subject=held_id, reason=reason))
    now = now_ms()
    await store.mark_discarded(held_id, by, reason, now)
    recorder.note_outcome(
        *(
            OutcomeRecord(
                record_id=one.record_id,
                at=now,
                result=Result.DISCARDED,
                person=by,
                reason=reason,
            )
            for one in held.message.recipients
        )
    )
