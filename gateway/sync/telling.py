"""Which archived events tell what a tool must hold of whose address, as conditions of a query."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_, select

from gateway.entry.event import EventKind
from gateway.records import schema

BANNING: Final = tuple(
    kind.value for kind in (EventKind.BAN, EventKind.WITHDRAW, EventKind.UNDELIVERABLE)
)
"""Events after which a contact may be owed to a tool that is new."""
_TELLING: Final = (*BANNING, EventKind.UNBAN.value, EventKind.DELIVERABLE.value)
_LOSING: Final = (EventKind.CONSENT.value, EventKind.FORGET.value)
_SEALED: Final = '"sealed":'
_LIFTS: Final = '"lifts":true'


def tells_address(event: Any) -> ColumnElement[bool]:  # noqa: ANN401 - a table's columns
    """Whether an event holds the sealed address of whom it is about."""
    found: ColumnElement[bool] = event.body.contains(_SEALED, autoescape=True)
    return found


def tells() -> ColumnElement[bool]:
    """Whether an event is about what a tool must hold of somebody whose address is told."""
    event = schema.event.c
    return or_(
        and_(event.kind.in_(_TELLING), tells_address(event)),
        and_(
            event.kind == EventKind.CONSENT.value,
            event.body.contains(_LIFTS, autoescape=True),
            tells_address(event),
        ),
        # What a consent had lifted stands again where another takes its place, or it is
        # forgotten; an event of before tells the address.
        and_(event.kind.in_(_LOSING), _banned_before()),
    )


def _banned_before() -> ColumnElement[bool]:
    before = schema.event.alias()
    return (
        select(before.c.id)
        .where(
            before.c.subject == schema.event.c.subject,
            before.c.kind.in_(BANNING),
            tells_address(before.c),
        )
        .exists()
    )
