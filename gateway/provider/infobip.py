"""Infobip SMS, API versions 2 and 3.

Many messages to many destinations a call, JSON.  The answer tells of each destination,
so that what is suppressed stands in it beside what was sent.
https://www.infobip.com/docs/api/channels/sms
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from operator import itemgetter
from typing import Any

import orjson

from gateway.contacts.destination import Notation
from gateway.provider.adapter import Adapter, changes, reads, sends, status_told
from gateway.provider.credential import Basic, Token
from gateway.provider.identifier import uuid_of
from gateway.provider.problem import Problem
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
from gateway.provider.submission import Decided, Fate, Message, Report, Submission, Told

_PENDING = {
    "groupId": 1,
    "groupName": "PENDING",
    "id": 26,
    "name": "PENDING_ACCEPTED",
    "description": "Message sent to next instance",
}
_BLOCKED = {
    "groupId": 5,
    "groupName": "REJECTED",
    "id": 14,
    "name": "REJECTED_DESTINATION_BLOCKLISTED",
    "description": "Destination is on the block list",
}
_INVALID = {
    "groupId": 5,
    "groupName": "REJECTED",
    "id": 52,
    "name": "REJECTED_DESTINATION",
    "description": "Invalid destination address",
}
_STATUS = {Fate.TAKEN: _PENDING, Fate.BLOCKED: _BLOCKED, Fate.INVALID: _INVALID}
_REJECTED_GROUP = 5
_to = itemgetter("to")

# What each part may hold: anything else could name recipients that nobody asked about.
_BODY = {
    True: names("messages options"),
    False: names("messages bulkId tracking urlOptions sendingSpeedLimit includeSmsCountInResponse"),
}
_MESSAGE = {
    True: names("sender destinations content options webhooks"),
    False: names(
        "from destinations text flash language transliteration intermediateReport notifyUrl"
        " notifyContentType callbackData validityPeriod sendAt deliveryTimeWindow regional"
        " campaignReferenceId entityId applicationId"
    ),
}
_OPTIONS = names("platform validityPeriod deliveryTimeWindow campaignReferenceId regional flash")
_DESTINATION = names("to messageId networkId urlOptions")


class Infobip(Adapter):
    """``/sms/3/messages`` and ``/sms/2/text/advanced``."""

    name = "infobip"
    title = "Infobip"
    base_url = "https://api.infobip.com"
    notation = Notation.INTERNATIONAL
    sends = (
        sends("POST", r"/sms/3/messages", "read_v3"),
        sends("POST", r"/sms/2/text/advanced", "read_v2"),
    )
    harmless = (
        *reads(
            r"/sms/[123]/(?:reports|logs|inbox/reports)",
            r"/sms/[12]/bulks(?:/status)?",
            r"/account/1/balance",
        ),
        # Counts the parts of a text.
        changes("POST", r"/sms/1/preview"),
    )
    schemes = (Token("App"), Basic(), Token("Bearer"))
    tells_each = True

    def read_v3(self, request: Request, match: re.Match[str]) -> Submission:
        """``{messages: [{sender, destinations: [{to}], content: {text}}]}``."""
        return self._read(request, v3=True)

    def read_v2(self, request: Request, match: re.Match[str]) -> Submission:
        """``{messages: [{from, destinations: [{to}], text}]}``."""
        return self._read(request, v3=False)

    def _read(self, request: Request, *, v3: bool) -> Submission:
        document = read_object(request)
        only_known(_BODY[v3], document, "the body")
        messages = as_list(only_member(document, "messages", needed=True), "messages")
        read, scheduled = [], False
        for number, each in enumerate(messages):
            what = f"messages[{number}]"
            message = as_object(each, what)
            only_known(_MESSAGE[v3], message, what)
            if v3:
                url, text, later = _of_v3(message, what)
            else:
                url = str(only_member(message, "notifyUrl") or "")
                text = only_member(message, "text")
                later = "sendAt" in message or "deliveryTimeWindow" in message
            scheduled |= later
            sender = only_member(message, "sender" if v3 else "from")
            read.append(
                Message(
                    "" if sender is None else as_text(sender, f"{what}: the sender"),
                    None if text is None else as_text(text, f"{what}: the text"),
                    tuple(_destinations(message, what)),
                    url,
                )
            )
        options = as_object(document.get("options") or {}, "options")
        schedule = as_object(options.get("schedule") or {}, "options.schedule")
        scheduled |= "sendAt" in schedule
        return Submission(request, tuple(read), (document, v3), refuses=True, scheduled=scheduled)

    def perishes(self, request: Request) -> bool:
        """Whether it shows an access token, which is good for an hour, and no API key."""
        return request.header("authorization").partition(" ")[0].lower() in ("bearer", "ibsso")

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The document with the destinations that are kept, without messages of none."""
        document, _ = submission.document
        messages = [
            {**message, "destinations": [message["destinations"][place] for place in places]}
            for message, places in zip(document["messages"], kept, strict=True)
            if places
        ]
        return submission.request._replace(body=orjson.dumps({**document, "messages": messages}))

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """200 with an item for each destination."""
        document, v3 = submission.document
        items = list(_items(submission, decided, iter(()), v3=v3))
        answer: dict[str, Any] = {"messages": items}
        schedule = (document.get("options") or {}).get("schedule") or {}
        if bulk := (schedule if v3 else document).get("bulkId"):
            answer = {"bulkId": bulk, **answer}
        return json_answer(200, answer)

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """As an accepted request: each item says REJECTED."""
        return self.accepted(submission, decided)

    def merged(self, answer: Answer, submission: Submission, decided: Decided) -> Answer:
        """The provider's items with ours in the places of those it never saw."""
        try:
            document = {**answer.json()}
            theirs = iter(list(document["messages"]))
        except (ValueError, KeyError, TypeError):
            return answer
        v3 = submission.document[1]
        document["messages"] = [*_items(submission, decided, theirs, v3=v3), *theirs]
        return answer.with_body(orjson.dumps(document))

    def told(self, answer: Answer, submission: Submission, decided: Decided) -> Sequence[Told]:
        """Each item's own status."""
        usual = status_told(answer.status)
        said = [usual] * decided.count(Fate.SENT)
        if usual is not Told.ACCEPTED:
            return said
        try:
            items = answer.json()["messages"]
            groups = [item["status"]["groupId"] for item in items]
        except (ValueError, KeyError, TypeError):
            return said
        if _REJECTED_GROUP not in groups:
            return said
        for place, group in enumerate(groups[: len(said)]):
            if group == _REJECTED_GROUP:
                said[place] = Told.REFUSED
        return said

    def problem(self, problem: Problem, text: str) -> Answer:
        """``requestError.serviceException``, as both versions have it."""
        error = {"messageId": problem.name, "text": text}
        return json_answer(problem.status, {"requestError": {"serviceException": error}})

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """A delivery report with one result."""
        message = submission.messages[number]
        if not message.report_url:
            return None
        result = {
            "messageId": _message_id(submission, decided, number, place),
            "to": message.destinations[place],
            "status": _BLOCKED,
            "error": {"groupId": 0, "groupName": "OK", "id": 0, "name": "NO_ERROR"},
        }
        document, v3 = submission.document
        sent = document["messages"][number]
        if data := ((sent.get("webhooks") or {}) if v3 else sent).get("callbackData"):
            result["callbackData"] = data
        headers = (("Content-Type", "application/json"),)
        return Report(message.report_url, headers, orjson.dumps({"results": [result]}))


def _of_v3(message: dict[str, Any], what: str) -> tuple[str, Any, bool]:
    content = as_object(only_member(message, "content", needed=True), f"{what}.content")
    webhooks = as_object(message.get("webhooks") or {}, f"{what}.webhooks")
    delivery = as_object(webhooks.get("delivery") or {}, f"{what}.webhooks.delivery")
    options = as_object(message.get("options") or {}, f"{what}.options")
    only_known(_OPTIONS, options, f"{what}.options")
    later = "deliveryTimeWindow" in options
    return str(delivery.get("url") or ""), only_member(content, "text"), later


def _destinations(message: dict[str, Any], what: str) -> list[str]:
    listed = as_list(only_member(message, "destinations", needed=True), f"{what}.destinations")
    # The usual entry is nothing but a number.
    if set(map(type, listed)) == {dict} and set(map(tuple, listed)) == {("to",)}:
        numbers = list(map(_to, listed))
        if set(map(type, numbers)) == {str}:
            return numbers
    return [
        _destination(each, f"{what}.destinations[{place}]") for place, each in enumerate(listed)
    ]


def _destination(each: object, where: str) -> str:
    # An id of a group or person of the provider's would be a recipient unseen.
    destination = as_object(each, where)
    only_known(_DESTINATION, destination, where)
    return as_text(only_member(destination, "to", needed=True), f"{where}.to")


def _items(
    submission: Submission, decided: Decided, theirs: Iterator[Any], *, v3: bool
) -> Iterator[dict[str, Any]]:
    """An item for each destination; the provider's own for those it was sent."""
    sent = Fate.SENT
    for number, fates in enumerate(decided.fates):
        if fates.count(sent) == len(fates):
            yield from islice(theirs, len(fates))
            continue
        destinations = submission.messages[number].destinations
        for place, fate in enumerate(fates):
            if fate is sent:
                item = next(theirs, None)
                if item is not None:
                    yield item
            elif (status := _STATUS.get(fate)) is not None:
                item = {
                    "messageId": _message_id(submission, decided, number, place),
                    "status": status,
                }
                to = destinations[place]
                if v3:
                    yield {**item, "destination": to, "details": {"messageCount": 1}}
                else:
                    yield {**item, "to": to}


def _message_id(submission: Submission, decided: Decided, number: int, place: int) -> str:
    own = submission.document[0]["messages"][number]["destinations"][place].get("messageId")
    record = decided.ids[number][place]
    return str(own or (uuid_of(record) if record else ""))
