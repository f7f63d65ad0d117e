"""GatewayAPI's webhook of incoming messages.

JSON; long messages may arrive in parts, told by their header.  The signature is a JSON
Web Token whose claims are the body once more: it says nothing of the body's octets, so
every member is compared.  It holds no time of its own.
https://gatewayapi.com/docs/webhooks
"""

from __future__ import annotations

from gateway.hook import jwt
from gateway.hook.hook import Hook, Incoming, Signs
from gateway.hook.part import part_of_header
from gateway.hook.reading import (
    digits,
    json_request,
    person,
    read_document,
    text_of,
    unknown_shape,
)
from gateway.provider.request import Request

_HEADER = "x-gwapi-signature"
_REGISTERED = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti")
"""Claims of the token's own (RFC 7519), which need not stand in the body."""


class GatewayApi(Hook):
    """``id``, ``msisdn``, ``receiver``, ``message``, ``senttime``."""

    name = "gatewayapi"
    title = "GatewayAPI"
    signs = Signs.BODY

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message, or part of one; its text begins with a leased keyword if any."""
        document = read_document(request)
        if "message" not in document:
            if "status" in document:
                return ()
            raise unknown_shape()
        sent = text_of(document, "senttime")
        return (
            Incoming(
                text_of(document, "id", needed=True),
                person(text_of(document, "msisdn", needed=True)),
                text_of(document, "receiver", needed=True),
                text_of(document, "message"),
                int(sent) * 1000 if sent.isdecimal() else None,
                part_of_header(text_of(document, "udh")),
            ),
        )

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """A token whose claims are the members of the body, no more and no fewer."""
        claims = jwt.claims_of(request.header(_HEADER), secret)
        if claims is None or not jwt.timely(claims, now):
            return False
        document = read_document(request)
        told = {name: one for name, one in claims.items() if name not in _REGISTERED}
        return told == {name: one for name, one in document.items() if name not in _REGISTERED}

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /rest/mtsms``."""
        recipients = [{"msisdn": digits(to)}]
        document = {"sender": digits(sender), "message": text, "recipients": recipients}
        return json_request("/rest/mtsms", document)
