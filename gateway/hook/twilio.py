"""Twilio's webhook of incoming messages.

A form; the answer is TwiML, in which a reply may stand.  The signature covers the URL
and the fields, and no time.
https://www.twilio.com/docs/messaging/guides/webhook-request
https://www.twilio.com/docs/usage/webhooks/webhooks-security
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote
from xml.sax.saxutils import escape

from gateway.hook.hook import Hook, Incoming, Signs, called
from gateway.hook.reading import form_request, person, read_fields, unknown_shape
from gateway.provider import signature
from gateway.provider.request import Answer, Pairs, Request, only_field

_HEADER = "X-Twilio-Signature"
_SETTINGS = "x-twilio-webhooks-signature-settings"
_DIGESTS = {"": "sha1", "HMAC_SHA1": "sha1", "HMAC_SHA256": "sha256"}
_PORTS = {"https": ":443", "http": ":80"}
_HOST = re.compile(r"(https?)://([^/?#]+?)(:[0-9]+)?(?=[/?#]|$)")
_SERVICE = re.compile(r"MG[0-9a-f]{32}")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Twilio(Hook):
    """``MessageSid``, ``From``, ``To``, ``Body``."""

    name = "twilio"
    title = "Twilio"
    signs = Signs.URL
    replies = True

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message; its keyword is ``OptOutType``, where Twilio took it for one itself."""
        pairs = read_fields(request)
        names = {name for name, _ in pairs}
        if "Body" not in names:
            if "MessageStatus" in names:
                return ()
            raise unknown_shape()
        return (
            Incoming(
                only_field(pairs, "MessageSid", needed=True),
                person(only_field(pairs, "From", needed=True)),
                only_field(pairs, "To", needed=True),
                only_field(pairs, "Body"),
                keyword=only_field(pairs, "OptOutType"),
            ),
        )

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """Base 64 of a keyed hash of the URL and the fields."""
        shown = request.header(_HEADER.lower())
        digest, pairs = _digest(request), _signed_fields(request)
        return digest is not None and any(
            signature.same(shown, signature.twilio(secret, one, pairs, digest))
            for one in _spellings(url)
        )

    def resigned(self, request: Request, url: str, secret: str) -> Request:
        """The signature of the same fields at another URL."""
        whole, pairs = called(url, request.query), _signed_fields(request)
        value = signature.twilio(secret, whole, pairs, _digest(request) or "sha1")
        return request.with_headers({_HEADER: value})

    def answer(self, reply: str | None) -> Answer:
        """TwiML, with or without a message."""
        inner = f"<Message>{escape(_NO_XML.sub('', reply))}</Message>" if reply else ""
        document = f'<?xml version="1.0" encoding="UTF-8"?><Response>{inner}</Response>'
        return Answer(200, document.encode(), "text/xml; charset=utf-8")

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST …/Messages.json``; the account is its SID."""
        path = f"/2010-04-01/Accounts/{quote(account, safe='')}/Messages.json"
        source = "MessagingServiceSid" if _SERVICE.fullmatch(sender) else "From"
        return form_request(path, ("To", to), (source, sender), ("Body", text))


def _signed_fields(request: Request) -> Pairs:
    """The fields that the signature covers beside the URL; of GET they are in the URL."""
    return () if request.method == "GET" else read_fields(request)


def _digest(request: Request) -> str | None:
    """The hash: SHA-256 where the webhook is signed with a key of its own."""
    for part in request.header(_SETTINGS).split(","):
        name, _, value = part.strip().partition("=")
        if name == "algorithm":
            return _DIGESTS.get(value.strip().upper())
    return "sha1"


def _spellings(url: str) -> Iterator[str]:
    """The URL with the port and without, for Twilio signs now one, now the other."""
    yield url
    if match := _HOST.match(url):
        scheme, host, port = match[1], match[2], match[3] or _PORTS[match[1]]
        rest = url[match.end() :]
        yield from {f"{scheme}://{host}{rest}", f"{scheme}://{host}{port}{rest}"} - {url}
