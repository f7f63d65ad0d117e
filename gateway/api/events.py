"""``/v1/events``: the register's changes, in the order in which they were archived."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from http import HTTPStatus

from gateway.api import changeform, form
from gateway.api.account import Permission
from gateway.api.desk import Call
from gateway.api.problem import BadMember, Problem, bad_request, unavailable
from gateway.api.route import Route
from gateway.entry.event import Event, EventError
from gateway.records.act import Action
from gateway.records.feed import BEGINNING, ArchivedEvent, Page, Place, PlaceError

_SHARE = 0.8
"""Of the time that a request may take, how much may be spent waiting."""


async def events(call: Call) -> changeform.Changes:
    """Changes behind a cursor; waits for one where there is none and the caller asks so."""
    asked: changeform.EventQuery = call.form
    desk = call.desk
    if asked.addresses and not call.account.may(Permission.READ):
        raise Problem(
            HTTPStatus.FORBIDDEN,
            "not-allowed",
            f"the role {call.account.role} may not see addresses ({Permission.READ})",
        )
    try:
        place = await _place(call, asked.after)
        page = await desk.feed.after(place, asked.limit)
        if not page.events and not page.more and asked.wait:
            page = await _waited(call, page, asked)
    except PlaceError as error:
        raise bad_request(str(error), BadMember("/after", "begin anew without it")) from None
    told = [_read(each) for each in page.events]
    addresses: Sequence[str | None] = [None] * len(told)
    if asked.addresses and told:
        await call.record(
            Action.READ, what="register events", count=len(told), after=asked.after or ""
        )
        known = [event for event in told if event is not None]
        opened = dict(zip(map(id, known), await desk.addresses(known), strict=True))
        addresses = [opened.get(id(event)) for event in told]
    return changeform.Changes(
        events=[
            _change(row, event, address)
            for row, event, address in zip(page.events, told, addresses, strict=True)
        ],
        cursor=str(page.place),
        more=page.more,
    )


async def _place(call: Call, after: str | None) -> Place:
    if after is None:
        return BEGINNING
    return await call.desk.feed.end() if after == changeform.LATEST else Place.parse(after)


async def _waited(call: Call, page: Page, asked: changeform.EventQuery) -> Page:
    """The next page with an event, or the last without when the time is over."""
    desk = call.desk
    settings = desk.settings.api
    with desk.waiting.place(call.account.name, settings.max_requests) as given:
        if not given:
            raise unavailable("too many wait for changes; ask again later, or without waiting")
        until = asyncio.get_running_loop().time() + min(asked.wait, _SHARE * settings.timeout)
        while not page.events and await desk.waiting.beyond(page.place.row, until, call.left):
            page = await desk.feed.after(page.place, asked.limit)
        return page


def _read(row: ArchivedEvent) -> Event | None:
    """The event; None where a newer version wrote it in words that are not known here."""
    try:
        return Event.from_json(row.body)
    except EventError:
        return None


def _change(row: ArchivedEvent, event: Event | None, address: str | None) -> changeform.Change:
    if event is None:
        return changeform.Change(
            id=row.id.partition("/")[0],
            kind=row.kind,
            at=form.moment(row.at),
            recorded=None,
            source="",
            subject=row.subject,
            address=None,
            scope=None,
            channel=None,
            topic=None,
            status=None,
            delivery=None,
            expires=None,
            imported=False,
            through_another_spelling=False,
        )
    return changeform.Change(
        id=event.id,
        kind=event.kind,
        at=form.time(event.at),
        recorded=form.time(event.recorded),
        source=event.source,
        subject=event.subject,
        address=address,
        scope=event.scope,
        channel=event.channel,
        topic=event.topic,
        status=event.status,
        delivery=event.delivery,
        expires=form.moment(event.expires),
        imported=event.imported,
        through_another_spelling=event.origin != b"",
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/events",
        summary="Changes of the register behind a cursor; waits for one if asked to.",
        permission=Permission.FOLLOW,
        handler=events,
        query=changeform.EventQuery,
        answer=changeform.Changes,
        tag="events",
    ),
)
