"""LINK Mobility, the REST API of its Common platform.

A message to one number, or a batch of up to 1000 messages; JSON.  A blocked number is
accepted and fails in a delivery report, which goes to a gate that is known to the
provider alone.  The gateway cannot send it there, so the answer tells of it: it has a
result for each message.
https://www.linkmobility.com/developer/ (SMS REST API, MT and delivery reports)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from gateway.provider.adapter import Adapter, changes, sends, status_told
from gateway.provider.credential import Basic, Token
from gateway.provider.identifier import uuid_of
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
)
from gateway.provider.submission import Decided, Fate, Message, Submission, Told

_MOST = 1000
_SHARED = names(
    "useDeliveryReport deliveryReportGates relativeValidityTime absoluteValidityTime"
    " platformId platformPartnerId ignoreResponse customParameters"
)
_MESSAGE = _SHARED | names(
    "source sourceTON destination destinationTON dcs userDataHeader userData priority refId"
    " tariff currency vat age productDescription productCategory moReferenceId"
)
_BATCH = _SHARED | {"sendRequestMessages"}
_RESULTS = {
    Fate.TAKEN: (1005, "Queued"),
    Fate.BLOCKED: (2105, "Destination blocked"),
    Fate.INVALID: (2106, "Number error"),
}
_CODES = {Problem.UNKNOWN_CALLER: 106100, Problem.BAD_RECIPIENT: 2106}
_UNKNOWN_ERROR = 106000
_LATER = frozenset((1, 3, 4, 2107))
"""Results that may be others later: routing, throttling, time, a passing block."""


class Link(Adapter):
    """``/sms/send`` and ``/sms/sendbatch``."""

    name = "link"
    title = "LINK Mobility"
    base_url = "https://wsx.sp247.net"
    sends = (
        sends("POST", r"/sms/send", "read_one"),
        sends("POST", r"/sms/sendbatch", "read_batch"),
    )
    # Where a client fetches the token that it shows.
    harmless = (changes("POST", r"/auth/token"),)
    schemes = (Basic(), Token("Bearer"))
    tells_each = True
    most = _MOST

    def read_one(self, request: Request, match: re.Match[str]) -> Submission:
        """``{source, destination, userData, platformId, platformPartnerId}``."""
        document = read_object(request)
        message = _read(document, "the message")
        return _submission(request, document, (message,), batch=False)

    def read_batch(self, request: Request, match: re.Match[str]) -> Submission:
        """``{platformId, platformPartnerId, sendRequestMessages: [{source, destination}]}``."""
        document = read_object(request)
        only_known(_BATCH, document, "the batch")
        listed = as_list(
            only_member(document, "sendRequestMessages", needed=True), "sendRequestMessages", _MOST
        )
        messages = tuple(
            _read(as_object(one, what), what)
            for what, one in ((f"sendRequestMessages[{n}]", one) for n, one in enumerate(listed))
        )
        return _submission(request, document, messages, batch=True)

    def perishes(self, request: Request) -> bool:
        """Whether it shows an access token, which is good for a short time."""
        return request.header("authorization").partition(" ")[0].lower() == "bearer"

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The document with the messages that are kept."""
        document, batch = submission.document
        if batch:
            messages = document["sendRequestMessages"]
            going = [one for one, places in zip(messages, kept, strict=True) if places]
            document = {**document, "sendRequestMessages": going}
        return submission.request._replace(body=orjson.dumps(document))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """200 and a result for each message; 204 where the tool wants no answer."""
        document, batch = submission.document
        if document.get("ignoreResponse") is True:
            return Answer(204)
        results = list(_results(decided, iter(())))
        return json_answer(200, results if batch else results[0])

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """A batch: as one that is accepted.  A message: 403, for many look at the status."""
        if submission.document[1]:
            return self.accepted(submission, decided)
        return json_answer(403, next(_results(decided, iter(()))))

    def merged(self, answer: Answer, submission: Submission, decided: Decided) -> Answer:
        """The provider's results with ours in the places of those it never saw."""
        if not submission.document[1]:
            return answer
        try:
            theirs = answer.json()
        except ValueError:
            return answer
        if not isinstance(theirs, list):
            return answer
        rest = iter(theirs)
        return answer.with_body(orjson.dumps([*_results(decided, rest), *rest]))

    def told(self, answer: Answer, submission: Submission, decided: Decided) -> Sequence[Told]:
        """Each result's own code."""
        usual = status_told(answer.status)
        said = [usual] * decided.count(Fate.SENT)
        if usual is not Told.ACCEPTED:
            return said
        try:
            results = answer.json()
            listed = results if isinstance(results, list) else [results]
            codes = [int(one["resultCode"]) for one in listed]
        except (ValueError, KeyError, TypeError):
            return said
        for place, code in enumerate(codes[: len(said)]):
            if not 1000 <= code < 2000:
                said[place] = Told.LATER if code in _LATER else Told.REFUSED
        return said

    def problem(self, problem: Problem, text: str) -> Answer:
        """``{resultCode, description}``."""
        code = _CODES.get(problem, _UNKNOWN_ERROR)
        return json_answer(problem.status, {"resultCode": code, "description": text})


def _submission(
    request: Request, document: dict[str, Any], messages: tuple[Message, ...], *, batch: bool
) -> Submission:
    parts = [document, *(document["sendRequestMessages"] if batch else ())]
    scheduled = any("schedul" in str(part.get("customParameters")).lower() for part in parts)
    return Submission(request, messages, (document, batch), scheduled=scheduled)


def _read(message: dict[str, Any], what: str) -> Message:
    only_known(_MESSAGE, message, what)
    destination = only_member(message, "destination", needed=True)
    if message.get("destinationTON") not in (None, "MSISDN"):
        raise Refusal(Problem.BAD_RECIPIENT, f"{what}: destinationTON is not MSISDN")
    source, text = message.get("source"), message.get("userData")
    binary = str(message.get("dcs")).upper() == "BINARY"
    return Message(
        "" if source is None else as_text(source, f"{what}: source"),
        None if text is None or binary else as_text(text, f"{what}: userData"),
        (as_text(destination, f"{what}: destination"),),
    )


def _results(decided: Decided, theirs: Iterator[Any]) -> Iterator[Any]:
    """A result for each message; the provider's own for those it was sent."""
    for (fate,), (record,) in zip(decided.fates, decided.ids, strict=True):
        if fate is Fate.SENT:
            own = next(theirs, None)
            if own is not None:
                yield own
        elif fate in _RESULTS:
            code, description = _RESULTS[fate]
            yield {
                "messageId": uuid_of(record) if record else "",
                "resultCode": code,
                "description": description,
            }
