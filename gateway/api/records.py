"""``/v1/records``, ``/v1/acts``, ``/v1/me``: why a message went or did not; who did what."""

from __future__ import annotations

from http import HTTPStatus

from gateway.api import form, recordform
from gateway.api.account import ALLOWED, Permission
from gateway.api.address import contact_at
from gateway.api.desk import Call
from gateway.api.problem import Problem, not_found
from gateway.api.route import Route
from gateway.contacts.digest import subject_of
from gateway.failure import InputError
from gateway.records.act import Action
from gateway.records.finding import Found, Shown, Wanted
from gateway.records.record import RuleText


async def search(call: Call) -> recordform.Records:
    """Records by what is known of them; by an address only for who may read."""
    asked: recordform.RecordSearch = call.form
    digests: list[str] = []
    if asked.contact is not None:
        if not call.account.may(Permission.READ):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                "not-allowed",
                f"the role {call.account.role} may not search by a contact ({Permission.READ})",
            )
        contact = contact_at(asked.contact, "/contact")
        digests = [str(digest) for digest in call.desk.ring.digests(subject_of(contact))]
        await call.record(Action.SEARCH, digests[0], what="records")
    found = await call.desk.archive.search(
        digests=digests,
        since=form.milliseconds(asked.since),
        until=form.milliseconds(asked.until),
        client=asked.client,
        rule=asked.rule,
        outcome=asked.outcome,
        result=asked.result,
        limit=asked.limit,
        before=asked.before,
    )
    return recordform.Records(records=[_found(one) for one in found])


def _found(found: Found) -> recordform.Record:
    return recordform.Record(
        record=found.record_id,
        message=found.message_id,
        decided=form.time(found.decided),
        client=found.client,
        kind=found.kind,
        channel=found.channel,
        direction=found.direction,
        digest=found.digest,
        outcome=found.outcome,
        rule=found.rule,
        result=found.result,
        result_at=form.moment(found.result_at),
    )


async def count(call: Call) -> recordform.Sums:
    """How many went, how many did not, and by which rule."""
    asked: recordform.CountQuery = call.form
    sums = await call.desk.archive.count(
        Wanted(
            form.milliseconds(asked.since),
            form.milliseconds(asked.until),
            asked.client,
            asked.campaign,
            asked.topic,
            asked.channel,
        )
    )
    shares = [
        recordform.Share(
            outcome=one.outcome,
            rule=one.rule,
            result=one.result,
            reason=_reasons(one.text),
            recipients=one.recipients,
        )
        for one in sums.shares
    ]
    return recordform.Sums(messages=sums.messages, recipients=sums.recipients, shares=shares)


def _reasons(text: RuleText | None) -> form.Reasons | None:
    return None if text is None else form.Reasons(fi=text.fi, sv=text.sv, en=text.en)


async def show(call: Call) -> recordform.WholeRecord:
    """Everything of one record."""
    record_id = call.path["record"]
    await call.record(Action.READ, record_id, what="record")
    try:
        shown = await call.desk.archive.show(record_id)
    except InputError as error:
        raise not_found(str(error)) from None
    return _whole(shown)


def _whole(shown: Shown) -> recordform.WholeRecord:
    message, recipient, rule = shown.message, shown.recipient, shown.rule
    return recordform.WholeRecord(
        record=recipient.id,
        message=message.id,
        direction=message.direction,
        received=form.time(message.received),
        decided=form.time(message.decided),
        controller=message.controller,
        register_name=message.register,
        client=message.client,
        campaign=message.campaign,
        channel=message.channel,
        kind=message.kind,
        kind_declared=message.kind_declared,
        topic=message.topic,
        product_group=message.product_group,
        body_hash=message.body_hash,
        size=message.size,
        opt_out=message.opt_out,
        sender=message.sender,
        rule_set=message.rule_set,
        rule_set_version=message.rule_set_version,
        rule_set_hash=message.rule_set_hash,
        digest=recipient.digest,
        address=shown.address,
        outcome=recipient.outcome,
        rule=recipient.rule,
        reason=_reasons(rule),
        basis=None if rule is None else rule.basis,
        source=None if rule is None else rule.source,
        tier=recipient.tier,
        facts=dict(recipient.facts),
        position=recipient.register_position,
        retain_until=form.moment(recipient.retain_until),
        results=[
            recordform.Told(
                at=form.time(one.at),
                result=one.result,
                reply_code=one.reply_code,
                reply_text=one.reply_text,
                upstream=one.upstream,
                person=one.person,
                reason=one.reason,
            )
            for one in shown.outcomes
        ],
    )


async def acts(call: Call) -> recordform.Acts:
    """Who did what with personal data, the newest first."""
    asked: recordform.ActQuery = call.form
    found = await call.desk.acts(
        actor=asked.actor,
        action=asked.action,
        subject=asked.subject,
        since=form.milliseconds(asked.since),
        until=form.milliseconds(asked.until),
        limit=asked.limit,
    )
    return recordform.Acts(
        acts=[
            recordform.Act(
                id=one.id,
                at=form.time(one.at),
                action=one.action,
                actor=one.actor,
                subject=one.subject,
                reason=one.reason,
                detail=dict(one.detail),
            )
            for one in found
        ]
    )


async def me(call: Call) -> recordform.Me:
    """The account that asks, and what it may do."""
    account = call.account
    return recordform.Me(name=account.name, role=account.role, may=sorted(ALLOWED[account.role]))


ROUTES = (
    Route(
        method="POST",
        path="/v1/records/search",
        summary="Find records; by a contact it is recorded as a search.",
        permission=Permission.SEARCH,
        handler=search,
        body=recordform.RecordSearch,
        answer=recordform.Records,
        tag="records",
    ),
    Route(
        method="POST",
        path="/v1/records/count",
        summary="How many went, how many did not, and why: a campaign's sums.",
        permission=Permission.SEARCH,
        handler=count,
        body=recordform.CountQuery,
        answer=recordform.Sums,
        tag="records",
    ),
    Route(
        method="GET",
        path="/v1/records/{record}",
        summary="Everything of one record; recorded as a read.",
        permission=Permission.READ,
        handler=show,
        answer=recordform.WholeRecord,
        tag="records",
        may_miss=True,
    ),
    Route(
        method="GET",
        path="/v1/acts",
        summary="Who did what with personal data.",
        permission=Permission.AUDIT,
        handler=acts,
        query=recordform.ActQuery,
        answer=recordform.Acts,
        tag="records",
    ),
    Route(
        method="GET",
        path="/v1/me",
        summary="The account that asks.",
        permission=None,
        handler=me,
        answer=recordform.Me,
        tag="records",
    ),
)
