"""``/v1/subjects``: people, and what they may ask for (GDPR 15-21).

Each is recorded before anything is shown or done, under the account's name.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import orjson

from gateway.api import form, personform
from gateway.api.account import Permission
from gateway.api.address import contact_at
from gateway.api.desk import Call
from gateway.api.problem import BadMember, Problem, bad_request, not_found
from gateway.api.route import Document, Route
from gateway.api.scope import ban_scope
from gateway.decision.facts import PersonClass
from gateway.subject.access import Report
from gateway.subject.directory import PersonStateError, Stored
from gateway.subject.erasure import ErasureRefused, Ground
from gateway.subject.people import Who
from gateway.subject.person import Language, Objection
from gateway.subject.portability import to_csv
from gateway.subject.portability import to_json as portable
from gateway.subject.report import to_html, to_json

_JSON: Final = "application/json"
_HTML: Final = "text/html"
_CSV: Final = "text/csv"


def _who(call: Call, reason: str = "") -> Who:
    return Who(call.account.name, reason or call.reason)


def _shown(stored: Stored) -> personform.Subject:
    return personform.Subject(id=stored.person.id, person=orjson.loads(stored.person.to_json()))


async def find(call: Call) -> personform.Subjects:
    """Who has, or had, a contact."""
    contact = contact_at(call.form.contact, "/contact")
    found = await call.desk.serving.people.find(contact, _who(call))
    return personform.Subjects(subjects=[_shown(one) for one in found])


async def show(call: Call) -> personform.Subject:
    """What is kept of a person."""
    try:
        return _shown(await call.desk.serving.people.read(call.path["subject"], _who(call)))
    except PersonStateError as error:
        raise not_found(str(error)) from None


async def add(call: Call) -> personform.Subject:
    """Make a person of contacts that belong together."""
    asked: personform.SubjectForm = call.form
    contacts = [contact_at(text, f"/contacts/{n}") for n, text in enumerate(asked.contacts)]
    stored = await call.desk.serving.people.add(
        _who(call),
        name=asked.name,
        contacts=contacts,
        source=asked.source,
        language=Language(asked.language),
        person_class=PersonClass(asked.person_class),
    )
    return _shown(stored)


async def link(call: Call) -> personform.Subject:
    """Add a contact; every ban of the person holds for it at once."""
    contact = contact_at(call.form.contact, "/contact")
    stored = await call.desk.serving.people.link(
        call.path["subject"], contact, _who(call), source=call.form.source
    )
    return _shown(stored)


async def object_(call: Call) -> personform.Subject:
    """Ban marketing (or contact, or disclosure) to every contact of a person."""
    asked: personform.ObjectionForm = call.form
    scope, channel = ban_scope(asked.scope, asked.topic)
    objection = Objection(
        words=asked.words,
        received=form.milliseconds_or_now(asked.received),
        scope=scope,
        channel=channel,
        topic=asked.topic,
        how=asked.how,
        by=call.account.name,
    )
    wishes = call.desk.serving.wishes
    return _shown(await wishes.object(call.path["subject"], objection, _who(call)))


async def withdraw(call: Call) -> personform.Subject:
    """Withdraw a person's consents of a channel and topic."""
    asked: personform.PersonWithdrawForm = call.form
    wishes = call.desk.serving.wishes
    stored = await wishes.withdraw(
        call.path["subject"], asked.channel, asked.topic, _who(call), words=asked.words
    )
    return _shown(stored)


async def restrict(call: Call) -> personform.Subject:
    """Restrict processing (GDPR 18)."""
    wishes = call.desk.serving.wishes
    return _shown(await wishes.restrict(call.path["subject"], _who(call, call.form.reason)))


async def unrestrict(call: Call) -> personform.Subject:
    """Lift the restriction; the person is told before (GDPR 18(3))."""
    wishes = call.desk.serving.wishes
    return _shown(await wishes.unrestrict(call.path["subject"], _who(call, call.form.reason)))


async def access(call: Call) -> Document:
    """All that is known of a person, as one file to read or as JSON."""
    asked: personform.AccessForm = call.form
    report = await _report(call, asked.language, content=asked.content, staff=asked.staff_names)
    if asked.format == "html":
        return Document(_HTML, to_html(report).encode())
    return Document(_JSON, to_json(report))


async def portability(call: Call) -> Document:
    """What the person provided, for another controller."""
    report = await _report(call, None, content=False, staff=False)
    if call.form.format == "csv":
        return Document(_CSV, to_csv(report))
    return Document(_JSON, portable(report))


async def _report(call: Call, language: str | None, *, content: bool, staff: bool) -> Report:
    return await call.desk.serving.access.report(
        call.path["subject"],
        _who(call),
        language=None if language is None else Language(language),
        content=content,
        staff=staff,
    )


async def erase(call: Call) -> personform.Erasing:
    """Erase a person for good, or say what would be done."""
    asked: personform.EraseForm = call.form
    erasure = call.desk.serving.erasure
    subject = call.path["subject"]
    if asked.check:
        found = await erasure.check(subject, _who(call, asked.reason))
    else:
        if not asked.reason.strip():
            raise bad_request("say why", BadMember("/reason", "it is recorded"))
        try:
            found = await erasure.erase(
                subject,
                _who(call, asked.reason),
                excepted=[Ground(one) for one in asked.excepted],
                request_id=asked.request,
            )
        except ErasureRefused as refused:
            raise Problem(
                HTTPStatus.CONFLICT,
                "still-needed",
                refused.text,
                [BadMember("/excepted", one.ground) for one in refused.obstacles],
            ) from None
    return personform.Erasing(
        subject=found.person_id,
        contacts=len(found.contacts),
        shared=len(found.shared),
        obstacles=[
            personform.Obstacle(ground=one.ground, reference=one.reference, until=one.until)
            for one in found.obstacles
        ],
        held_discarded=found.discarded,
        tools_untold=found.untold,
        keys_destroyed=found.keys,
        ended=found.ended,
    )


def _route(method: str, path: str, summary: str, **how: Any) -> Route:  # noqa: ANN401
    return Route(
        **{
            "method": method,
            "path": path,
            "summary": summary,
            "permission": Permission.SUBJECTS,
            "answer": personform.Subject,
            "tag": "subjects",
            "may_miss": "{" in path,
            **how,
        }
    )


_ONE: Final = "/v1/subjects/{subject}"
ROUTES = (
    _route(
        "POST",
        "/v1/subjects/find",
        "Who has, or had, a contact; recorded as a search.",
        handler=find,
        body=personform.OneContact,
        answer=personform.Subjects,
    ),
    _route(
        "POST",
        "/v1/subjects",
        "Make a person of contacts that belong together: they share their bans from now on.",
        handler=add,
        body=personform.SubjectForm,
    ),
    _route("GET", _ONE, "What is kept of a person; recorded as a read.", handler=show),
    _route(
        "POST",
        _ONE + "/contacts",
        "Add a contact; every ban of the person holds for it at once.",
        handler=link,
        body=personform.LinkForm,
    ),
    _route(
        "POST",
        _ONE + "/object",
        "Ban marketing, contact or disclosure for every contact of a person.",
        handler=object_,
        body=personform.ObjectionForm,
    ),
    _route(
        "POST",
        _ONE + "/withdraw",
        "Withdraw a person's consents of a channel and topic.",
        handler=withdraw,
        body=personform.PersonWithdrawForm,
    ),
    _route(
        "POST",
        _ONE + "/restrict",
        "Restrict processing.",
        handler=restrict,
        body=personform.ReasonForm,
    ),
    _route(
        "POST",
        _ONE + "/unrestrict",
        "Lift the restriction.",
        handler=unrestrict,
        body=personform.ReasonForm,
    ),
    _route(
        "POST",
        _ONE + "/access",
        "All that is known of a person: JSON, or one HTML file to read and print.",
        handler=access,
        body=personform.AccessForm,
        answer=None,
        produces=(_JSON, _HTML),
    ),
    _route(
        "POST",
        _ONE + "/portability",
        "What the person provided: JSON or CSV.",
        handler=portability,
        body=personform.PortabilityForm,
        answer=None,
        produces=(_JSON, _CSV),
    ),
    _route(
        "POST",
        _ONE + "/erase",
        "Erase a person for good; with check it only says what would be done.",
        handler=erase,
        body=personform.EraseForm,
        answer=personform.Erasing,
        permission=Permission.ERASE,
        may_conflict=True,
    ),
)
