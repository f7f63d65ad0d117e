"""The end of waiting: a held message that nobody decides about is not sent.

Each step can be repeated after a crash: the outcome has an id of its own that is the
same each time, and is stored before the message is over.
"""

from __future__ import annotations

from hashlib import sha256
from typing import Final, Protocol

from gateway.clock import Clock, now_ms
from gateway.failure import GatewayError
from gateway.held.message import Held, State
from gateway.held.notice import DAY
from gateway.held.store import HeldStateError, HeldStore
from gateway.records.act import Act, Action
from gateway.records.record import OutcomeRecord, Result

_AT_ONCE: Final = 100
_CLAIM: Final = 600_000
"""How long (ms) an expiry may take; one that was cut off is begun anew after it."""
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class Journal(Protocol):
    """Where outcomes and acts are stored."""

    async def tell(self, act: Act, outcomes: list[OutcomeRecord]) -> None:
        """Store them; durable when this returns, else raises GatewayError."""


class Expiry:
    """Ends what has waited longer than ``after`` days; see :meth:`run`."""

    def __init__(self, held: HeldStore, journal: Journal, clock: Clock = now_ms) -> None:
        self._held = held
        self._journal = journal
        self._clock = clock

    async def run(self, after: float) -> int:
        """Expire what is too old; how many.  Raises GatewayError."""
        done = 0
        before = self._clock() - int(after * DAY)
        while found := await self._held.waiting_since(before, _AT_ONCE):
            ended = 0
            for one in found:
                ended += await self._end(one, after)
            done += ended
            if not ended:
                break
        return done

    async def _end(self, one: Held, after: float) -> bool:
        """Expire one; False: somebody else was first."""
        now = self._clock()
        try:
            held = await self._held.claim(one.id, of=one.state, until=now + _CLAIM)
        except HeldStateError:
            return False
        reason = f"nobody decided in {after:g} days"
        act = Act(
            action=Action.EXPIRE,
            actor="gateway",
            reason=reason,
            subject=held.id,
            detail={"recipients": len(held.message.recipients)},
            id=_id(held, "act"),
            at=now,
        )
        outcomes = [
            OutcomeRecord(
                record_id=recipient.record_id,
                at=now,
                result=Result.EXPIRED,
                reason=reason,
                id=_id(held, recipient.record_id),
            )
            for recipient in held.message.recipients
        ]
        try:
            await self._journal.tell(act, outcomes)
        except GatewayError:
            if one.state is State.HELD:
                await self._held.unclaim(one.id)
            else:
                await self._held.doubt(one.id, one.reason)
            raise
        await self._held.mark_expired(one.id, reason, now)
        return True


def _id(held: Held, of: str) -> str:
    """A ULID that is the same whenever this message's expiry is tried."""
    moment = held.created
    digits = ""
    for _ in range(10):
        moment, digit = divmod(moment, 32)
        digits = _ALPHABET[digit] + digits
    return digits + sha256(f"expired {held.id} {of}".encode()).hexdigest()[:16].upper()
