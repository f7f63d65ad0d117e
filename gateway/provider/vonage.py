"""Vonage SMS API, ``/sms/json``.

One recipient a call; a form as the documentation has it and most SDKs send, or the same
fields as JSON, as earlier releases of the Node SDK do.  An opted-out number is accepted
and fails in the delivery receipt with err-code 9.
https://developer.vonage.com/en/api/sms
https://developer.vonage.com/en/opt-out-assist/guides/messaging-opted-out-numbers

The provider answers errors with HTTP 200 and a status in the body.  The gateway's own
refusals have an HTTP status that says so as well: a tool that looks at that alone must
not take them for success.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from gateway.clock import Clock, now_ms
from gateway.contacts.destination import Notation, international_digits
from gateway.provider import signature
from gateway.provider.adapter import Adapter, reads, sends, status_told
from gateway.provider.credential import Basic, Credential, Fields
from gateway.provider.identifier import uuid_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import (
    FORM,
    JSON,
    Answer,
    Pairs,
    Request,
    as_text,
    json_answer,
    names,
    only_field,
    only_known,
    only_member,
    read_form,
    read_object,
    written_form,
)
from gateway.provider.submission import Decided, Fate, Message, Report, Submission, Told

_FIELDS = names(
    "api_key api_secret sig timestamp from to text ttl status-report-req callback message-class"
    " type body udh protocol-id client-ref account-ref entity-id content-id trusted-number"
    " pool-id title url validity vcard vcal"
)
_READ = ("from", "callback", "type", "client-ref", "account-ref", "api_key")
_DIGESTS = {32: "md5", 40: "sha1", 64: "sha256", 128: "sha512"}
"""Of a signature, by the length of its hex digits."""

_THROTTLED, _INVALID, _CREDENTIALS, _INTERNAL, _BARRED = "1", "3", "4", "5", "7"
_TEMPORARY = (_THROTTLED, _INTERNAL, "10")
_CODES = {
    Problem.UNKNOWN_CALLER: _CREDENTIALS,
    Problem.OVER_RATE: _THROTTLED,
    Problem.BUSY: _THROTTLED,
    Problem.QUIET: _THROTTLED,
    Problem.PROVIDER_AWAY: _INTERNAL,
    Problem.UNANSWERED: _INTERNAL,
}
_OPTED_OUT = "9"
_NOTHING = "0.00000000"


@dataclass(frozen=True)
class Signed:
    """``api_key`` and ``sig`` in a form, instead of a secret.

    The age of a tool's own is for the provider to judge.  What it covers are the fields, so that it
    survives the gateway; the plain MD5 of old accounts is not known here.
    https://developer.vonage.com/en/getting-started/concepts/signing-messages
    """

    clock: Clock = now_ms

    def shows(self, request: Request, expected: Credential) -> bool:
        """Whether the form is signed with this credential's secret."""
        pairs = _signed_form(request)
        shown = dict(pairs).get("sig", "")
        digest = _DIGESTS.get(len(shown))
        if digest is None or expected.name not in ("", dict(pairs).get("api_key")):
            return False
        return signature.same(shown.lower(), signature.vonage(expected.secret, pairs, digest))

    def name_in(self, request: Request) -> str:
        """The form's ``api_key``."""
        return dict(_signed_form(request)).get("api_key", "")

    def write(self, request: Request, credential: Credential) -> Request:
        """The form signed now with this credential instead, by the same kind of hash."""
        pairs = _signed_form(request)
        digest = _DIGESTS.get(len(dict(pairs).get("sig", "")), "sha256")
        kept = tuple(pair for pair in pairs if pair[0] not in ("api_key", "sig", "timestamp"))
        stamp = str(self.clock() // 1000)
        kept += (("api_key", credential.name), ("timestamp", stamp))
        signed = signature.vonage(credential.secret, kept, digest)
        return request._replace(body=written_form((*kept, ("sig", signed))))


class Vonage(Adapter):
    """``POST /sms/json``."""

    name = "vonage"
    title = "Vonage SMS API"
    base_url = "https://rest.nexmo.com"
    notation = Notation.INTERNATIONAL
    sends = (sends("POST", r"/sms/json", "read_message"),)
    harmless = reads(
        r"/account/get-balance",
        r"/account/numbers",
        r"/account/get-(?:full-)?pricing/outbound(?:/sms)?",
        r"/search/(?:message|messages|rejections)",
    )
    schemes = (Basic(), Fields("api_key", "api_secret"), Signed())
    grows_old = True
    most = 1

    def read_message(self, request: Request, match: re.Match[str]) -> Submission:
        """The one message of a form, or of a JSON object of the same fields."""
        if _is_json(request) and not request.body.lstrip().startswith((b"{", b"[")):
            # The Python SDK keeps the type of a JSON request before on its client, and
            # sends its form under that name; it leaves as what it is.
            request = request.with_headers({"Content-Type": FORM})
        document = _read_json(request) if _is_json(request) else _read_form(request)
        to = as_text(document["to"], "to")
        one = {name: _text(document, name) for name in _READ}
        readable = one["type"] in ("", "text", "unicode") and document.get("text") is not None
        message = Message(
            one["from"],
            _text(document, "text") if readable else None,
            (to,),
            one["callback"],
        )
        return Submission(request, (message,), (document, one), refuses=False)

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The fields written anew; there is but one recipient."""
        document, _ = submission.document
        if _is_json(submission.request):
            return submission.request._replace(body=orjson.dumps(document))
        return submission.request._replace(body=written_form(tuple(document.items())))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """Status 0 with an id; what it cost and the balance are not known here, so zero."""
        record = decided.first_record()
        if not record:
            return _answer(200, {"status": _INVALID, "error-text": "Invalid value for param: to"})
        _, one = submission.document
        item = {
            "to": international_digits(submission.messages[0].destinations[0]),
            "message-id": uuid_of(record),
            "status": "0",
            "remaining-balance": _NOTHING,
            "message-price": _NOTHING,
            "network": "",
        }
        return _answer(200, item | _references(one))

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """Status 7, "Number Barred", which the provider itself has for barred numbers."""
        _, one = submission.document
        item = {
            "to": international_digits(submission.messages[0].destinations[0]),
            "status": _BARRED,
            "error-text": "Number Barred",
        }
        return _answer(200, item | _references(one))

    def told(self, answer: Answer, submission: Submission, decided: Decided) -> Sequence[Told]:
        """The status in the body; a message of several parts has one for each."""
        usual = status_told(answer.status)
        if usual is Told.ACCEPTED:
            usual = _told_in(answer.body)
        return [usual] * decided.count(Fate.SENT)

    def problem(self, problem: Problem, text: str) -> Answer:
        """The provider's error item, with an HTTP status that says the same."""
        code = _CODES.get(problem, _INVALID)
        return _answer(problem.status, {"status": code, "error-text": text})

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """The delivery receipt of a failed message, as JSON (an account may ask otherwise)."""
        document, one = submission.document
        message = submission.messages[0]
        if not message.report_url or _refused(document):
            return None
        at = datetime.fromtimestamp(decided.at / 1000, UTC)
        message_id = uuid_of(decided.ids[0][0])
        account = one["api_key"] or (Basic().read(submission.request) or Credential("", "")).name
        fields = {
            "msisdn": international_digits(message.destinations[0]),
            "to": message.sender,
            "network-code": "",
            "messageId": message_id,
            "price": _NOTHING,
            "status": "failed",
            "scts": at.strftime("%y%m%d%H%M"),
            "err-code": _OPTED_OUT,
            "api-key": account,
            "message-timestamp": at.strftime("%Y-%m-%d %H:%M:%S"),
        } | _references(one)
        if secret:
            fields |= {"timestamp": str(decided.at // 1000), "nonce": message_id}
            fields["sig"] = signature.vonage(secret, tuple(fields.items()), "sha256").upper()
        return Report(message.report_url, (("Content-Type", JSON),), orjson.dumps(fields))


def _is_json(request: Request) -> bool:
    return request.header("content-type").partition(";")[0].strip().lower() == JSON


def _read_form(request: Request) -> Mapping[str, str]:
    pairs = read_form(request)
    only_field(pairs, "to", needed=True)
    only_known(_FIELDS, pairs, "the form")
    document = dict(pairs)
    if len(document) != len(pairs):
        raise Refusal(Problem.MALFORMED, "a field stands twice")
    return document


def _read_json(request: Request) -> Mapping[str, Any]:
    document = read_object(request)
    only_member(document, "to", needed=True)
    only_known(_FIELDS, document, "the body")
    return document


def _text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return "" if value is None else as_text(value, name)


def _signed_form(request: Request) -> Pairs:
    if request.header("content-type").partition(";")[0].strip().lower() != FORM:
        return ()
    try:
        return read_form(request)
    except Refusal:
        return ()


def _references(one: Mapping[str, str]) -> dict[str, str]:
    return {name: one[name] for name in ("client-ref", "account-ref") if one[name]}


def _refused(document: Mapping[str, Any]) -> bool:
    """Whether the request wants no delivery receipt."""
    return str(document.get("status-report-req", "")).lower() in ("false", "0")


def _told_in(body: bytes) -> Told:
    try:
        items = orjson.loads(body)["messages"]
        statuses = [str(item["status"]) for item in items]
    except (ValueError, KeyError, TypeError):
        return Told.ACCEPTED
    if not statuses or "0" in statuses:
        return Told.ACCEPTED
    return Told.LATER if all(one in _TEMPORARY for one in statuses) else Told.REFUSED


def _answer(status: int, item: Mapping[str, str]) -> Answer:
    return json_answer(status, {"message-count": "1", "messages": [item]})
