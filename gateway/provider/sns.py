"""Amazon SNS, text messages straight to a telephone number; API 2010-03-31.

One action a request, named in a form; one number a call; answers in XML; AWS signatures.
A number that opted out is answered with ``OptedOut``, which the SDKs raise as
OptedOutException.  SNS itself accepts such a message and tells of its failure in the
account's own log alone, where the gateway could not write.
https://docs.aws.amazon.com/sns/latest/api/API_Publish.html
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from gateway.provider.adapter import Adapter, sends
from gateway.provider.identifier import uuid_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import (
    Answer,
    Pairs,
    Request,
    only_field,
    read_form,
    refuse_members,
    written_form,
)
from gateway.provider.sigv4 import SigV4
from gateway.provider.submission import Decided, Fate, Message, Submission, Told

_VERSION = "2010-03-31"
_XML = "text/xml"
_NAMESPACE = f'xmlns="http://sns.amazonaws.com/doc/{_VERSION}/"'

_READS: Final[Mapping[str, re.Pattern[str]]] = {
    "CheckIfPhoneNumberIsOptedOut": re.compile("phoneNumber"),
    "GetSMSAttributes": re.compile(r"attributes\.member\.[1-9][0-9]?"),
    "GetSMSSandboxAccountStatus": re.compile("(?!)"),
    "ListOriginationNumbers": re.compile("NextToken|MaxResults"),
    "ListPhoneNumbersOptedOut": re.compile("nextToken"),
    "ListSMSSandboxPhoneNumbers": re.compile("NextToken|MaxResults"),
}
"""Actions that only read, each with the fields that it may have."""

_FIELDS = ("Action", "Version", "PhoneNumber", "Message", "Subject", "MessageStructure")
_ATTRIBUTE = re.compile(
    r"MessageAttributes\.entry\.([1-9][0-9]?)\.(Name|Value\.(?:DataType|StringValue|BinaryValue))"
).fullmatch
_SENDER_ID = "AWS.SNS.SMS.SenderID"
_ORIGIN = "AWS.MM.SMS.OriginationNumber"
_OF_AWS = {
    _SENDER_ID,
    _ORIGIN,
    "AWS.SNS.SMS.SMSType",
    "AWS.SNS.SMS.MaxPrice",
    "AWS.MM.SMS.EntityId",
    "AWS.MM.SMS.TemplateId",
}
_plain = re.compile(rb"[A-Za-z0-9%&=+.*_~-]*").fullmatch

_ERRORS = {
    Problem.UNKNOWN_CALLER: (403, "InvalidClientTokenId"),
    Problem.UNKNOWN_PATH: (400, "InvalidAction"),
    Problem.TOO_SLOW: (408, "RequestTimeout"),
    Problem.OVER_RATE: (429, "Throttled"),
    Problem.BUSY: (503, "ServiceUnavailable"),
    Problem.QUIET: (503, "ServiceUnavailable"),
    Problem.PROVIDER_AWAY: (503, "ServiceUnavailable"),
    # The SDKs send a request answered with 504 again, and the person may have it already.
    Problem.UNANSWERED: (424, "UnknownOutcome"),
}


class Sns(Adapter):
    """``POST /`` with ``Action=Publish`` and a ``PhoneNumber``."""

    name = "sns"
    title = "Amazon SNS"
    base_url = "https://sns.eu-north-1.amazonaws.com"
    sends = (sends("POST", r"/", "read_publish"),)
    schemes = (SigV4("sns"),)
    signs_host = True
    idempotency = ("amz-sdk-invocation-id",)
    most = 1

    def read(self, request: Request) -> Submission | None:
        """As usual; the action in the body says whether it only reads."""
        if (request.method, request.path, request.query) == ("POST", "/", ""):
            pairs = _fields(request)
            fields = _READS.get(only_field(pairs, "Action", needed=True))
            if fields is not None:
                names = [name for name, _ in pairs if name not in ("Action", "Version")]
                if len(set(names)) != len(names) or not all(map(fields.fullmatch, names)):
                    raise Refusal(Problem.MALFORMED, "a field that the action does not have")
                return None
        return super().read(request)

    def read_publish(self, request: Request, match: re.Match[str]) -> Submission:
        """The one message of a form."""
        pairs = _fields(request)
        action = only_field(pairs, "Action", needed=True)
        if action == "PublishBatch":
            raise Refusal(Problem.HIDDEN_RECIPIENTS, "PublishBatch goes to a topic's subscribers")
        if action != "Publish":
            raise Refusal(Problem.UNKNOWN_PATH, "the gateway does not know this action")
        refuse_members(("TopicArn", "TargetArn"), pairs, "hides who gets it; write PhoneNumber")
        one = {name: only_field(pairs, name) for name in _FIELDS}
        if one["Version"] not in ("", _VERSION):
            raise Refusal(Problem.MALFORMED, f"the Version is not {_VERSION}")
        attributes = _attributes(pairs)
        # With a MessageStructure the text is one of several in a document.
        text = None if one["MessageStructure"] else only_field(pairs, "Message", needed=True)
        sender = attributes.get(_SENDER_ID) or attributes.get(_ORIGIN) or ""
        number = only_field(pairs, "PhoneNumber", needed=True)
        return Submission(request, (Message(sender, text, (number,)),), pairs)

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The form written anew; there is but one recipient."""
        return submission.request._replace(body=written_form(submission.document))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """200 and the message's id."""
        one = uuid_of(decided.ids[0][0])
        return _answer(
            200,
            f"<PublishResponse {_NAMESPACE}>"
            f"<PublishResult><MessageId>{one}</MessageId></PublishResult>"
            f"<ResponseMetadata><RequestId>{one}</RequestId></ResponseMetadata>"
            "</PublishResponse>",
        )

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """400 and ``OptedOut``."""
        return _error(400, "OptedOut", "Phone number is opted out", uuid_of(decided.ids[0][0]))

    def problem(self, problem: Problem, text: str) -> Answer:
        """The XML error of AWS's query protocol."""
        status, code = _ERRORS.get(problem, (problem.status, "InvalidParameter"))
        return _error(status, code, text)

    def told(self, answer: Answer, submission: Submission, decided: Decided) -> Sequence[Told]:
        """By the status; being throttled has that of a faulty request too."""
        if answer.status == 400 and b"<Code>Throttl" in answer.body:
            return [Told.LATER] * decided.count(Fate.SENT)
        return super().told(answer, submission, decided)

    def usable(self, answer: Answer) -> bool:
        """XML, or no body at all."""
        return not answer.body or "xml" in answer.content_type


def _fields(request: Request) -> Pairs:
    # Nothing that is not percent-encoded could part the fields in another way there.
    if not _plain(request.body):
        raise Refusal(Problem.MALFORMED, "the body is not URL-encoded UTF-8")
    return read_form(request)


def _attributes(pairs: Pairs) -> dict[str, str]:
    """The message's attributes; refuses every field that is not known."""
    read: dict[tuple[str, str], str] = {}
    for name, value in pairs:
        if name in _FIELDS:
            continue
        match = _ATTRIBUTE(name)
        if not match:
            raise Refusal(Problem.HIDDEN_RECIPIENTS, "a field that the gateway does not know")
        if (match[1], match[2]) in read:
            raise Refusal(Problem.MALFORMED, "a field of MessageAttributes stands twice")
        read[match[1], match[2]] = value
    found: dict[str, str] = {}
    for (entry, part), name in read.items():
        if part != "Name":
            continue
        if name.casefold() in map(str.casefold, found):
            raise Refusal(Problem.MALFORMED, "a message attribute stands twice")
        if name.casefold().startswith(("aws.", "amazon.")) and name not in _OF_AWS:
            raise Refusal(Problem.HIDDEN_RECIPIENTS, "an attribute of AWS's that is not of SMS")
        found[name] = read.get((entry, "Value.StringValue"), "")
    return found


def _answer(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), _XML)


def _error(status: int, code: str, text: str, request_id: str = "") -> Answer:
    return _answer(
        status,
        f"<ErrorResponse {_NAMESPACE}>"
        f"<Error><Type>{'Sender' if status < 500 else 'Receiver'}</Type>"
        f"<Code>{code}</Code><Message>{escape(text)}</Message></Error>"
        f"<RequestId>{request_id}</RequestId>"
        "</ErrorResponse>",
    )
