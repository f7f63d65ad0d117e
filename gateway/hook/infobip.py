"""Infobip's webhook of incoming messages, in its default format (``MO_JSON_2``).

JSON, several messages in one.  Infobip documents no signature of it: the URL that it is
told has a key or a password in it.
https://www.infobip.com/docs/api/channels/sms/inbound-sms/receive-inbound-sms-messages
"""

from __future__ import annotations

from typing import Any

from gateway.hook.hook import Hook, Incoming
from gateway.hook.reading import (
    digits,
    json_request,
    moment,
    person,
    read_document,
    text_of,
    unknown_shape,
)
from gateway.provider.request import Request, as_list, as_object, only_member

_REPORT = ("status", "sentAt", "doneAt")


class Infobip(Hook):
    """``results: [{messageId, from, to, text, keyword, receivedAt}]``."""

    name = "infobip"
    title = "Infobip"
    keyed = True

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """Each result that is a message: with its whole text, and the keyword apart."""
        results = only_member(read_document(request), "results", needed=True)
        listed = as_list(results, "results") if results != [] else []
        each = [as_object(one, "a result") for one in listed]
        return tuple(incoming for one in each if (incoming := _incoming(one)))

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /sms/3/messages``."""
        message = {
            "sender": digits(sender),
            "destinations": [{"to": digits(to)}],
            "content": {"text": text},
        }
        return json_request("/sms/3/messages", {"messages": [message]})


def _incoming(result: dict[str, Any]) -> Incoming | None:
    if "text" not in result:
        if any(name in result for name in _REPORT):
            return None
        raise unknown_shape()
    return Incoming(
        text_of(result, "messageId", needed=True),
        person(text_of(result, "from", needed=True)),
        text_of(result, "to", needed=True),
        text_of(result, "text"),
        moment(text_of(result, "receivedAt")),
        keyword=text_of(result, "keyword"),
    )
