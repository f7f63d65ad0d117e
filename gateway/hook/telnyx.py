"""Telnyx's webhook of incoming messages.

JSON, signed with Ed25519 over time and body; the secret is Telnyx's public key, in
base 64 as its portal shows it.
https://developers.telnyx.com/api-reference/callbacks/inbound-message
https://developers.telnyx.com/development/api-fundamentals/webhooks/receiving-webhooks
"""

from __future__ import annotations

import base64
from typing import Any

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
from gateway.provider.request import Request, as_list, as_object, only_member

_INCOMING = "message.received"
_OTHER = ("message.",)


class Telnyx(Hook):
    """``data.payload`` of the event ``message.received``."""

    name = "telnyx"
    title = "Telnyx"
    signs = Signs.BODY

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message; its id is the message's, for the event has one of its own."""
        data = object_of(read_document(request), "data", needed=True)
        event = text_of(data, "event_type", needed=True)
        if event != _INCOMING:
            if event.startswith(_OTHER):
                return ()
            raise unknown_shape()
        payload = object_of(data, "payload", needed=True)
        sender = object_of(payload, "from", needed=True)
        return (
            Incoming(
                text_of(payload, "id", needed=True),
                person(text_of(sender, "phone_number", needed=True)),
                text_of(_first(payload), "phone_number", needed=True),
                text_of(payload, "text"),
                moment(text_of(payload, "received_at")),
            ),
        )

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """Ed25519 over ``timestamp|body``."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        stamp = request.header("telnyx-timestamp")
        shown = request.header("telnyx-signature-ed25519")
        octets = base64.b64decode(shown, validate=True)
        # The last sign of base 64 has bits that no octet needs.
        if not fresh(stamp, now) or base64.b64encode(octets).decode() != shown:
            return False
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(secret, validate=True))
        try:
            key.verify(octets, stamp.encode() + b"|" + request.body)
        except InvalidSignature:
            return False
        return True

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /v2/messages``."""
        return json_request("/v2/messages", {"from": sender, "to": to, "text": text})


def _first(payload: dict[str, Any]) -> dict[str, Any]:
    """Where it went first: our number; the others are of a group conversation."""
    return as_object(as_list(only_member(payload, "to", needed=True), "to")[0], "to[0]")
