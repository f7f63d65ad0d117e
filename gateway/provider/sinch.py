"""Sinch SMS, the batches of its XMS REST API.

One text to up to 1000 numbers a call, JSON.  The answer tells of no single recipient: an
opted-out number is accepted and fails in the delivery report.
https://developers.sinch.com/docs/sms/api-reference/sms/batches
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NoReturn

import orjson

from gateway.contacts.contact import ContactError
from gateway.contacts.destination import Notation, parse_destination
from gateway.provider import signature
from gateway.provider.adapter import Adapter, changes, reads, sends
from gateway.provider.credential import Token
from gateway.provider.identifier import hex_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import (
    JSON,
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
)
from gateway.provider.submission import Decided, Fate, Message, Report, Submission

_PLAN = r"/xms/v1/[0-9A-Za-z_-]+"
_BATCHES = rf"{_PLAN}/batches"
_BATCH = rf"{_BATCHES}/[0-9A-Za-z]+"
_MOST = 1000
_BODY = names(
    "to from body type parameters udh campaign_id tags delivery_report send_at expire_at"
    " callback_url client_reference feedback_enabled flash_message truncate_concat"
    " max_number_of_message_parts from_ton from_npi strict_validation"
)
# A group's id is written where a number is; it has letters or is of no number's form.
_number = re.compile(r"[+0-9() ./-]+").fullmatch
_CODES = {
    Problem.UNKNOWN_CALLER: "unauthorized",
    Problem.BAD_RECIPIENT: "syntax_invalid_parameter_format",
    Problem.UNKNOWN_PATH: "not_found",
    Problem.OVER_RATE: "too_many_requests",
}
_LISTED = (Fate.SENT, Fate.TAKEN, Fate.REPEATED)
_ABORTED = {"code": 408, "status": "Aborted"}
"""Refused before the network, for good; no code is known that names an opt-out."""
_DEFAULT = "default"


class Sinch(Adapter):
    """``POST /xms/v1/{plan}/batches``."""

    name = "sinch"
    title = "Sinch"
    base_url = "https://eu.sms.api.sinch.com"
    notation = Notation.INTERNATIONAL
    sends = (
        sends("POST", _BATCHES, "read_batch"),
        # Both may add recipients, or give those of an earlier batch another text.
        sends("POST", _BATCH, "refuse_change"),
        sends("PUT", _BATCH, "refuse_change"),
    )
    harmless = (
        *reads(
            _BATCHES,
            _BATCH,
            rf"{_BATCH}/delivery_report(?:/(?:\+|%2B)?[0-9]+)?",
            rf"{_PLAN}/delivery_reports",
            rf"{_PLAN}/inbounds(?:/[0-9A-Za-z]+)?",
            rf"{_PLAN}/groups(?:/[0-9A-Za-z]+(?:/members)?)?",
        ),
        # Counts parts; tells that a message was acted on; cancels what is scheduled.
        changes("POST", rf"{_BATCHES}/dry_run"),
        changes("POST", rf"{_BATCH}/delivery_feedback"),
        changes("DELETE", _BATCH),
    )
    schemes = (Token("Bearer"),)
    most = _MOST

    def read_batch(self, request: Request, match: re.Match[str]) -> Submission:
        """``{to: [number], from, body, parameters}``."""
        document = read_object(request)
        only_known(_BODY, document, "the batch")
        listed = as_list(only_member(document, "to", needed=True), "to", _MOST)
        destinations = tuple(listed)
        if set(map(type, listed)) != {str}:
            destinations = tuple(as_text(one, f"to[{place}]") for place, one in enumerate(listed))
        if not all(map(_number, destinations)):
            raise Refusal(
                Problem.HIDDEN_RECIPIENTS, "to holds a group's id or no number; write its members"
            )
        for by_number in _parameters(document).values():
            as_object(by_number, "a parameter")
        sender = document.get("from")
        message = Message(
            "" if sender is None else as_text(sender, "from"),
            _text_of(document),
            destinations,
            str(document.get("callback_url") or ""),
        )
        return Submission(
            request,
            (message,),
            document,
            refuses=False,
            scheduled=document.get("send_at") is not None,
        )

    def refuse_change(self, request: Request, match: re.Match[str]) -> NoReturn:
        """Refuse to change a batch: it names not all of those who get the message."""
        raise Refusal(
            Problem.HIDDEN_RECIPIENTS,
            "a batch cannot be changed through the gateway; cancel it and send a new one",
        )

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The batch to those that are kept, without what is personal to the others."""
        document = submission.document
        to = [document["to"][place] for place in kept[0]]
        changed = {**document, "to": to}
        if parameters := _parameters(document):
            people = {_DEFAULT, *(_key(str(one)) for one in to)}
            changed["parameters"] = {
                name: {who: value for who, value in by_number.items() if _key(who) in people}
                for name, by_number in parameters.items()
            }
        return submission.request._replace(body=orjson.dumps(changed))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """201 and the batch."""
        made = _time(decided.at)
        defaults = {
            "type": "mt_text",
            "delivery_report": "none",
            "feedback_enabled": False,
            "flash_message": False,
        }
        document = {
            "id": decided.first_record(),
            **defaults,
            **submission.document,
            "to": _listed(submission, decided, ()),
            "canceled": False,
            "created_at": made,
            "modified_at": made,
        }
        return json_answer(201, document)

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """403; the provider itself would accept the batch and report that it failed."""
        return _error(403, "forbidden", "The recipients have opted out")

    def merged(self, answer: Answer, submission: Submission, decided: Decided) -> Answer:
        """The provider's batch, with those in ``to`` that were accepted here."""
        try:
            document = {**answer.json()}
            theirs = list(document["to"])
        except (ValueError, KeyError, TypeError):
            return answer
        document["to"] = _listed(submission, decided, theirs)
        return answer.with_body(orjson.dumps(document))

    def problem(self, problem: Problem, text: str) -> Answer:
        """``{code, text}``."""
        usual = "syntax_constraint_violation" if problem.status == 400 else problem.name.lower()
        return _error(problem.status, _CODES.get(problem, usual), text)

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """A delivery report of the kind that the batch asks for."""
        message, document = submission.messages[0], submission.document
        kind = str(document.get("delivery_report") or "none")
        if not message.report_url or kind == "none":
            return None
        to = message.destinations[place]
        told: dict[str, Any] = {"batch_id": _batch_id(decided)}
        if reference := document.get("client_reference"):
            told["client_reference"] = reference
        media = "mms" if document.get("type") == "mt_media" else "sms"
        if kind in ("summary", "full"):
            status = {**_ABORTED, "count": 1} | ({"recipients": [to]} if kind == "full" else {})
            told |= {
                "type": f"delivery_report_{media}",
                "statuses": [status],
                "total_message_count": 1,
            }
        else:
            told |= {
                "type": f"recipient_delivery_report_{media}",
                "recipient": to,
                **_ABORTED,
                "at": _time(decided.at),
            }
        body = orjson.dumps(told)
        headers = [("Content-Type", JSON)]
        if secret:
            nonce, stamp = hex_of(decided.ids[number][place]), str(decided.at // 1000)
            headers += [
                ("x-sinch-webhook-signature", signature.sinch(secret, body, nonce, stamp)),
                ("x-sinch-webhook-signature-algorithm", "HmacSHA256"),
                ("x-sinch-webhook-signature-nonce", nonce),
                ("x-sinch-webhook-signature-timestamp", stamp),
            ]
        return Report(message.report_url, tuple(headers), body)


def _text_of(document: dict[str, Any]) -> str | None:
    body = document.get("body")
    if document.get("type") == "mt_binary":
        return None
    if isinstance(body, dict):
        body = body.get("message")
    return None if body is None else as_text(body, "body")


def _parameters(document: dict[str, Any]) -> dict[str, Any]:
    return as_object(document.get("parameters") or {}, "parameters")


def _key(who: str) -> str:
    """Whom a key of a parameter means, however the number is written."""
    try:
        return parse_destination(who, Notation.INTERNATIONAL).canonical
    except ContactError:
        return who


def _listed(submission: Submission, decided: Decided, theirs: Iterable[Any]) -> list[Any]:
    """Those that the batch is to, in order, as the provider writes those it was sent."""
    fates = decided.fates[0]
    written = list(theirs)
    # Where the provider has put two into one, nobody knows which entry is whose.
    known = len(written) == fates.count(Fate.SENT)
    if known and len(written) == len(fates):
        return written
    own = iter(written if known else [])
    return [
        next(own, one) if fate is Fate.SENT else one
        for one, fate in zip(submission.document["to"], fates, strict=True)
        if fate in _LISTED
    ]


def _batch_id(decided: Decided) -> str:
    """The batch's id as the tool knows it: the provider's, where it made one."""
    if decided.answered is not None:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            return str(orjson.loads(decided.answered.body)["id"])
    return decided.first_record()


def _time(at: int) -> str:
    moment = datetime.fromtimestamp(at / 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at % 1000:03}Z"


def _error(status: int, code: str, text: str) -> Answer:
    return json_answer(status, {"code": code, "text": text})
