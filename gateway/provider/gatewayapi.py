"""GatewayAPI, ``/rest/mtsms``.

Messages to up to 10,000 numbers each; JSON (one message or a list) or a form with dotted
names.  A blacklisted number is refused at once with 403 and 0x0215, and with it the
request.  The answer has an id for each message and tells of no single recipient.
https://gatewayapi.com/docs/apis/rest/
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Sequence
from typing import Any

import orjson

from gateway.contacts.destination import Notation, international_digits
from gateway.provider import signature
from gateway.provider.adapter import Adapter, changes, reads, sends
from gateway.provider.credential import Basic, Fields, Query, Token
from gateway.provider.identifier import integer_of, uuid_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import (
    FORM,
    JSON,
    Answer,
    Pairs,
    Request,
    as_list,
    as_object,
    as_text,
    json_answer,
    names,
    only_field,
    only_known,
    only_member,
    pairs_of,
    read_form,
    read_json,
    written_form,
)
from gateway.provider.submission import Decided, Fate, Message, Report, Submission

_CREDENTIALS = ("token", "user", "password")
_SINGLE = names(
    "class message sender sendtime userref priority validity_period encoding destaddr payload"
    " udh callback_url label max_parts extra_details"
)
_MESSAGE = _SINGLE | {"tags", "recipients"}
_RECIPIENT = names("msisdn tagvalues charge")
_FIELDS = _SINGLE | set(_CREDENTIALS)
# A place is written in one way, or two fields could be one recipient's.
_PLACE = r"(?:0|[1-9][0-9]{0,4})"
_tag = re.compile(rf"tags\.{_PLACE}").fullmatch
_recipient = re.compile(
    rf"recipients\.({_PLACE})\.(msisdn|tagvalues\.{_PLACE}|charge\.[a-z]+)"
).fullmatch
_CODES = {
    Problem.UNKNOWN_CALLER: "0x0211",
    Problem.HIDDEN_RECIPIENTS: "0x0220",
    Problem.OVER_RATE: "0x0309",
    Problem.BUSY: "0x0309",
    Problem.QUIET: "0x0309",
    Problem.PROVIDER_AWAY: "0x0309",
}
_INVALID_ARGUMENT = "0x0308"
_UNKNOWN_ERROR = "0x0301"
_BLACKLISTED = "0x0215"
_DESTINATION_BLOCKED = "0x1034"


class GatewayApi(Adapter):
    """``POST /rest/mtsms``."""

    name = "gatewayapi"
    title = "GatewayAPI"
    base_url = "https://gatewayapi.com"
    notation = Notation.INTERNATIONAL
    # A GET of the same path sends too; it stands in no table.
    sends = (sends("POST", r"/rest/mtsms", "read_messages", *_CREDENTIALS),)
    harmless = (
        *reads(r"/rest/mtsms/[0-9]+", r"/rest/me", r"/rest/mosms", r"/api/prices/list/sms/[a-z]+"),
        # Takes back what is scheduled.
        changes("DELETE", r"/rest/mtsms/[0-9]+"),
    )
    schemes = (
        Basic(token_name=True),
        Token("Token"),
        Query("token"),
        Basic(),
        Fields("user", "password"),
    )

    def read(self, request: Request) -> Submission | None:
        """As every adapter's; a signature of the request is refused first."""
        in_query = any(name.startswith("oauth_") for name, _ in pairs_of(request.query))
        if in_query or request.header("authorization").strip().lower().startswith("oauth"):
            raise _signed()
        return super().read(request)

    def read_messages(self, request: Request, match: re.Match[str]) -> Submission:
        """The message of a form, or those of a JSON document."""
        if request.header("content-type").partition(";")[0].strip().lower() == FORM:
            return _of_form(request)
        document = read_json(request)
        listed = as_list(document, "the body") if isinstance(document, list) else [document]
        messages = tuple(_of_json(one, f"message {n + 1}") for n, one in enumerate(listed))
        scheduled = any(one.get("sendtime") is not None for one in listed)
        return Submission(request, messages, document, scheduled=scheduled)

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The messages to those that are kept, without messages to none.

        The query is written anew as well: some parsers see more than one field in it
        where there is a ``;``.
        """
        query = written_form(pairs_of(submission.request.query)).decode()
        request = submission.request._replace(query=query)
        document = submission.document
        if isinstance(document, tuple):
            return request._replace(body=written_form(_narrowed_form(document, kept[0])))
        listed = document if isinstance(document, list) else [document]
        messages = [
            {**one, "recipients": [one["recipients"][place] for place in places]}
            for one, places in zip(listed, kept, strict=True)
            if places
        ]
        written = messages if isinstance(document, list) else messages[0]
        return request._replace(body=orjson.dumps(written))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """200, an id for each message, and a usage of nothing."""
        usage = {"countries": {}, "currency": "EUR", "total_cost": 0.0}
        ids = [_message_id(decided, number) for number in range(len(decided.ids))]
        return json_answer(200, {"ids": ids, "usage": usage})

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """403 and 0x0215; which number it is, the provider's text says and ours does not."""
        document = {
            "code": _BLACKLISTED,
            "incident_uuid": uuid_of(decided.first_record()),
            "message": "MSISDN blacklisted",
        }
        return json_answer(403, document)

    def merged(self, answer: Answer, submission: Submission, decided: Decided) -> Answer:
        """The provider's answer with ids in the places of messages that it never saw."""
        sent = [Fate.SENT in fates for fates in decided.fates]
        if all(sent):
            return answer
        try:
            document = {**answer.json()}
            theirs = iter(list(document["ids"]))
        except (ValueError, KeyError, TypeError):
            return answer
        ids: list[Any] = []
        for number, was_sent in enumerate(sent):
            own = next(theirs, None) if was_sent else _message_id(decided, number)
            if own is not None:
                ids.append(own)
        document["ids"] = [*ids, *theirs]
        return answer.with_body(orjson.dumps(document))

    def problem(self, problem: Problem, text: str) -> Answer:
        """``{code, message}``; what is empty is left out."""
        usual = _INVALID_ARGUMENT if problem.status < 500 else _UNKNOWN_ERROR
        code = _CODES.get(problem, usual)
        return json_answer(problem.status, {"code": code, "message": text})

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """A delivery status notification of a rejected message."""
        message = submission.messages[number]
        if not message.report_url:
            return None
        told: dict[str, Any] = {
            "id": _answered_id(decided, number),
            "msisdn": int(international_digits(message.destinations[place]) or 0),
            "time": decided.at // 1000,
            "status": "REJECTED",
            "error": "Error, destination blocked",
            "code": _DESTINATION_BLOCKED,
            "userref": _userref(submission.document, number),
        }
        headers = [("Content-Type", JSON)]
        if secret:
            headers.append(("X-Gwapi-Signature", signature.jwt(secret, told)))
        return Report(message.report_url, tuple(headers), orjson.dumps(told))


def _signed() -> Refusal:
    return Refusal(
        Problem.UNKNOWN_CALLER,
        "OAuth 1.0a signs the provider's host and cannot pass the gateway; use the API token",
    )


def _of_json(value: object, what: str) -> Message:
    message = as_object(value, what)
    only_known(_MESSAGE, message, what)
    listed = as_list(only_member(message, "recipients", needed=True), f"{what}: recipients")
    destinations = []
    for place, each in enumerate(listed):
        where = f"{what}: recipients[{place}]"
        recipient = as_object(each, where)
        only_known(_RECIPIENT, recipient, where)
        number = only_member(recipient, "msisdn", needed=True)
        destinations.append(as_text(number, f"{where}: msisdn"))
    one = {name: message.get(name) for name in ("sender", "message", "callback_url")}
    read = {
        name: None if value is None else as_text(value, f"{what}: {name}")
        for name, value in one.items()
    }
    return Message(
        read["sender"] or "", read["message"], tuple(destinations), read["callback_url"] or ""
    )


def _of_form(request: Request) -> Submission:
    pairs = read_form(request)
    if any(name.startswith("oauth_") for name, _ in pairs):
        raise _signed()
    seen: set[str] = set()
    numbers: dict[int, str] = {}
    places: dict[int, int] = {}
    for name, value in pairs:
        if name in seen:
            raise Refusal(Problem.MALFORMED, "a field stands twice")
        seen.add(name)
        if found := _recipient(name):
            place = int(found[1])
            places.setdefault(place, len(places))
            if found[2] == "msisdn":
                numbers[place] = value
        elif not _tag(name):
            only_known(_FIELDS, ((name, value),), "the form")
    if numbers.keys() != places.keys():
        raise Refusal(Problem.MALFORMED, "a recipient has no msisdn")
    one = {name: only_field(pairs, name) for name in ("sender", "message", "callback_url")}
    message = Message(
        one["sender"],
        one["message"] if "message" in seen else None,
        tuple(numbers[place] for place in places),
        one["callback_url"],
    )
    return Submission(request, (message,), pairs, scheduled="sendtime" in seen)


def _narrowed_form(pairs: Pairs, kept: Sequence[int]) -> Pairs:
    """The fields without the recipients that are not kept, the others numbered anew."""
    seen: dict[str, int] = {}
    numbers = {place: number for number, place in enumerate(kept)}
    going: list[tuple[str, str]] = []
    for name, value in pairs:
        if not (found := _recipient(name)):
            going.append((name, value))
            continue
        place = seen.setdefault(found[1], len(seen))
        if place in numbers:
            going.append((f"recipients.{numbers[place]}.{found[2]}", value))
    return tuple(going)


def _userref(document: Any, number: int) -> str | None:  # noqa: ANN401 - as it was read
    if isinstance(document, tuple):
        return only_field(document, "userref") or None
    one = document[number] if isinstance(document, list) else document
    reference = one.get("userref")
    return None if reference is None else str(reference)


def _answered_id(decided: Decided, number: int) -> int:
    """A message's id as the tool knows it: the provider's, where it made one."""
    if decided.answered is not None:
        with contextlib.suppress(ValueError, KeyError, TypeError, IndexError):
            return int(orjson.loads(decided.answered.body)["ids"][number])
    return _message_id(decided, number)


def _message_id(decided: Decided, number: int) -> int:
    """An id for a message: its first record's."""
    return integer_of(next((record for record in decided.ids[number] if record), ""))
