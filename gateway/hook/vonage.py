"""Vonage's two webhooks of incoming messages: of the SMS API and of the Messages API.

SMS: GET, form or JSON; signed only where Vonage was asked to, over the parameters in
whatever form they come.  Long messages arrive in parts.
Messages: JSON, always signed with a JSON Web Token that holds the hash of the body.
https://developer.vonage.com/messaging/sms/guides/inbound-sms
https://developer.vonage.com/getting-started/concepts/signing-messages
https://developer.vonage.com/messages/concepts/signed-webhooks
"""

from __future__ import annotations

import hmac

from gateway.hook import jwt
from gateway.hook.hook import Hook, Incoming, Signs, fresh
from gateway.hook.part import Part, part_of
from gateway.hook.reading import (
    digits,
    form_request,
    json_request,
    moment,
    person,
    read_document,
    read_parameters,
    text_of,
    unknown_shape,
)
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import Pairs, Request, only_field
from gateway.provider.signature import same, sha256_hex

_DIGESTS = {64: "sha256", 128: "sha512"}
"""By the length of the signature.  MD5 and SHA-1 are not taken: Vonage offers better."""


class Vonage(Hook):
    """SMS API: ``msisdn``, ``to``, ``messageId``, ``text``, ``concat-…``.

    Its ``keyword`` is merely the first word of the text, and is not told.
    """

    name = "vonage"
    title = "Vonage SMS"
    signs = Signs.BODY
    keyed = True

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message, or the one part of a message."""
        pairs = read_parameters(request)
        names = {name for name, _ in pairs}
        if "text" not in names:
            # Binary messages have data, delivery reports a status.
            if names & {"status", "data"}:
                return ()
            raise unknown_shape()
        return (
            Incoming(
                only_field(pairs, "messageId", needed=True),
                person(only_field(pairs, "msisdn", needed=True)),
                only_field(pairs, "to", needed=True),
                only_field(pairs, "text"),
                moment(only_field(pairs, "message-timestamp")),
                _part(pairs),
            ),
        )

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """``sig``: a keyed hash of the other parameters, of which ``timestamp`` is now."""
        pairs = read_parameters(request)
        shown = only_field(pairs, "sig")
        digest = _DIGESTS.get(len(shown))
        names = [name for name, _ in pairs]
        # A name with a separator in it could make two sets of parameters look alike.
        plain = len(set(names)) == len(names) and not any(set(name) & {"&", "="} for name in names)
        if digest is None or not plain or not fresh(only_field(pairs, "timestamp"), now):
            return False
        text = "".join(
            f"&{name}={value.replace('&', '_').replace('=', '_')}"
            for name, value in sorted(pairs)
            if name != "sig"
        )
        expected = hmac.digest(secret.encode(), text.encode(), digest).hex()
        return same(shown, expected) or same(shown, expected.upper())

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /sms/json``; the credential goes into the header (Basic)."""
        kind = "text" if text.isascii() else "unicode"
        fields = {"from": digits(sender), "to": digits(to), "text": text, "type": kind}
        return form_request("/sms/json", *fields.items())


class VonageMessages(Hook):
    """Messages API: ``from``, ``to``, ``message_uuid``, ``text`` of the channel ``sms``."""

    name = "vonage_messages"
    title = "Vonage Messages"
    signs = Signs.BODY

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message; none where it came by another channel than SMS."""
        document = read_document(request)
        if "status" in document or text_of(document, "channel", needed=True) != "sms":
            return ()
        if text_of(document, "message_type", needed=True) != "text":
            return ()
        return (
            Incoming(
                text_of(document, "message_uuid", needed=True),
                person(text_of(document, "from", needed=True)),
                text_of(document, "to", needed=True),
                text_of(document, "text", needed=True),
                moment(text_of(document, "timestamp")),
            ),
        )

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """A token that is issued about now and holds the hash of the body."""
        word, _, token = request.header("authorization").partition(" ")
        claims = jwt.claims_of(token, secret) if word == "Bearer" else None
        if claims is None or "iat" not in claims or not jwt.timely(claims, now):
            return False
        return _is_hash(claims.get("payload_hash"), request.body)

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /v1/messages``."""
        head = {"channel": "sms", "message_type": "text"}
        body = {"to": digits(to), "from": digits(sender), "text": text}
        return json_request("/v1/messages", {**head, **body})


def _is_hash(claim: object, octets: bytes) -> bool:
    return isinstance(claim, str) and same(claim, sha256_hex(octets))


def _part(pairs: Pairs) -> Part | None:
    total = only_field(pairs, "concat-total")
    if not total:
        return None
    try:
        return part_of(only_field(pairs, "concat-ref"), only_field(pairs, "concat-part"), total)
    except ValueError:
        raise Refusal(Problem.MALFORMED, "concat-part and concat-total do not fit") from None
