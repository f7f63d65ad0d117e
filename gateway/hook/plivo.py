"""Plivo's webhook of incoming messages.

A form or GET; the answer is XML.  Taken are the signatures of version 3, by the
account's token or the main account's, which cover URL, fields and a nonce, and no time.
Version 2 covers the URL and the nonce alone and is not taken: whoever has seen one
could put any text under it.  Messages may come with nothing else; then a key in the URL
is what tells the provider.
https://www.plivo.com/docs/messaging/xml/request
https://www.plivo.com/docs/voice/concepts/signature-validation
"""

from __future__ import annotations

from urllib.parse import quote

from gateway.hook.hook import Hook, Incoming, Signs, called
from gateway.hook.reading import digits, json_request, person, read_fields, unknown_shape
from gateway.provider.request import Answer, Pairs, Request, only_field, pairs_of
from gateway.provider.signature import hmac_base64, same

_HEADERS = ("X-Plivo-Signature-V3", "X-Plivo-Signature-Ma-V3")
_NONCE = "x-plivo-signature-v3-nonce"
_MOST = 8


class Plivo(Hook):
    """``MessageUUID``, ``From``, ``To``, ``Text``."""

    name = "plivo"
    title = "Plivo"
    signs = Signs.URL
    keyed = True

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message."""
        pairs = read_fields(request)
        names = {name for name, _ in pairs}
        if "Text" not in names:
            # A picture message may have no text.
            if names & {"Status", "Media0"}:
                return ()
            raise unknown_shape()
        return (
            Incoming(
                only_field(pairs, "MessageUUID", needed=True),
                person(only_field(pairs, "From", needed=True)),
                only_field(pairs, "To", needed=True),
                only_field(pairs, "Text"),
            ),
        )

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """One of the signatures that a header lists."""
        nonce = request.header(_NONCE)
        shown = ",".join(request.header(name.lower()) for name in _HEADERS).split(",")
        expected = _signature(request, url, nonce, secret)
        return bool(nonce) and any(same(one.strip(), expected) for one in shown[:_MOST])

    def resigned(self, request: Request, url: str, secret: str) -> Request:
        """The signature of the same fields and nonce at another URL, under both names."""
        nonce = request.header(_NONCE)
        value = _signature(request, called(url, request.query), nonce, secret)
        shown = {name: value for name in _HEADERS if request.header(name.lower())}
        return request.with_headers(dict(shown))

    def answer(self, reply: str | None) -> Answer:
        """XML that does nothing; a reply in it would need the numbers."""
        return Answer(200, b"<Response></Response>", "application/xml")

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /v1/Account/…/Message/``; the account is its auth id."""
        path = f"/v1/Account/{quote(account, safe='')}/Message/"
        return json_request(path, {"src": digits(sender), "dst": digits(to), "text": text})


def _signature(request: Request, url: str, nonce: str, token: str) -> str:
    """URL, sorted query, sorted fields and nonce, as the provider's libraries put them."""
    text, _, query = url.partition("?")
    fields: Pairs = () if request.method == "GET" else read_fields(request)
    query = "&".join(f"{name}={value}" for name, value in sorted(pairs_of(query)))
    if query or fields:
        text += f"?{query}"
    if query and fields:
        text += "."
    text += "".join(name + value for name, value in sorted(fields))
    return hmac_base64(token, f"{text}.{nonce}".encode(), "sha256")
