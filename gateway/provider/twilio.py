"""Twilio Programmable Messaging, API 2010-04-01.

One recipient a call, a form, HTTP Basic.  An opted-out number is refused at once with
21610 where the request names its sender; where a messaging service chooses the sender
the message is accepted and fails in the status callback.
https://www.twilio.com/docs/messaging/api/message-resource
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

from gateway.provider import signature
from gateway.provider.adapter import Adapter, changes, reads, sends
from gateway.provider.credential import Basic
from gateway.provider.identifier import hex_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import (
    FORM,
    Answer,
    Pairs,
    Request,
    json_answer,
    only_field,
    only_fields,
    read_form,
    written_form,
)
from gateway.provider.submission import Decided, Message, Report, Submission

_ACCOUNT = r"/2010-04-01/Accounts/(AC[0-9a-f]{32})"
_MESSAGE = r"(?:SM|MM)[0-9a-f]{32}"
_CODES = {
    Problem.UNKNOWN_CALLER: 20003,
    Problem.BAD_RECIPIENT: 21211,
    Problem.UNKNOWN_PATH: 20404,
    Problem.OVER_RATE: 20429,
}
_OPTED_OUT = 21610
_SINGLE = ("From", "MessagingServiceSid", "Body", "StatusCallback", "SendAt", "ScheduleType")


class Twilio(Adapter):
    """``POST …/Messages.json``."""

    name = "twilio"
    title = "Twilio"
    base_url = "https://api.twilio.com"
    sends = (sends("POST", _ACCOUNT + r"/Messages\.json", "read_message"),)
    harmless = (
        *reads(
            _ACCOUNT + r"\.json",
            _ACCOUNT + r"/Messages\.json",
            _ACCOUNT + rf"/Messages/{_MESSAGE}\.json",
            _ACCOUNT + rf"/Messages/{_MESSAGE}/Media(?:/ME[0-9a-f]{{32}})?\.json",
        ),
        # Redacts a text or cancels what is scheduled.
        changes("POST", _ACCOUNT + rf"/Messages/{_MESSAGE}\.json"),
        changes("DELETE", _ACCOUNT + rf"/Messages/{_MESSAGE}\.json"),
    )
    schemes = (Basic(),)
    idempotency = ("i-twilio-idempotency-token", "idempotency-key")

    def read_message(self, request: Request, match: re.Match[str]) -> Submission:
        """The one message of a form."""
        pairs = read_form(request)
        one = only_fields(pairs, "To", *_SINGLE)
        to = one["To"]
        if not to:
            raise Refusal(Problem.MALFORMED, "the field To is missing")
        service = one["MessagingServiceSid"]
        # A template takes the place of the text that may stand beside it.
        named = {name for name, _ in pairs}
        has_text = "Body" in named and "ContentSid" not in named
        message = Message(
            one["From"] or service,
            one["Body"] if has_text else None,
            (to,),
            one["StatusCallback"],
        )
        return Submission(
            request,
            (message,),
            (match[1], pairs, service),
            refuses=not service,
            scheduled=bool(one["SendAt"] or one["ScheduleType"]),
        )

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The form written anew; there is but one recipient."""
        return submission.request.with_body(written_form(submission.document[1]))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """201 and the message resource, queued."""
        record = decided.first_record()
        if not record:
            return self.problem(Problem.BAD_RECIPIENT, "The 'To' number is not a valid number.")
        account, pairs, service = submission.document
        message = submission.messages[0]
        sid = f"SM{hex_of(record)}"
        made = format_datetime(datetime.fromtimestamp(decided.at / 1000, UTC))
        uri = f"/2010-04-01/Accounts/{account}/Messages/{sid}"
        document: dict[str, Any] = {
            "account_sid": account,
            "api_version": "2010-04-01",
            "body": message.text or "",
            "date_created": made,
            "date_sent": None,
            "date_updated": made,
            "direction": "outbound-api",
            "error_code": None,
            "error_message": None,
            "from": only_field(pairs, "From") or None,
            "messaging_service_sid": service or None,
            "num_media": "0",
            "num_segments": "0" if service else "1",
            "price": None,
            "price_unit": None,
            "sid": sid,
            "status": "accepted" if service else "queued",
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": message.destinations[0],
            "uri": f"{uri}.json",
        }
        return json_answer(201, document)

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """400 and code 21610."""
        return _error(400, _OPTED_OUT, "Attempt to send to unsubscribed recipient")

    def problem(self, problem: Problem, text: str) -> Answer:
        """Twilio's JSON error."""
        status = problem.status
        usual = 20001 if status < 500 else 20000 + status
        return _error(status, _CODES.get(problem, usual), text)

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """The status callback of a failed message."""
        message = submission.messages[0]
        if not message.report_url:
            return None
        account, pairs, service = submission.document
        sid = f"SM{hex_of(decided.ids[0][0])}"
        fields: Pairs = (
            ("ErrorCode", str(_OPTED_OUT)),
            ("SmsSid", sid),
            ("SmsStatus", "failed"),
            ("MessageStatus", "failed"),
            ("To", message.destinations[0]),
            ("MessageSid", sid),
            ("AccountSid", account),
            ("ApiVersion", "2010-04-01"),
        )
        # Some parsers of forms drop an empty field, and with it the signature's fit.
        if sender := only_field(pairs, "From"):
            fields += (("From", sender),)
        if service:
            fields += (("MessagingServiceSid", service),)
        headers = [("Content-Type", FORM)]
        if secret:
            signed = signature.twilio(secret, message.report_url, fields)
            headers.append(("X-Twilio-Signature", signed))
        return Report(message.report_url, tuple(headers), written_form(fields))


def _error(status: int, code: int, text: str) -> Answer:
    return json_answer(
        status,
        {
            "code": code,
            "message": text,
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        },
    )
