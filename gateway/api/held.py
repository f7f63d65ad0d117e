"""``/v1/held``: messages that wait for a person.

A release is decided anew: a person stands in for what the rules could not know, never
for a ban.
"""

from __future__ import annotations

from gateway.api import form, recordform
from gateway.api.account import Permission
from gateway.api.desk import Call
from gateway.api.problem import not_found
from gateway.api.route import Route
from gateway.decision.facts import Kind
from gateway.held.message import Held
from gateway.held.store import HeldStateError
from gateway.records.act import Action


async def index(call: Call) -> recordform.HeldList:
    """Held messages without addresses."""
    held = await call.desk.held.waiting(call.form.limit)
    return recordform.HeldList(held=[_held(one, with_addresses=False) for one in held])


async def show(call: Call) -> recordform.Held:
    """One held message with its recipients' addresses."""
    held_id = call.path["held"]
    await call.record(Action.READ, held_id, what="held message")
    return _held(await _get(call, held_id), with_addresses=True)


async def release(call: Call) -> recordform.Released:
    """Decide anew for each recipient and send to those who may have it."""
    asked: recordform.ReleaseForm = call.form
    held_id = call.path["held"]
    await _get(call, held_id)
    done = await call.desk.held.release(
        held_id, call.account.name, asked.reason, None if asked.kind is None else Kind(asked.kind)
    )
    return recordform.Released(
        recipients=[
            recordform.ReleasedRecipient(
                record=one.recipient.record_id,
                digest=one.recipient.digest,
                sent=one.sent,
                rule=None if one.rule is None else one.rule.id,
                reason=None
                if one.rule is None
                else form.Reasons(
                    fi=one.rule.reason.fi, sv=one.rule.reason.sv, en=one.rule.reason.en
                ),
            )
            for one in done
        ]
    )


async def discard(call: Call) -> None:
    """Throw a held message away; person and reason are recorded."""
    held_id = call.path["held"]
    await _get(call, held_id)
    await call.desk.held.discard(held_id, call.account.name, call.form.reason)


async def _get(call: Call, held_id: str) -> Held:
    try:
        return await call.desk.held.get(held_id)
    except HeldStateError as error:
        raise not_found(str(error)) from None


def _held(held: Held, *, with_addresses: bool) -> recordform.Held:
    message = held.message
    return recordform.Held(
        held=held.id,
        message=message.message_id,
        state=held.state,
        channel=message.channel,
        since=form.time(held.created),
        client=message.client,
        kind=message.kind,
        topic=message.topic,
        recipients=[
            recordform.HeldRecipient(
                digest=one.digest,
                record=one.record_id,
                rule=one.rule,
                reason=one.reason,
                facts=dict(one.facts),
                address=one.address if with_addresses else None,
            )
            for one in message.recipients
        ],
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/held",
        summary="Messages that wait for a person, without addresses.",
        permission=Permission.SEARCH,
        handler=index,
        query=recordform.HeldQuery,
        answer=recordform.HeldList,
        tag="held",
    ),
    Route(
        method="GET",
        path="/v1/held/{held}",
        summary="One held message; recorded as a read.",
        permission=Permission.READ,
        handler=show,
        answer=recordform.Held,
        tag="held",
        may_miss=True,
    ),
    Route(
        method="POST",
        path="/v1/held/{held}/release",
        summary="Decide anew and send; bans still stop it.",
        permission=Permission.HELD,
        handler=release,
        body=recordform.ReleaseForm,
        answer=recordform.Released,
        tag="held",
        may_miss=True,
    ),
    Route(
        method="POST",
        path="/v1/held/{held}/discard",
        summary="Throw a held message away.",
        permission=Permission.HELD,
        handler=discard,
        body=recordform.DiscardForm,
        tag="held",
        may_miss=True,
    ),
)
