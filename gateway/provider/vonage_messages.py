"""Vonage Messages API, version 1, channel ``sms``.

One message a call, and in ``failover`` the messages that take its place, one after the
other, where it fails; each has a recipient of its own, and each is asked about.  A
message that may not go counts as failed: the first that may goes in its place.  An
opted-out number is accepted and rejected in the status webhook.
https://developer.vonage.com/en/api/messages
https://developer.vonage.com/en/messages/guides/failover-message
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.contacts.destination import Notation, international_digits
from gateway.provider import signature
from gateway.provider.adapter import Adapter, changes, sends
from gateway.provider.credential import Basic, Credential, Token
from gateway.provider.identifier import uuid_of
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
from gateway.provider.submission import Decided, Message, Report, Submission

_PROBLEM_JSON = "application/problem+json"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_MEMBERS = names(
    "channel message_type to from text ttl sms trusted_recipient client_ref webhook_url"
    " webhook_version"
)
_OPTIONS = names("encoding_type content_id entity_id pool_id")
_ERRORS = "https://developer.vonage.com/api-errors"
_TITLES = {
    Problem.UNKNOWN_CALLER: ("#unauthorized", "You did not provide correct credentials."),
    Problem.BAD_RECIPIENT: ("/messages#1170", "Invalid or Missing Msisdn Param"),
    Problem.UNKNOWN_PATH: ("#not-found", "Not Found"),
    Problem.OVER_RATE: ("/messages#1000", "Throttled"),
}
_MALFORMED = ("/messages#1020", "Invalid Params")
_UNPROCESSABLE = 422
_INTERNAL = ("/messages#1030", "Internal Error")
_BARRED = ("/messages#1050", "Number Barred")
_OPTED_OUT = "1240"


class VonageMessages(Adapter):
    """``POST /v1/messages``."""

    name = "vonage_messages"
    title = "Vonage Messages API"
    base_url = "https://api.nexmo.com"
    notation = Notation.INTERNATIONAL
    sends = (sends("POST", r"/v1/messages", "read_messages"),)
    # Marks an incoming message as read, or revokes one.
    harmless = (changes("PATCH", rf"/v1/messages/{_UUID}"),)
    schemes = (Basic(), Token("Bearer"))
    grows_old = True
    most = 100

    def read_messages(self, request: Request, match: re.Match[str]) -> Submission:
        """The message and those that may take its place."""
        document = read_object(request)
        messages = tuple(
            _message(one, what, _MEMBERS | {"failover"} if one is document else _MEMBERS)
            for one, what in _chain(document)
        )
        return Submission(request, messages, document, refuses=False)

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The first message that may go, and as its failover the others."""
        chain = [one for one, _ in _chain(submission.document)]
        first, *rest = [one for one, places in zip(chain, kept, strict=True) if places]
        document = {name: value for name, value in first.items() if name != "failover"}
        if rest:
            document["failover"] = rest
        return submission.request._replace(body=orjson.dumps(document))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """202 and the id of the message; with failover, that of the workflow too."""
        record = decided.first_record()
        if not record:
            return self.problem(Problem.BAD_RECIPIENT, "The value of to is no telephone number")
        document = {"message_uuid": uuid_of(record)}
        if len(submission.messages) > 1:
            document["workflow_id"] = uuid_of(record)
        return json_answer(202, document)

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """An error that names a barred number, as the provider's list of errors has it."""
        return _error(_UNPROCESSABLE, _BARRED, "The number is barred from receiving messages.")

    def problem(self, problem: Problem, text: str) -> Answer:
        """The provider's error (RFC 7807), 422 for what it cannot process."""
        usual = _INTERNAL if problem.status >= 500 else _MALFORMED
        status = _UNPROCESSABLE if problem.status == 400 else problem.status
        return _error(status, _TITLES.get(problem, usual), text)

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """The status webhook of a rejected message; None where version 0.1 is asked for."""
        message = submission.messages[number]
        sent = next(one for at, (one, _) in enumerate(_chain(submission.document)) if at == number)
        if not message.report_url or sent.get("webhook_version") == "v0.1":
            return None
        message_id = uuid_of(decided.ids[number][place])
        at = datetime.fromtimestamp(decided.at / 1000, UTC)
        document: dict[str, Any] = {
            "message_uuid": message_id,
            "to": international_digits(message.destinations[place]),
            "from": message.sender,
            "timestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "status": "rejected",
            "error": {
                "type": f"{_ERRORS}/messages#{_OPTED_OUT}",
                "title": _OPTED_OUT,
                "detail": "The user has requested not to receive messages from this sender.",
                "instance": message_id,
            },
            "channel": "sms",
        }
        if reference := sent.get("client_ref"):
            document["client_ref"] = reference
        body = orjson.dumps(document)
        headers = [("Content-Type", JSON)]
        if secret:
            account = (Basic().read(submission.request) or Credential("", "")).name
            claims = {
                "iat": decided.at // 1000,
                "jti": message_id,
                "iss": "Vonage",
                "payload_hash": signature.sha256_hex(body),
                "api_key": account,
            }
            headers.append(("Authorization", f"Bearer {signature.jwt(secret, claims)}"))
        return Report(message.report_url, tuple(headers), body)


def _chain(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """The message and those that may take its place, each with what it is called."""
    yield document, "the body"
    others = only_member(document, "failover")
    if others not in (None, []):
        for place, one in enumerate(as_list(others, "failover")):
            what = f"failover[{place}]"
            yield as_object(one, what), what


def _message(document: dict[str, Any], what: str, members: frozenset[str]) -> Message:
    # Other channels have recipients of other kinds, in other places (cc and bcc of mail).
    if only_member(document, "channel", needed=True) != "sms":
        raise Refusal(Problem.MALFORMED, f"{what}: only the channel sms is carried here")
    to = as_text(only_member(document, "to", needed=True), f"{what}: to")
    only_known(members, document, what)
    options = document.get("sms")
    if options is not None:
        only_known(_OPTIONS, as_object(options, f"{what}: sms"), f"{what}: sms")
    return Message(
        _text(document, "from", what),
        _text(document, "text", what) if document.get("text") is not None else None,
        (to,),
        _text(document, "webhook_url", what),
    )


def _text(document: dict[str, Any], name: str, what: str) -> str:
    value = document.get(name)
    return "" if value is None else as_text(value, f"{what}: {name}")


def _error(status: int, error: tuple[str, str], detail: str) -> Answer:
    kind, title = error
    document = {"type": f"{_ERRORS}{kind}", "title": title, "detail": detail, "instance": ""}
    return Answer(status, orjson.dumps(document), _PROBLEM_JSON)
