"""Text messages that wait, sent on: by a person's word, or when their time has come.

A person stands in for what the rules could not know, never for a ban and never for
quiet hours.  The gateway stands in for nothing: at its time a message is decided as one
that has just come.

Whoever sends has claimed the message first, and in the archive: a claim is never undone
once the message may have left.  What a killed process leaves claimed is shown to people
as uncertain when the claim runs out, and is never sent again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import NamedTuple

import structlog

from gateway.clock import Clock, now_ms
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError, InputError
from gateway.gate import Verdict
from gateway.held.message import HeldError, HeldRecipient, State
from gateway.held.store import HeldStateError
from gateway.provider.submission import Told
from gateway.records.content import ContentMissing
from gateway.records.record import Result
from gateway.sms.attempt import Attempt, NotTaken, Person, ReleaseRefused
from gateway.sms.outlet import ProviderAway
from gateway.sms.site import Site

log = structlog.get_logger(__name__)

GATEWAY = "gateway"
"""Who acts when a message's time has come, in the records."""
_TIME_CAME = "quiet hours are over"
_MINUTE = 60_000
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
_AT_ITS_TIME = 15 * _MINUTE
_SPARE = 3 * _MINUTE
"""How much longer a claim lasts than the longest wait for a provider."""


class Released(NamedTuple):
    """What a person's release did."""

    sent: list[HeldRecipient]
    suppressed: list[tuple[HeldRecipient, Verdict]]
    refused: list[HeldRecipient]
    """Those that the provider did not take; they stay held."""


class Turn(Enum):
    """What became of a message whose time had come."""

    ENDED = "ended"
    """Sent, or nobody may have it any more."""
    LATER = "later"
    """It still waits for a time."""
    HELD = "held"
    """It waits for a person now."""
    AWAY = "away"
    """It still waits, and its provider cannot be reached or is busy."""
    GONE = "gone"
    """Somebody else was first."""


def claim_ms(site: Site) -> int:
    """How long a claim lasts."""
    waits = [one.settings.answer_timeout for one in site.routes.all]
    return round(max(waits, default=0) * 1000) + _SPARE


# -- by a person ----------------------------------------------------------------------


async def release(
    site: Site,
    held_id: str,
    *,
    by: str,
    reason: str,
    kind: Kind | None = None,
    clock: Clock = now_ms,
) -> Released:
    """Decide anew for each recipient, record the person, and send.

    Raises:
        HeldStateError: it is not held (any more).
        ReleaseRefused: the kind is unclear and none was given, or it is known and
            another was given, or its route is gone, or it is quiet where it would go.
        GatewayError: not sent, and still held; or unknown whether sent: then it is
            uncertain, and can only be discarded.

    """
    held = await site.held.claim(held_id, until=clock() + claim_ms(site))
    work = Attempt(site, held, by, reason, clock)
    try:
        return await _by_person(work, kind)
    except BaseException as error:
        if work.may_have_left:
            await site.held.doubt(held_id, f"it may have been sent: {error}")
        else:
            await site.held.unclaim(held_id)
        raise


async def _by_person(work: Attempt, kind: Kind | None) -> Released:
    known = work.message.kind
    if kind is not None and known is not Kind.UNCLEAR and kind is not known:
        raise ReleaseRefused(f"its kind is known, {known}: --kind is for unclear ones")
    if kind is None and known is Kind.UNCLEAR:
        raise ReleaseRefused("its kind is unclear: say what it is with --kind")
    await work.judge(kind or known)
    going = [one for one in work.people if one.outcome is not Outcome.SUPPRESS]
    stopped = [one for one in work.people if one.outcome is Outcome.SUPPRESS]
    quiet = [one.until for one in going if one.until is not None]
    if quiet:
        end = datetime.fromtimestamp(max(quiet) / 1000, UTC).isoformat(timespec="minutes")
        raise ReleaseRefused(f"it is quiet where it would go, until {end}; release it then")
    await work.record()
    told = await work.send(going) if going else []
    sent = [one for one, said in zip(going, told, strict=True) if said is Told.ACCEPTED]
    _note_told(work, going, told, refused=None)
    for one in stopped:
        work.note(one, Result.SUPPRESSED, Result.SUPPRESSED if sent else None)
    rest = [one for one, said in zip(going, told, strict=True) if said is not Told.ACCEPTED]
    held = work.site.held
    if not sent:
        # Nothing left: it stays held, to be discarded by a person who says why.
        work.may_have_left = False
        await held.unclaim(work.held.id)
    elif rest:
        left = await work.left(rest, None)
        await held.hand_over(work.held.id, "the provider did not take it for these", left)
    else:
        await held.mark_released(work.held.id, work.by, work.reason, work.clock())
    return Released(
        [one.stored for one in sent],
        [(one.stored, one.verdict) for one in stopped],
        [one.stored for one in rest],
    )


# -- at its time ----------------------------------------------------------------------


async def send_due(site: Site, held_id: str, clock: Clock = now_ms) -> Turn:
    """Decide anew and send what may go, once the message's time has come.

    Raises nothing but faults of the program and cancellation, after the message has
    been put where it belongs.
    """
    try:
        held = await site.held.claim(held_id, of=State.WAITING, until=clock() + claim_ms(site))
    except HeldStateError:
        return Turn.GONE
    except GatewayError as error:
        log.warning("waiting_not_claimed", held=held_id, cause=str(error))
        return Turn.LATER
    work = Attempt(site, held, GATEWAY, _TIME_CAME, clock)
    try:
        return await _at_its_time(work)
    except BaseException as error:
        turn = await _give_back(work, error)
        if not isinstance(error, GatewayError):
            raise
        return turn


async def _at_its_time(work: Attempt) -> Turn:
    held, since = work.site.held, _since(work)
    if work.clock() >= since + _DAY:
        await held.hand_over(work.held.id, "it could not be sent within a day of its time")
        return Turn.HELD
    await work.judge(work.message.kind)
    going = [one for one in work.people if one.outcome is Outcome.FORWARD]
    stopped = [one for one in work.people if one.outcome is Outcome.SUPPRESS]
    if all(one.resting for one in work.people):
        await _wait_on(work, work.people, tried=False)
        return Turn.LATER
    await work.record()
    told = await work.send(going) if going else []
    _note_told(work, going, told, refused=Result.REFUSED)
    for one in stopped:
        work.note(one, Result.SUPPRESSED, Result.SUPPRESSED)
    later = {one.key for one, said in zip(going, told, strict=True) if said is Told.LATER}
    rest = [one for one in work.people if one.key in later or one.resting or _holds(one)]
    for one in rest:
        if one.key not in later:
            work.note(one, Result.HELD)
    if not rest:
        by, at = GATEWAY, work.clock()
        if Told.ACCEPTED in told:
            await held.mark_released(work.held.id, by, _TIME_CAME, at)
        else:
            reason = "the provider refused it" if told else "suppressed when its time came"
            await held.mark_stopped(work.held.id, by, reason, at)
        return Turn.ENDED
    if all(map(_holds, rest)):
        left = await work.left(rest, None)
        await held.hand_over(work.held.id, "decided so when its time came", left)
        return Turn.HELD
    await _wait_on(work, rest, tried=bool(later))
    return Turn.LATER


async def _wait_on(work: Attempt, rest: Sequence[Person], *, tried: bool) -> None:
    """Put off what is left until it is quiet nowhere and the provider may take it."""
    since, now = _since(work), work.clock()
    moments = [one.until for one in rest if one.resting and one.until is not None]
    until = max([*moments, _next(work)] if tried else moments)
    # Where it is quiet all the same when its time comes, its time is another now.  Not
    # where it could not be sent for long: the day would begin anew each morning.
    moved = not tried and now < since + _AT_ITS_TIME
    left = await work.left(rest, until if moved else work.message.due)
    await work.site.held.put_off(work.held.id, until, left)


async def _give_back(work: Attempt, error: BaseException) -> Turn:
    """Put a message that was not sent, or perhaps was, where it belongs; say so once."""
    held, held_id, cause = work.site.held, work.held.id, str(error) or type(error).__name__
    refused = isinstance(error, NotTaken) and not error.later
    away = isinstance(error, ProviderAway | NotTaken)
    try:
        if work.may_have_left:
            turn = Turn.HELD
            await held.doubt(held_id, f"it may have been sent: {cause}")
        elif refused or isinstance(error, InputError | HeldError | ContentMissing):
            turn = Turn.HELD
            await held.hand_over(held_id, cause)
        else:
            turn = Turn.AWAY if away else Turn.LATER
            await held.put_off(held_id, _next(work))
    except GatewayError as failure:
        # The claim runs out, and a person sees it.
        turn, cause = Turn.HELD, f"{cause}; {failure}"
    work.site.metrics.fault("waiting")
    log.warning(
        "waiting_not_sent", held=held_id, route=work.message.client, then=turn.value, cause=cause
    )
    return turn


def _since(work: Attempt) -> int:
    """When its time came."""
    return work.message.due if work.message.due is not None else work.held.created


def _next(work: Attempt) -> int:
    """When to try again: after as long as it has been tried, within bounds."""
    since, now = _since(work), work.clock()
    return min(now + min(_HOUR, max(_MINUTE, now - since)), since + _DAY)


def _holds(one: Person) -> bool:
    return one.outcome is Outcome.HOLD


def _note_told(
    work: Attempt, going: Sequence[Person], told: Sequence[Told], refused: Result | None
) -> None:
    """Say what the provider said of each; ``refused``: where it waits no more for those."""
    for one, said in zip(going, told, strict=True):
        if said is Told.ACCEPTED:
            work.note(one, Result.FORWARDED, Result.RELEASED)
        elif said is Told.REFUSED:
            work.note(one, Result.REFUSED, refused)
        else:
            work.note(one, Result.DEFERRED)
