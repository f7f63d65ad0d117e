"""Telnyx Messaging, API version 2.

One recipient a call, JSON.  An opted-out number is refused at once with 409 and 40300.
The provider's clients repeat a 409 unless the answer says that they should not.
https://developers.telnyx.com/api/messaging/send-message
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.provider.adapter import Adapter, changes, reads, sends
from gateway.provider.credential import Token
from gateway.provider.identifier import uuid_of
from gateway.provider.problem import Problem
from gateway.provider.request import (
    Answer,
    Request,
    as_text,
    json_answer,
    names,
    only_known,
    only_member,
    read_object,
)
from gateway.provider.submission import Decided, Message, Submission

_UUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_BODY = names(
    "to from messaging_profile_id text subject media_urls type encoding auto_detect send_at"
    " webhook_url webhook_failover_url use_profile_webhooks"
)
_ERRORS = {
    Problem.UNKNOWN_CALLER: ("10009", "Authentication failed"),
    Problem.BAD_RECIPIENT: ("10002", "Invalid phone number"),
    Problem.UNKNOWN_PATH: ("10005", "Resource not found"),
    Problem.TOO_SLOW: ("10008", "Request timeout"),
    Problem.OVER_RATE: ("10011", "Too many requests"),
    Problem.WRONG_TYPE: ("10014", "Unsupported Media Type"),
}
_BAD_REQUEST = ("10015", "Bad Request")
_UNEXPECTED = ("10007", "Unexpected error")
_STOPPED = ("40300", "Blocked due to STOP message")


class Telnyx(Adapter):
    """``POST /v2/messages``."""

    name = "telnyx"
    title = "Telnyx"
    base_url = "https://api.telnyx.com"
    sends = (sends("POST", r"/v2/messages", "read_message"),)
    harmless = (
        *reads(
            rf"/v2/messages/(?:group/)?{_UUID}",
            r"/v2/messaging_optouts",
            rf"/v2/messaging_profiles(?:/{_UUID}(?:/phone_numbers|/short_codes)?)?",
            r"/v2/balance",
        ),
        # Cancels what is scheduled.
        changes("DELETE", rf"/v2/messages/{_UUID}"),
    )
    schemes = (Token("Bearer"),)

    def read_message(self, request: Request, match: re.Match[str]) -> Submission:
        """The one message of a JSON object."""
        document = read_object(request)
        only_known(_BODY, document, "the message")
        text = document.get("text")
        message = Message(
            _text(document, "from") or _text(document, "messaging_profile_id"),
            None if text is None else as_text(text, "text"),
            (as_text(only_member(document, "to", needed=True), "to"),),
            _text(document, "webhook_url"),
        )
        return Submission(
            request,
            (message,),
            document,
            scheduled=document.get("send_at") is not None,
        )

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The object written anew; there is but one recipient."""
        return submission.request._replace(body=orjson.dumps(submission.document))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """200 and the message, queued."""
        document, message = submission.document, submission.messages[0]
        made = f"{datetime.fromtimestamp(decided.at / 1000, UTC):%Y-%m-%dT%H:%M:%S.%f}+00:00"
        media = [{"url": url} for url in document.get("media_urls") or ()]
        data: dict[str, Any] = {
            "record_type": "message",
            "direction": "outbound",
            "id": uuid_of(decided.first_record()),
            "type": document.get("type") or ("MMS" if media else "SMS"),
            "messaging_profile_id": document.get("messaging_profile_id"),
            "from": {"phone_number": document.get("from"), "carrier": "", "line_type": ""},
            "to": [
                {
                    "phone_number": message.destinations[0],
                    "status": "scheduled" if submission.scheduled else "queued",
                    "carrier": "",
                    "line_type": "",
                }
            ],
            "cc": [],
            "text": message.text,
            "subject": document.get("subject"),
            "media": media,
            "webhook_url": document.get("webhook_url"),
            "webhook_failover_url": document.get("webhook_failover_url"),
            "encoding": "GSM-7",
            "parts": 1,
            "tags": [],
            "cost": None,
            "received_at": made,
            "sent_at": None,
            "completed_at": None,
            "valid_until": None,
            "errors": [],
        }
        return json_answer(200, {"data": data})

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """409 and 40300, not to be repeated."""
        detail = "Messages cannot be sent to this number due to an existing block rule."
        return _error(409, _STOPPED, detail, again=False)

    def problem(self, problem: Problem, text: str) -> Answer:
        """``{errors: [{code, title, detail}]}``.

        Not to be repeated either, unless nothing was sent and it may be later: the
        clients repeat every 408, 409, 429 and 5xx by themselves.
        """
        usual = _UNEXPECTED if problem.status >= 500 else _BAD_REQUEST
        return _error(problem.status, _ERRORS.get(problem, usual), text, again=problem.temporary)


def _text(document: dict[str, Any], name: str) -> str:
    value = only_member(document, name)
    return "" if value is None else as_text(value, name)


def _error(status: int, named: tuple[str, str], detail: str, *, again: bool) -> Answer:
    code, title = named
    errors = {"errors": [{"code": code, "title": title, "detail": detail}]}
    return json_answer(status, errors) if again else json_answer(status, errors, **_NOT_AGAIN)


_NOT_AGAIN = {"x_should_retry": "false"}
