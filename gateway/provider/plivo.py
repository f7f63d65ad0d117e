"""Plivo, ``…/Message/``.

Up to 1,000 destinations a call, joined by ``<``.  The answer has an id for each, in
their order and without repetitions, and apart from them the numbers that are none.  An
opted-out number is accepted and fails in the callback with code 200.
https://www.plivo.com/docs/messaging/api/message/send-a-message
https://www.plivo.com/docs/messaging/troubleshooting/error-codes
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import orjson

from gateway.contacts.destination import Notation, international_digits
from gateway.provider import signature
from gateway.provider.adapter import Adapter, reads, sends, status_told
from gateway.provider.credential import Basic
from gateway.provider.identifier import integer_of, uuid_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import (
    FORM,
    Answer,
    Pairs,
    Request,
    as_text,
    json_answer,
    names,
    only_known,
    only_member,
    read_object,
    written_form,
)
from gateway.provider.submission import Decided, Fate, Message, Report, Submission, Told

_ACCOUNT = "/v1/Account/[A-Z0-9]{20}"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MEMBERS = names(
    "src dst text type url method log trackable powerpack_uuid media_urls media_ids"
    " message_expiry dlt_entity_id dlt_template_id dlt_template_category"
)
_READ = ("src", "powerpack_uuid", "type", "url", "method")
_TYPES = ("", "sms", "mms")
_OPTED_OUT = 200
_NUMBERLESS = (Fate.BLOCKED, Fate.INVALID)


class Plivo(Adapter):
    """``POST …/Message/``."""

    name = "plivo"
    title = "Plivo"
    base_url = "https://api.plivo.com"
    notation = Notation.INTERNATIONAL
    sends = (sends("POST", _ACCOUNT + "/Message/", "read_message"),)
    harmless = reads(
        _ACCOUNT + "/",
        _ACCOUNT + "/Message/",
        _ACCOUNT + f"/Message/{_UUID}/",
        _ACCOUNT + f"/Message/{_UUID}/Media/",
    )
    schemes = (Basic(),)
    tells_each = True
    most = 1000

    def read_message(self, request: Request, match: re.Match[str]) -> Submission:
        """The one message and its destinations."""
        document = read_object(request)
        joined = as_text(only_member(document, "dst", needed=True), "dst")
        only_known(_MEMBERS, document, "the body")
        one = {name: _text(document, name) for name in _READ}
        if one["type"] not in _TYPES:
            raise Refusal(Problem.MALFORMED, "only the types sms and mms are carried here")
        message = Message(
            one["src"] or one["powerpack_uuid"],
            None if document.get("text") is None else _text(document, "text"),
            tuple(one for one in joined.split("<") if one.strip()),
            one["url"],
        )
        return Submission(request, (message,), (document, one), refuses=False)

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The document with the destinations that are kept."""
        document, _ = submission.document
        left = "<".join(submission.messages[0].destinations[place] for place in kept[0])
        return submission.request._replace(body=orjson.dumps({**document, "dst": left}))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """202 and an id for each destination; numbers that get none stand apart."""
        record = decided.first_record()
        if not record:
            return self.problem(Problem.BAD_RECIPIENT, "no destination number is valid")
        taken = decided.indices(Fate.TAKEN)
        answer: dict[str, Any] = {
            "api_id": uuid_of(record),
            "message": "message(s) queued",
            "message_uuid": [uuid_of(decided.ids[0][place]) for _, place in taken],
        }
        if numberless := _numbers(submission, decided, _NUMBERLESS):
            answer["invalid_number"] = numberless
        return json_answer(202, answer)

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """400 and an error, as for a request without a number to send to."""
        error = "all destination numbers have opted out of receiving messages"
        return json_answer(400, {"api_id": uuid_of(decided.first_record()), "error": error})

    def merged(self, answer: Answer, submission: Submission, decided: Decided) -> Answer:
        """The provider's ids with ours in the places of those it never saw."""
        try:
            document = {**answer.json()}
            theirs = iter(list(document["message_uuid"]))
            unsent = _digits(document.get("invalid_number") or ())
        except (ValueError, KeyError, TypeError, AttributeError):
            return answer
        ids: list[Any] = []
        for place, fate in enumerate(decided.fates[0]):
            number = submission.messages[0].destinations[place]
            if fate is Fate.SENT and international_digits(number) not in unsent:
                ids += [one for one in (next(theirs, None),) if one is not None]
            elif fate is Fate.TAKEN:
                ids.append(uuid_of(decided.ids[0][place]))
        document["message_uuid"] = [*ids, *theirs]
        if numberless := _numbers(submission, decided, _NUMBERLESS):
            document["invalid_number"] = [*(document.get("invalid_number") or ()), *numberless]
        return answer.with_body(orjson.dumps(document))

    def told(self, answer: Answer, submission: Submission, decided: Decided) -> Sequence[Told]:
        """Refused are the numbers that the answer lists as invalid."""
        usual = status_told(answer.status)
        sent = [submission.messages[0].destinations[at] for _, at in decided.indices(Fate.SENT)]
        if usual is not Told.ACCEPTED:
            return [usual] * len(sent)
        try:
            unsent = _digits(answer.json().get("invalid_number") or ())
        except (ValueError, TypeError, AttributeError):
            unsent = frozenset()
        return [Told.REFUSED if international_digits(one) in unsent else usual for one in sent]

    def problem(self, problem: Problem, text: str) -> Answer:
        """The provider's error."""
        return json_answer(problem.status, {"error": text})

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """The callback of a failed message, with the method that the request names."""
        message = submission.messages[0]
        if not message.report_url:
            return None
        _, one = submission.document
        message_id = uuid_of(decided.ids[0][place])
        fields: Pairs = (
            ("From", one["src"]),
            ("To", international_digits(message.destinations[place])),
            ("MessageUUID", message_id),
            ("ParentMessageUUID", message_id),
            ("PartInfo", "1 of 1"),
            ("Status", "failed"),
            ("ErrorCode", str(_OPTED_OUT)),
            ("Type", one["type"] or "sms"),
            ("Units", "1"),
            ("TotalRate", "0"),
            ("TotalAmount", "0"),
            ("PowerpackUUID", one["powerpack_uuid"]),
        )
        url, body, method = message.report_url, written_form(fields), "POST"
        headers = [("Content-Type", FORM)]
        if one["method"].upper() == "GET":
            url = f"{url}{'&' if '?' in url else '?'}{body.decode()}"
            headers, body, method = [], b"", "GET"
        if secret:
            nonce = str(integer_of(decided.ids[0][place]))
            headers.append(("X-Plivo-Signature-V2", signature.plivo(secret, url, nonce)))
            headers.append(("X-Plivo-Signature-V2-Nonce", nonce))
        return Report(url, tuple(headers), body, method)


def _numbers(submission: Submission, decided: Decided, fates: Iterable[Fate]) -> list[str]:
    """The destinations of these fates, in order, as the request writes them."""
    numbers = submission.messages[0].destinations
    return [numbers[at] for at, fate in enumerate(decided.fates[0]) if fate in fates]


def _digits(numbers: Iterable[Any]) -> frozenset[str]:
    return frozenset(international_digits(str(one)) for one in numbers)


def _text(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return "" if value is None else as_text(value, name)
