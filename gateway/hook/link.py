"""LINK Mobility's delivery of incoming messages (SMS REST API, "MO").

JSON, without signature: LINK calls from the addresses that it publishes, and a URL with
a key or a password in it, where it is told one.
https://www.linkmobility.com/developers (LINK Mobility SMS REST API, MO)
"""

from __future__ import annotations

import re

from gateway.hook.hook import Hook, Incoming
from gateway.hook.reading import (
    json_request,
    moment,
    object_of,
    person,
    read_document,
    text_of,
    unknown_shape,
)
from gateway.provider.request import Request

_COUNTRY = re.compile("[A-Z]{2}-")


class Link(Hook):
    """``source``, ``destination``, ``content.userData``, ``route.keyword``."""

    name = "link"
    title = "LINK Mobility"
    keyed = True

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message; of a picture or binary message its text, where it has one."""
        document = read_document(request)
        if "content" not in document:
            if "resultCode" in document:
                return ()
            raise unknown_shape()
        content = object_of(document, "content", needed=True)
        route = object_of(document, "route")
        return (
            Incoming(
                text_of(document, "messageId", needed=True),
                person(text_of(document, "source", needed=True)),
                text_of(document, "destination", needed=True),
                text_of(content, "userData"),
                moment(text_of(document, "timestamp")),
                keyword=text_of(route, "keyword"),
            ),
        )

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /sms/send``; the account is ``platformId/platformPartnerId``.

        The sender may have the country before it with which messages come in.
        """
        platform, _, partner = account.partition("/")
        source = _COUNTRY.sub("", sender, count=1) if _COUNTRY.match(sender) else sender
        return json_request(
            "/sms/send",
            {
                "source": source,
                "sourceTON": _type_of(source),
                "destination": to,
                "userData": text,
                "platformId": platform,
                "platformPartnerId": partner,
                "useDeliveryReport": False,
            },
        )


def _type_of(sender: str) -> str:
    if sender.startswith("+"):
        return "MSISDN"
    return "SHORTNUMBER" if sender.isdecimal() else "ALPHANUMERIC"
