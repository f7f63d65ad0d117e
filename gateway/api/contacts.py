"""``/v1/contacts``, ``/v1/bans``, ``/v1/consents``: the register, read and changed.

A change is answered when it is in force: whatever recipient is checked after the answer
has it.  Reading is recorded before anything is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from http import HTTPStatus

from gateway.api import form
from gateway.api.account import Permission
from gateway.api.address import contact_at, target_at
from gateway.api.desk import Call
from gateway.api.problem import BadMember, bad_request, not_found
from gateway.api.route import Route
from gateway.api.scope import ban_scope
from gateway.clock import now_ms
from gateway.contacts.contact import Contact
from gateway.contacts.digest import organisation_subject, subject_of
from gateway.entry.entry import ConsentStatus, Entry, Scope, Undeliverable
from gateway.entry.event import Event, EventKind
from gateway.records.act import Action


def _digest(call: Call, target: Contact | str) -> str:
    subject = organisation_subject(target) if isinstance(target, str) else subject_of(target)
    return str(call.desk.ring.digest(subject))


# -- read -----------------------------------------------------------------------------


async def show(call: Call) -> form.Contact:
    """What the register knows of a contact or organisation."""
    target = target_at(call.form.contact, "/contact")
    await call.record(Action.READ, _digest(call, target), what="register entry")
    register = call.desk.register
    if isinstance(target, str):
        return _contact(await register.show_organisation(target), [], [])
    by = [
        domain for domain in target.organisations if (await register.show_organisation(domain)).bans
    ]
    entry = await register.show(target)
    (standing,) = await register.look_up([target])
    return _contact(entry, by, [*standing.wider_complaints()])


def _contact(
    entry: Entry, banned_by: list[str], complaints: Sequence[Undeliverable]
) -> form.Contact:
    now = now_ms()
    return form.Contact(
        known=entry != Entry(),
        bans=[
            form.Ban(
                scope=ban.scope,
                channel=ban.channel,
                topic=ban.topic,
                since=form.time(ban.at),
                through_another_spelling=ban.inherited,
            )
            for ban in entry.bans
        ],
        consents=[
            form.Consent(
                channel=consent.channel,
                topic=consent.topic,
                status=consent.status,
                since=form.time(consent.at),
                expires=form.moment(consent.expires),
                proven=consent.proven,
            )
            for consent in entry.consents
        ],
        delivery=[
            *(_undeliverable(each, now, wider=False) for each in entry.delivery),
            *(_undeliverable(each, now, wider=True) for each in complaints),
        ],
        banned_by_organisation=banned_by,
        person_class=entry.person_class,
        age=entry.age,
        guardian_consent=entry.guardian_consent,
        relationship_start=entry.relationship_start,
        relationship_end=entry.relationship_end,
        collected=entry.collected,
        opt_out_offered=entry.opt_out_offered,
        product_groups=sorted(entry.product_groups or ()),
        restricted=entry.restricted,
        tombstone=entry.tombstone,
        source_known=entry.source_known,
    )


def _undeliverable(each: Undeliverable, now: int, *, wider: bool) -> form.Undeliverable:
    return form.Undeliverable(
        reason=each.reason,
        since=form.time(each.at),
        expires=form.moment(each.expires),
        expired=each.expired(now),
        through_another_spelling=wider,
    )


async def history(call: Call) -> form.History:
    """Every change of a contact, with who, when, source and evidence."""
    target = target_at(call.form.contact, "/contact")
    await call.record(Action.READ, _digest(call, target), what="register history")
    desk = call.desk
    events = (
        await desk.organisation_history(target)
        if isinstance(target, str)
        else await desk.history(target)
    )
    return form.History(events=[_event(event) for event in events])


def _event(event: Event) -> form.Event:
    return form.Event(
        id=event.id,
        kind=event.kind,
        at=form.time(event.at),
        recorded=form.time(event.recorded),
        actor=event.actor,
        source=event.source,
        evidence=event.evidence,
        scope=event.scope,
        channel=event.channel,
        topic=event.topic,
        status=event.status,
        delivery=event.delivery,
        expires=form.moment(event.expires),
        proven=event.proven,
        wording=event.wording,
        imported=event.imported,
    )


# -- change ---------------------------------------------------------------------------


async def ban(call: Call) -> form.Changed:
    """An objection; in force when this is answered."""
    asked: form.BanForm = call.form
    return await _change(call, _ban_event(call, EventKind.BAN, asked, asked.at))


async def lift(call: Call) -> form.Changed:
    """Remove a ban that was set by mistake or taken back."""
    return await _change(call, _ban_event(call, EventKind.UNBAN, call.form, None))


def _ban_event(
    call: Call,
    kind: EventKind,
    asked: form.BanForm | form.LiftForm,
    at: datetime | None,
) -> Event:
    scope, channel = ban_scope(asked.scope, asked.topic)
    return Event(
        kind=kind,
        at=form.milliseconds_or_now(at),
        actor=call.account.name,
        source=asked.source,
        evidence=asked.evidence,
        scope=scope,
        channel=channel,
        topic=asked.topic,
    )


async def _change(call: Call, event: Event) -> form.Changed:
    target = target_at(call.form.contact, "/contact")
    register = call.desk.register
    if isinstance(target, str):
        if event.scope is Scope.CHANNEL or event.scope is Scope.TOPIC:
            raise bad_request(
                "an organisation bans everything, all contact, or disclosure",
                BadMember("/scope", 'take "all", "contact" or "disclosure"'),
            )
        logged = await register.apply_organisation(event, target)
    else:
        logged = await register.apply_many([(event, target)])
    if not logged:
        raise not_found("there was no such ban; nothing is changed")
    return form.Changed(event=logged[0].id)


async def deliverable(call: Call) -> form.Changed:
    """Mail can be delivered again: lift the reason, or all.  No ban is touched."""
    asked: form.DeliverableForm = call.form
    contact = contact_at(asked.contact, "/contact")
    event = Event(
        kind=EventKind.DELIVERABLE,
        at=now_ms(),
        actor=call.account.name,
        source=asked.source,
        evidence=asked.evidence,
        delivery=asked.reason,
    )
    logged = await call.desk.register.apply_many([(event, contact)], only_changes=True)
    if not logged:
        raise not_found("there was no such delivery suppression; nothing is changed")
    return form.Changed(event=logged[0].id)


async def consent(call: Call) -> form.Changed:
    """A consent.  A tool's word never proves one and never lifts a ban."""
    asked: form.ConsentForm = call.form
    contact = contact_at(asked.contact, "/contact")
    by_person = call.account.may(Permission.PROVE)
    proven = by_person and bool(asked.wording.strip() and asked.evidence.strip())
    expires = form.milliseconds(asked.expires)
    if expires is not None and expires <= now_ms():
        raise bad_request(
            "the consent would be over already", BadMember("/expires", "give a later time")
        )
    event = Event(
        kind=EventKind.CONSENT,
        at=form.milliseconds_or_now(asked.at),
        actor=call.account.name,
        source=asked.source,
        evidence=asked.evidence,
        channel=asked.channel or contact.channel,
        topic=asked.topic,
        status=ConsentStatus(asked.status),
        expires=expires,
        proven=proven,
        lifts=proven and asked.status == "granted",
        wording=asked.wording,
        imported=not by_person,
    )
    logged = await call.desk.register.apply(event, contact)
    return form.Changed(event=logged.id)


async def withdraw(call: Call) -> form.Changed:
    """A withdrawal: from now on a ban of that channel and topic."""
    asked: form.WithdrawForm = call.form
    contact = contact_at(asked.contact, "/contact")
    event = Event(
        kind=EventKind.WITHDRAW,
        at=form.milliseconds_or_now(asked.at),
        actor=call.account.name,
        source=asked.source,
        evidence=asked.evidence,
        channel=asked.channel or contact.channel,
        topic=asked.topic,
    )
    logged = await call.desk.register.apply(event, contact)
    return form.Changed(event=logged.id)


def _route(path: str, summary: str, permission: Permission, **how: object) -> Route:
    made = Route(
        method="POST",
        path=path,
        summary=summary,
        permission=permission,
        status=HTTPStatus.OK,
        **how,  # type: ignore[arg-type]
    )
    return replace(made, tag="register")


ROUTES = (
    _route(
        "/v1/contacts/show",
        "What the register knows of a contact; recorded as a read.",
        Permission.READ,
        handler=show,
        body=form.ContactForm,
        answer=form.Contact,
    ),
    _route(
        "/v1/contacts/history",
        "Every change of a contact; recorded as a read.",
        Permission.READ,
        handler=history,
        body=form.ContactForm,
        answer=form.History,
    ),
    _route(
        "/v1/bans",
        "Record an objection; it is in force when this is answered.",
        Permission.OBJECT,
        handler=ban,
        body=form.BanForm,
        answer=form.Changed,
    ),
    _route(
        "/v1/bans/lift",
        "Remove a ban that was set by mistake or taken back.",
        Permission.LIFT,
        handler=lift,
        body=form.LiftForm,
        answer=form.Changed,
        may_miss=True,
    ),
    _route(
        "/v1/deliverable",
        "Lift a delivery suppression (a bounce, a complaint); no ban is touched.",
        Permission.LIFT,
        handler=deliverable,
        body=form.DeliverableForm,
        answer=form.Changed,
        may_miss=True,
    ),
    _route(
        "/v1/consents",
        "Record a consent; proven with wording and evidence by a person's account.",
        Permission.CONSENT,
        handler=consent,
        body=form.ConsentForm,
        answer=form.Changed,
    ),
    _route(
        "/v1/consents/withdraw",
        "Withdraw a consent: from now on a ban of its channel and topic.",
        Permission.OBJECT,
        handler=withdraw,
        body=form.WithdrawForm,
        answer=form.Changed,
    ),
)
