"""What the hooks share in reading: fields, documents, numbers and times."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.contacts.contact import ContactError
from gateway.contacts.destination import Notation, parse_destination
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import (
    JSON,
    Pairs,
    Request,
    as_object,
    as_text,
    expect_type,
    only_member,
    pairs_of,
    read_form,
    written_form,
)


def read_fields(request: Request) -> Pairs:
    """The fields of a webhook that comes as a form, or as GET; raises Refusal."""
    return pairs_of(request.query) if request.method == "GET" else read_form(request)


def read_parameters(request: Request) -> Pairs:
    """The parameters of a webhook that comes as GET, as a form or as one JSON object.

    Members of an object that are neither texts nor whole numbers are left out.
    """
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if request.method == "GET" or kind != JSON:
        return read_fields(request)
    members = read_document(request).items()
    return tuple((name, str(one)) for name, one in members if type(one) in (str, int))


def read_document(request: Request, *types: str) -> dict[str, Any]:
    """The JSON object of a webhook; of a content type of these, else ``application/json``.

    Raises Refusal, also where a member stands twice: the tool to which the webhook is
    passed on might take the other one.
    """
    kind = request.header("content-type").partition(";")[0].strip().lower()
    expect_type(request, kind if kind in types else JSON)
    return document_of(request.body)


def document_of(text: bytes | str) -> dict[str, Any]:
    """The one JSON object in a text, no member of it twice; raises Refusal."""
    try:
        # The stricter reader first; the other one is there to see what stands twice.
        orjson.loads(text)
        return as_object(json.loads(text, object_pairs_hook=_once), "the body")
    except (ValueError, RecursionError):
        raise Refusal(Problem.MALFORMED, "the body is not JSON") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise Refusal(Problem.MALFORMED, "a member stands twice")
    return members


def text_of(document: dict[str, Any], name: str, *, needed: bool = False) -> str:
    """A member that is a text or a whole number; "" where it is not there; raises Refusal."""
    value = only_member(document, name, needed=needed)
    return "" if value is None else as_text(value, name)


def object_of(document: dict[str, Any], name: str, *, needed: bool = False) -> dict[str, Any]:
    """A member that is an object; an empty one where it is not there; raises Refusal."""
    value = only_member(document, name, needed=needed)
    return {} if value is None else as_object(value, name)


def unknown_shape() -> Refusal:
    """The refusal of a request that is neither a message nor a known other thing."""
    return Refusal(Problem.MALFORMED, "neither an incoming message nor a delivery report")


def person(text: str) -> str:
    """A person's number in E.164 form; as it is written where it is no number."""
    try:
        return parse_destination(text, Notation.INTERNATIONAL).canonical
    except ContactError:
        return text


def digits(number: str) -> str:
    """A number as the providers want it that write none of the ``+``."""
    return number.removeprefix("+")


def moment(text: str) -> int | None:
    """A time of ISO 8601 in milliseconds; UTC unless it says otherwise; None: unreadable."""
    try:
        when = datetime.fromisoformat(text)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        return round(when.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None


def json_request(path: str, document: object) -> Request:
    """A request with one JSON document."""
    return Request("POST", path, "", (("Content-Type", JSON),), orjson.dumps(document))


def form_request(path: str, *pairs: tuple[str, str]) -> Request:
    """A request with a form."""
    headers = (("Content-Type", "application/x-www-form-urlencoded"),)
    return Request("POST", path, "", headers, written_form(pairs))
