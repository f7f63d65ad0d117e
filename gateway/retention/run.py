"""One run of retention: first what it would do, then it, each part under an act.

Order: people, then contacts are forgotten in the register, whose events say so; then the rows whose
time is over leave the archive; what lies sealed for nobody is swept.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from gateway.contacts.digest import Digest
from gateway.records.act import Act, Action
from gateway.records.purge import Purge, Purged
from gateway.records.recorder import Recorder
from gateway.retention.contacts import Contacts
from gateway.subject.directory import PersonStateError
from gateway.subject.ending import Ending

GATEWAY = "gateway"
"""Who acts when the gateway does so by itself."""
_ACT_EACH = 1000
"""Contacts of one act."""


@dataclass(slots=True)
class Retention:
    """What a run would do, or did."""

    people: int = 0
    """People of whom nothing is kept but their contacts' bans."""
    contacts: int = 0
    """Contacts that are forgotten but for their bans."""
    purged: Purged = field(default_factory=Purged)

    @property
    def nothing(self) -> bool:
        """Whether nobody's and nothing's time is over."""
        return not self.people and not self.contacts and not self.purged.total


async def plan(people: Ending, contacts: Contacts, purge: Purge) -> Retention:
    """What a run would do now; nothing is changed.

    Raises RecordsUnavailable, RegisterUnavailable.
    """
    found = Retention(purged=await purge.plan())
    async for _ in people.due():
        found.people += 1
    async for _ in contacts.due():
        found.contacts += 1
    return found


async def carry_out(
    people: Ending,
    contacts: Contacts,
    purge: Purge,
    recorder: Recorder,
    actor: str,
    reason: str,
    catch_up: Callable[[], Awaitable[object]],
) -> Retention:
    """Forget and remove whatever is over; what is cut off is done by the next run.

    ``catch_up`` archives what waits, so that the events of this run are among what is
    looked at.  Raises RecordsUnavailable, RegisterUnavailable.
    """
    done = Retention()
    async for person_id in people.due():
        act = Act(
            action=Action.PURGE,
            actor=actor,
            reason=reason,
            subject=person_id,
            detail={"what": "person"},
        )
        await recorder.act(act)
        try:
            await people.forget(person_id, actor)
        except PersonStateError:
            continue  # changed in this moment, and kept
        done.people += 1
    batch = []
    async for digest in contacts.due():
        batch.append(digest)
        if len(batch) >= _ACT_EACH:
            done.contacts += await _forget(contacts, batch, recorder, actor, reason)
            batch = []
    if batch:
        done.contacts += await _forget(contacts, batch, recorder, actor, reason)
    await catch_up()
    done.purged = await purge.run(recorder, actor, reason)
    return done


async def _forget(
    contacts: Contacts, batch: list[Digest], recorder: Recorder, actor: str, reason: str
) -> int:
    await recorder.act(
        Act(
            action=Action.PURGE,
            actor=actor,
            reason=reason,
            detail={"what": "contacts", "contacts": len(batch)},
        )
    )
    return sum([await contacts.forget(digest, actor) for digest in batch])
