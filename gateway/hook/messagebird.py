"""MessageBird's webhook of incoming messages (classic), of a number or of a flow.

Form, JSON or GET.  The signature is a JSON Web Token that holds the hash of the URL and
of the body; it is good for a minute.
https://developers.messagebird.com/api/#verifying-http-requests
https://developers.messagebird.com/tutorials (receiving messages)
"""

from __future__ import annotations

from gateway.hook import jwt
from gateway.hook.hook import Hook, Incoming, Signs, called
from gateway.hook.reading import (
    digits,
    json_request,
    moment,
    person,
    read_parameters,
    unknown_shape,
)
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import Pairs, Request, only_field
from gateway.provider.signature import same, sha256_hex

_HEADER = "MessageBird-Signature-JWT"
_IDS = ("id", "messageId", "message_id")
_TEXTS = ("body", "payload", "message")
"""What the text is called depends on how the webhook was set up."""
_TIMES = ("createdDatetime", "receivedSMSDateTime")


class MessageBird(Hook):
    """``originator``, ``recipient``, and the text as ``body``, ``payload`` or ``message``."""

    name = "messagebird"
    title = "MessageBird"
    signs = Signs.URL

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message.

        A flow may tell no id; then the hash of the body stands in its place, the same
        when the delivery is repeated.
        """
        pairs = read_parameters(request)
        names = {name for name, _ in pairs}
        if not names & set(_TEXTS):
            if "status" in names:
                return ()
            raise unknown_shape()
        octets = request.body or request.query.encode()
        return (
            Incoming(
                _one_of(pairs, _IDS) or sha256_hex(octets),
                person(only_field(pairs, "originator", needed=True)),
                only_field(pairs, "recipient"),
                _one_of(pairs, _TEXTS),
                moment(_one_of(pairs, _TIMES)),
            ),
        )

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """A token of MessageBird's, for this URL and this body, that has not expired."""
        claims = jwt.claims_of(request.header(_HEADER.lower()), secret)
        if claims is None or claims.get("iss") != "MessageBird" or "exp" not in claims:
            return False
        body = claims.get("payload_hash")
        right_body = _is_hash(body, request.body) if request.body else body is None
        return jwt.timely(claims, now) and right_body and _is_hash(claims.get("url_hash"), url)

    def resigned(self, request: Request, url: str, secret: str) -> Request:
        """The same claims for another URL."""
        claims = jwt.claims_of(request.header(_HEADER.lower()), secret)
        if claims is None:
            return request
        claims["url_hash"] = sha256_hex(called(url, request.query).encode())
        return request.with_headers({_HEADER: jwt.written(claims, secret)})

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /messages``."""
        document = {"originator": digits(sender), "recipients": [digits(to)], "body": text}
        return json_request("/messages", document)


def _is_hash(claim: object, of: bytes | str) -> bool:
    octets = of.encode() if isinstance(of, str) else of
    return isinstance(claim, str) and same(claim, sha256_hex(octets))


def _one_of(pairs: Pairs, names: tuple[str, ...]) -> str:
    """The value of whichever of these is there; refused where two say different things."""
    found = {value for name, value in pairs if name in names} - {""}
    if len(found) > 1:
        raise Refusal(Problem.MALFORMED, f"more than one of {', '.join(names)}")
    return found.pop() if found else ""
