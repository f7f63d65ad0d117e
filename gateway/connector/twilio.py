"""Twilio's consents: numbers that are not to be texted by a sender, put there in bulk.

https://www.twilio.com/docs/messaging/features/consent-api (a pilot or public beta, on request): up
to 25 items at once, 100 requests a minute.  There is no way to read the list.  Opt-outs
that people text reach the gateway by the webhook of incoming messages; one that Twilio
alone knows shows when a message is refused with the error 21610.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

import orjson

from gateway.connector.answer import object_in, objects_at, whole_at
from gateway.connector.asking import basic
from gateway.connector.connector import (
    Connector,
    Exchange,
    Holds,
    Page,
    Place,
    Put,
    ToolRefused,
    ToolUnreadable,
)
from gateway.connector.setting import need, setting
from gateway.connector.suppression import Suppression
from gateway.contacts.contact import Channel
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.provider.request import FORM, Request

_ITEMS: Final = 25
_SENDERS: Final = 5
"""Senders of one tool at the most: an entry is put there for each."""

_is_sender = re.compile(r"MG[0-9a-f]{32}|\+[1-9][0-9]{6,14}").fullmatch
_is_account = re.compile(r"(AC|SK)[0-9a-f]{32}").fullmatch
_SENDER_PROBLEM = "INVALID_SENDER_ID"
_LEFT_OUT = Put(False, "Twilio's answer leaves it out")
_CONTACT_PROBLEM = "INVALID_CONTACT_ID"


class Twilio(Connector):
    """``place`` is a messaging service or a number that sends, or several with spaces between."""

    kind: ClassVar[str] = "twilio"
    title: ClassVar[str] = "Twilio"
    url: str = "https://accounts.twilio.com"
    most: ClassVar[int] = _ITEMS

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        need(place, "username", place.username, "the account's SID (AC…) or an API key's (SK…)")
        need(place, "secret_file", place.secret, "a file with the auth token or the key's secret")
        need(place, "place", place.place, "a messaging service's SID (MG…), or a sender's number")
        if not _is_account(place.username):
            raise InputError(
                f"{setting(place, 'username')} is no SID; write the account's (AC…) "
                "or an API key's (SK…)"
            )
        self._senders = place.place.split()
        if len(self._senders) > _SENDERS or not all(map(_is_sender, self._senders)):
            raise InputError(
                f"{setting(place, 'place')} is no sender; write a messaging service's SID (MG…) "
                f"or a number as +15005550006, at most {_SENDERS} with spaces between"
            )

    @property
    def holds(self) -> Holds:
        """Numbers only, and nothing that can be read."""
        scopes = frozenset({Scope.ALL, Scope.CHANNEL})
        channels = frozenset({Channel.SMS})
        return Holds(scopes, channels, reads=False, dated=False, hooks=False)

    def warnings(self) -> list[str]:
        """What is not known of it."""
        return [
            "Twilio's consents are a pilot that Twilio turns on for an account on request",
            "a sender that place does not name may still text the number: name a messaging "
            "service, or every number that sends",
        ]

    def prepare(self, request: Request, now: int) -> Request:
        """With the account's SID and token."""
        value = basic(self.place.username, self.place.secret)
        return request.with_headers({"Authorization": value})

    def changes(self, cursor: str) -> Exchange[Page]:
        """Nothing: Twilio has no way to ask."""
        yield from ()
        return Page((), cursor, more=False)

    def listing(self, cursor: str) -> Exchange[Page]:
        """Nothing: Twilio has no way to ask."""
        yield from ()
        return Page((), cursor, more=False)

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """An ``opt-out`` of each number for each sender; done where all senders have it."""
        results: dict[int, Put] = {}
        items: dict[str, dict[str, str]] = {}
        wanted: dict[int, list[str]] = {}
        for index, entry in enumerate(entries):
            if entry.contact.channel is not Channel.SMS or entry.scope is Scope.TOPIC:
                results[index] = Put(False, "Twilio holds numbers only, and no topics", final=True)
                continue
            made = [_item(entry, sender) for sender in self._senders]
            wanted[index] = [item["correlation_id"] for item in made]
            items |= {item["correlation_id"]: item for item in made}
        told: dict[str, Put] = {}
        asked = list(items.values())
        for at in range(0, len(asked), _ITEMS):
            told |= yield from self._told(asked[at : at + _ITEMS])
        for index, correlations in wanted.items():
            answers = [told.get(one, _LEFT_OUT) for one in correlations]
            results[index] = next((one for one in answers if not one.done), Put(True))
        return [results[index] for index in range(len(entries))]

    def _told(self, items: Sequence[dict[str, str]]) -> Exchange[dict[str, Put]]:
        """What became of each item, by its correlation id."""
        form = urlencode([("Items", orjson.dumps(item).decode()) for item in items])
        headers = (("Content-Type", FORM), ("Accept", "application/json"))
        answer = yield Request("POST", "/v1/Consents/Bulk", "", headers, form.encode())
        document = object_in(answer, self)
        found = {}
        for one in objects_at(document, "items", self):
            correlation = one.get("correlation_id")
            if not isinstance(correlation, str):
                raise ToolUnreadable("Twilio: correlation_id is no text")
            found[correlation] = self._result(one)
        return found

    def _result(self, told: dict[str, Any]) -> Put:
        code = whole_at(told, "error_code", self)
        if code == 0:
            return Put(True)
        messages = told.get("error_messages")
        # The words may hold the number; only what they are known to begin with is looked for.
        text = " ".join(map(str, messages)) if isinstance(messages, list) else ""
        if _SENDER_PROBLEM in text:
            raise ToolRefused(
                f"Twilio does not know a sender; check {setting(self.place, 'place')}"
            )
        return Put(False, f"Twilio answers the error {code}", final=_CONTACT_PROBLEM in text)


def _item(entry: Suppression, sender: str) -> dict[str, str]:
    """One consent; its id is the same whenever the same is put there."""
    number = entry.contact.canonical
    at = {} if entry.at is None else {"date_of_consent": _written(entry.at)}
    text = f"{sender} {number} {entry.at}".encode()
    return {
        "contact_id": number,
        "correlation_id": blake2b(text, digest_size=16).hexdigest(),
        "sender_id": sender,
        "status": "opt-out",
        "source": "others",
    } | at


def _written(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
