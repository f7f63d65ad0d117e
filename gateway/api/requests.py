"""``/v1/requests``: what people ask for, and by when it must be answered (GDPR 12)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from gateway.api import form, personform, recordform
from gateway.api.account import Permission
from gateway.api.address import contact_at
from gateway.api.desk import Call
from gateway.api.problem import not_found
from gateway.api.route import Handler, Route
from gateway.clock import now_ms
from gateway.failure import InputError
from gateway.records.act import Action
from gateway.subject.people import Who
from gateway.subject.request import Kind, Request


def _who(call: Call, reason: str = "") -> Who:
    return Who(call.account.name, reason or call.reason)


def _shown(request: Request) -> personform.Request:
    now = now_ms()
    return personform.Request(
        id=request.id,
        kind=request.kind,
        subject=request.person_id,
        received=form.time(request.received),
        due=form.time(request.due),
        state=request.state,
        late=request.late(now),
        words=request.words,
        how=request.how,
        identity=None if request.identity is None else request.identity.how,
        closed=form.moment(request.closed),
        outcome=request.outcome,
        steps=[
            personform.Step(at=form.time(one.at), state=one.state, by=one.by, reason=one.reason)
            for one in request.steps
        ],
    )


async def receive(call: Call) -> personform.Request:
    """Take a request in; the month begins when it arrived."""
    asked: personform.RequestForm = call.form
    contact = None if asked.contact is None else contact_at(asked.contact, "/contact")
    request = await call.desk.serving.requests.receive(
        Kind(asked.kind),
        _who(call),
        person_id=asked.subject,
        contact=contact,
        words=asked.words,
        how=asked.how,
        received=form.milliseconds(asked.received),
    )
    return _shown(request)


async def index(call: Call) -> personform.Requests:
    """Requests that are late or due within a week, without what was asked."""
    found = await call.desk.serving.requests.due(call.form.limit)
    return personform.Requests(
        requests=[
            personform.Due(
                id=one.id,
                kind=one.kind,
                due=form.time(one.due),
                state=one.state,
                late=one.late(now_ms()),
            )
            for one in found
        ]
    )


async def show(call: Call) -> personform.Request:
    """One request with all its steps; recorded as a read."""
    request_id = call.path["request"]
    await call.record(Action.READ, request_id, what="request")
    return _shown(await _get(call, request_id))


async def _get(call: Call, request_id: str) -> Request:
    try:
        return await call.desk.serving.requests.get(request_id)
    except InputError as error:
        raise not_found(str(error)) from None


def _step(move: Callable[[Call, str], Awaitable[Request]]) -> Handler:
    async def step(call: Call) -> personform.Request:
        request_id = call.path["request"]
        await _get(call, request_id)
        return _shown(await move(call, request_id))

    return step


_MOVES: Final[dict[str, tuple[str, Callable[[Call, str], Awaitable[Request]]]]] = {
    "ask-identity": (
        "More was asked to confirm who asks.",
        lambda c, i: c.desk.serving.requests.ask_identity(i, _who(c, c.form.reason)),
    ),
    "begin": (
        "Somebody works on it.",
        lambda c, i: c.desk.serving.requests.begin(i, _who(c, c.form.reason)),
    ),
    "extend": (
        "Two months more, with the reason that the person was told within the first.",
        lambda c, i: c.desk.serving.requests.extend(i, _who(c, c.form.reason)),
    ),
    "answer": (
        "It was answered.",
        lambda c, i: c.desk.serving.requests.answer(i, _who(c, c.form.reason)),
    ),
    "refuse": (
        "It is refused, with the reason that the person is told.",
        lambda c, i: c.desk.serving.requests.refuse(i, _who(c, c.form.reason)),
    ),
}


async def identify(call: Call) -> personform.Request:
    """The identity was checked in this way; never a copy of a document."""
    request_id = call.path["request"]
    await _get(call, request_id)
    requests = call.desk.serving.requests
    return _shown(await requests.identify(request_id, call.form.how, _who(call)))


def _route(method: str, path: str, summary: str, **how: Any) -> Route:  # noqa: ANN401
    return Route(
        **{
            "method": method,
            "path": path,
            "summary": summary,
            "permission": Permission.SUBJECTS,
            "answer": personform.Request,
            "tag": "requests",
            "may_miss": "{" in path,
            **how,
        }
    )


_ONE: Final = "/v1/requests/{request}"
ROUTES = (
    _route(
        "GET",
        "/v1/requests",
        "Requests that are late or due within a week.",
        permission=Permission.SEARCH,
        handler=index,
        query=recordform.HeldQuery,
        answer=personform.Requests,
    ),
    _route(
        "POST",
        "/v1/requests",
        "Take a request in; the month begins when it arrived.",
        handler=receive,
        body=personform.RequestForm,
    ),
    _route("GET", _ONE, "One request with all its steps; recorded as a read.", handler=show),
    _route(
        "POST",
        _ONE + "/identify",
        "How the identity was checked; never a copy of a document.",
        handler=identify,
        body=personform.IdentifyForm,
    ),
    *(
        _route("POST", f"{_ONE}/{name}", summary, handler=_step(move), body=personform.ReasonForm)
        for name, (summary, move) in _MOVES.items()
    ),
)
