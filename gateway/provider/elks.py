"""46elks SMS.

One recipient a call, a form, HTTP Basic.  No code for an opted-out number is known: it is
taken to be accepted and to fail in the delivery report.  Errors are plain text.
https://46elks.com/docs/send-sms
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from gateway.provider.adapter import Adapter, Path, SendPath
from gateway.provider.credential import Basic
from gateway.provider.identifier import hex_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import (
    FORM,
    Answer,
    Pairs,
    Request,
    json_answer,
    names,
    only_field,
    only_known,
    read_form,
    written_form,
)
from gateway.provider.submission import Decided, Message, Report, Submission

_TEXT = "text/plain; charset=utf-8"
_FIELDS = names("from to message whendelivered flashsms dryrun dontlog")
_SINGLE = ("from", "whendelivered")


def _path(pattern: str) -> re.Pattern[str]:
    """A path, whose letters' case does not matter to the provider."""
    return re.compile(pattern, re.IGNORECASE | re.ASCII)


class Elks(Adapter):
    """``POST /a1/sms``, also written ``/a1/SMS``."""

    name = "46elks"
    title = "46elks"
    base_url = "https://api.46elks.com"
    sends = (SendPath("POST", _path(r"/a1/sms"), "read_message"),)
    harmless = (
        Path("GET", _path(r"/a1/sms(?:/s[0-9a-f]{32})?")),
        Path("GET", _path(r"/a1/me")),
    )
    schemes = (Basic(),)

    def read_message(self, request: Request, match: re.Match[str]) -> Submission:
        """The one message of a form."""
        pairs = read_form(request)
        to = only_field(pairs, "to", needed=True)
        if "," in to:
            raise Refusal(Problem.BAD_RECIPIENT, "to names several; send to one a request")
        sender, url = (only_field(pairs, name) for name in _SINGLE)
        only_known(_FIELDS, pairs, "the form")
        has_text = any(name == "message" for name, _ in pairs)
        text = only_field(pairs, "message") if has_text else None
        return Submission(request, (Message(sender, text, (to,), url),), pairs, refuses=False)

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The form written anew; there is but one recipient."""
        return submission.request._replace(body=written_form(submission.document))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """200 and the message, created."""
        message = submission.messages[0]
        made = datetime.fromtimestamp(decided.at / 1000, UTC).replace(tzinfo=None)
        document: dict[str, Any] = {
            "status": "created",
            "direction": "outgoing",
            "from": message.sender,
            "created": made.isoformat(timespec="microseconds"),
            "parts": 1,
            "to": message.destinations[0],
            "cost": 0,
            "message": message.text or "",
            "id": _id(decided),
        }
        return json_answer(200, document)

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """403 in plain text."""
        return _error(403, "The recipient has opted out")

    def problem(self, problem: Problem, text: str) -> Answer:
        """Plain text."""
        return _error(problem.status, text)

    def usable(self, answer: Answer) -> bool:
        """JSON; an error may be plain text."""
        plain = not answer.good and answer.content_type.startswith("text/plain")
        return plain or super().usable(answer)

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """The form that ``whendelivered`` gets of a failed message; the provider signs none."""
        message = submission.messages[0]
        if not message.report_url:
            return None
        fields: Pairs = (("id", _id(decided)), ("status", "failed"))
        return Report(message.report_url, (("Content-Type", FORM),), written_form(fields))


def _id(decided: Decided) -> str:
    return f"s{hex_of(decided.first_record())}"


def _error(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), _TEXT)
