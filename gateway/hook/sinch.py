"""Sinch's webhook of incoming messages (SMS REST API).

JSON, put together by Sinch.  It is signed where Sinch was asked to sign the callbacks of
the service plan: a keyed hash of body, nonce and time.
https://developers.sinch.com/docs/sms/api-reference/sms/tag/Webhooks/
"""

from __future__ import annotations

from urllib.parse import quote

from gateway.hook.hook import Hook, Incoming, Signs, fresh
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
from gateway.provider.signature import hmac_base64, same

_HEADER = "x-sinch-webhook-signature"
_ALGORITHMS = ("", "HmacSHA256")
_OTHER = ("delivery_report_", "recipient_delivery_report_")


class Sinch(Hook):
    """``mo_text`` with ``from``, ``to``, ``body``."""

    name = "sinch"
    title = "Sinch"
    signs = Signs.BODY
    keyed = True

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message; of a picture message its text, of a binary one nothing."""
        document = read_document(request)
        kind = text_of(document, "type", needed=True)
        if kind.startswith(_OTHER) or kind == "mo_binary":
            return ()
        if kind == "mo_text":
            text = text_of(document, "body", needed=True)
        elif kind == "mo_media":
            text = text_of(object_of(document, "body", needed=True), "message")
        else:
            raise unknown_shape()
        return (
            Incoming(
                text_of(document, "id", needed=True),
                person(text_of(document, "from", needed=True)),
                text_of(document, "to", needed=True),
                text,
                moment(text_of(document, "received_at")),
            ),
        )

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """HMAC-SHA-256 of ``body.nonce.timestamp`` in base 64."""
        shown, nonce = request.header(_HEADER), request.header(f"{_HEADER}-nonce")
        stamp = request.header(f"{_HEADER}-timestamp")
        if request.header(f"{_HEADER}-algorithm") not in _ALGORITHMS or not nonce:
            return False
        text = b".".join((request.body, nonce.encode(), stamp.encode()))
        return fresh(stamp, now) and same(shown, hmac_base64(secret, text, "sha256"))

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /xms/v1/…/batches``; the account is the service plan's id."""
        path = f"/xms/v1/{quote(account, safe='')}/batches"
        return json_request(path, {"to": [to], "from": sender, "body": text})
