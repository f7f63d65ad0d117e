"""MessageBird's classic REST API, now Bird's: ``/messages``.

Up to 50 recipients a call, as a list or as one text with commas (both SDKs send that).
The answer has a status for each recipient.  An opted-out number is accepted there and
fails in the status report, with code 103.
https://developers.messagebird.com/api/sms-messaging
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.contacts.destination import Notation, international_digits
from gateway.provider import signature
from gateway.provider.adapter import Adapter, changes, reads, sends, status_told
from gateway.provider.credential import Token
from gateway.provider.identifier import hex_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import (
    Answer,
    Request,
    as_list,
    as_object,
    as_text,
    json_answer,
    names,
    only_known,
    only_member,
    read_object,
    refuse_members,
    written_form,
)
from gateway.provider.submission import Decided, Fate, Message, Report, Submission, Told

_MEMBERS = names(
    "id href direction type originator body recipients reference reportUrl validity gateway"
    " typeDetails datacoding mclass shortenUrls scheduledDatetime createdDatetime"
)
_TYPE_DETAILS = names("udh")
_GROUPS = ("groupIds", "groupId", "groups")
_ID = "[0-9A-Za-z-]{8,64}"
_ECHOED = {
    "originator": None,
    "body": None,
    "reference": None,
    "validity": None,
    "gateway": None,
    "datacoding": "plain",
    "mclass": 1,
    "scheduledDatetime": None,
}
"""Members of the message that the answer repeats, with their defaults."""

_FAILED = "delivery_failed"
_OPTED_OUT = 103
_REASONS = {Fate.BLOCKED: ("opted out", _OPTED_OUT), Fate.INVALID: ("incorrect number", None)}
_CODES = {
    Problem.UNKNOWN_CALLER: 2,
    Problem.MALFORMED: 9,
    Problem.BAD_RECIPIENT: 9,
    Problem.UNKNOWN_PATH: 98,
}
_HOUR = 3600


class MessageBird(Adapter):
    """``POST /messages``."""

    name = "messagebird"
    title = "MessageBird"
    base_url = "https://rest.messagebird.com"
    notation = Notation.INTERNATIONAL
    sends = (sends("POST", r"/messages", "read_message"),)
    harmless = (
        *reads(r"/balance", r"/messages", rf"/messages/{_ID}"),
        # Cancels what is scheduled.
        changes("DELETE", rf"/messages/{_ID}"),
    )
    schemes = (Token("AccessKey"),)
    tells_each = True
    most = 50

    def read_message(self, request: Request, match: re.Match[str]) -> Submission:
        """The one message and its recipients."""
        document = read_object(request)
        # Some SDKs write every member that they know, null where it is not set.
        document = {one: value for one, value in document.items() if value or one not in _GROUPS}
        refuse_members(_GROUPS, document, "name recipients that are not shown; list their numbers")
        listed = only_member(document, "recipients", needed=True)
        only_known(_MEMBERS, document, "the body")
        if details := document.get("typeDetails"):
            only_known(_TYPE_DETAILS, as_object(details, "typeDetails"), "typeDetails")
        kind = _text(document, "type")
        readable = kind in ("", "sms", "flash") and document.get("body") is not None
        message = Message(
            _text(document, "originator"),
            _text(document, "body") if readable else None,
            _destinations(listed),
            _text(document, "reportUrl"),
        )
        scheduled = bool(document.get("scheduledDatetime"))
        return Submission(request, (message,), document, refuses=False, scheduled=scheduled)

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The document with the recipients that are kept, listed in the way they were."""
        document = submission.document
        listed = document["recipients"]
        if isinstance(listed, list):
            left: object = [listed[place] for place in kept[0]]
        else:
            left = ",".join(submission.messages[0].destinations[place] for place in kept[0])
        return submission.request._replace(body=orjson.dumps({**document, "recipients": left}))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """201 and the message, with an item for each recipient."""
        document = submission.document
        record = decided.first_record()
        if not record:
            return self.problem(Problem.BAD_RECIPIENT, "no (correct) recipients found")
        message_id = hex_of(record)
        items = list(_items(submission, decided, iter(())))
        answer: dict[str, Any] = {
            "id": message_id,
            "href": f"{self.base_url}/messages/{message_id}",
            "direction": "mt",
            "type": document.get("type") or "sms",
            **{
                name: usual if document.get(name) is None else document[name]
                for name, usual in _ECHOED.items()
            },
            "typeDetails": document.get("typeDetails") or {},
            "createdDatetime": _time(decided.at),
            "recipients": _counted(items),
        }
        return json_answer(201, answer)

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """As an accepted request: each item says that its delivery failed."""
        return self.accepted(submission, decided)

    def merged(self, answer: Answer, submission: Submission, decided: Decided) -> Answer:
        """The provider's items with ours in the places of those it never saw."""
        try:
            document = {**answer.json()}
            theirs = iter(list(document["recipients"]["items"]))
        except (ValueError, KeyError, TypeError):
            return answer
        items = [*_items(submission, decided, theirs), *theirs]
        document["recipients"] = {**document["recipients"], **_counted(items)}
        return answer.with_body(orjson.dumps(document))

    def told(self, answer: Answer, submission: Submission, decided: Decided) -> Sequence[Told]:
        """Each item's own status."""
        usual = status_told(answer.status)
        sent = decided.indices(Fate.SENT)
        if usual is not Told.ACCEPTED:
            return [usual] * len(sent)
        try:
            items = answer.json()["recipients"]["items"]
            failed = {str(one["recipient"]) for one in items if one["status"] == _FAILED}
        except (ValueError, KeyError, TypeError):
            return [usual] * len(sent)
        numbers = submission.messages[0].destinations
        return [
            Told.REFUSED if international_digits(numbers[place]) in failed else usual
            for _, place in sent
        ]

    def problem(self, problem: Problem, text: str) -> Answer:
        """The provider's list of errors, 422 for what it cannot process."""
        status = 422 if problem.status in (400, 415) else problem.status
        code = _CODES.get(problem, 99 if status >= 500 else 21)
        parameter = "recipients" if problem is Problem.BAD_RECIPIENT else None
        error = {"code": code, "description": text, "parameter": parameter}
        return json_answer(status, {"errors": [error]})

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """The status report of a failed delivery: a GET with everything in the query."""
        message = submission.messages[0]
        if not message.report_url:
            return None
        query = written_form(
            (
                ("id", _answered_id(decided)),
                ("reference", _text(submission.document, "reference")),
                ("recipient", international_digits(message.destinations[place])),
                ("status", _FAILED),
                ("statusReason", "opted out"),
                ("statusErrorCode", str(_OPTED_OUT)),
                ("statusDatetime", _time(decided.at)),
            )
        ).decode()
        url = f"{message.report_url}{'&' if '?' in message.report_url else '?'}{query}"
        headers: tuple[tuple[str, str], ...] = ()
        if secret:
            seconds = decided.at // 1000
            claims = {
                "iss": "MessageBird",
                "nbf": seconds,
                "exp": seconds + _HOUR,
                "jti": hex_of(decided.ids[0][place]),
                "url_hash": signature.sha256_hex(url.encode()),
            }
            headers = (("MessageBird-Signature-JWT", signature.jwt(secret, claims)),)
        return Report(url, headers, b"", method="GET")


def _answered_id(decided: Decided) -> str:
    """The message's id as the tool knows it: the provider's, where it made one."""
    if decided.answered is not None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(orjson.loads(decided.answered.body)["id"])
    return hex_of(decided.first_record())


def _destinations(listed: object) -> tuple[str, ...]:
    if not isinstance(listed, list):
        return tuple(one for one in as_text(listed, "recipients").split(",") if one.strip())
    each = tuple(as_text(one, "each of recipients") for one in as_list(listed, "recipients"))
    # A provider that splits at commas would find several in one.
    if any("," in one for one in each):
        raise Refusal(Problem.MALFORMED, "a comma in an entry of recipients; write one number")
    return each


def _items(
    submission: Submission, decided: Decided, theirs: Iterator[Any]
) -> Iterator[dict[str, Any]]:
    """An item for each recipient; the provider's own for those it was sent."""
    message = submission.messages[0]
    for place, fate in enumerate(decided.fates[0]):
        if fate is Fate.SENT:
            item = next(theirs, None)
            if item is not None:
                yield item
        elif fate is not Fate.REPEATED:
            digits = international_digits(message.destinations[place])
            own: dict[str, Any] = {
                "recipient": int(digits) if digits else 0,
                "status": "scheduled" if submission.scheduled else "sent",
                "statusDatetime": _time(decided.at),
                "messagePartCount": 1,
            }
            if fate in _REASONS:
                reason, code = _REASONS[fate]
                own |= {"status": _FAILED, "statusReason": reason, "statusErrorCode": code}
            yield own


def _counted(items: list[Any]) -> dict[str, Any]:
    failed = sum(one.get("status") == _FAILED for one in items)
    delivered = sum(one.get("status") == "delivered" for one in items)
    waiting = sum(one.get("status") in ("scheduled", "buffered") for one in items)
    return {
        "totalCount": len(items),
        "totalSentCount": len(items) - failed - waiting,
        "totalDeliveredCount": delivered,
        "totalDeliveryFailedCount": failed,
        "items": items,
    }


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return "" if value is None else as_text(value, name)


def _time(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds // 1000, UTC).isoformat()
