"""46elks' webhook of incoming messages.

A form, without signature.  A body of the answer that is not empty is sent to the person
as a reply: whatever says "OK" there texts it to everybody.
https://46elks.se/docs/receive-sms
"""

from __future__ import annotations

from gateway.hook.hook import Hook, Incoming
from gateway.hook.reading import form_request, moment, person, read_fields, unknown_shape
from gateway.provider.request import Answer, Request, only_field


class Elks(Hook):
    """``id``, ``from``, ``to``, ``message``, ``created``."""

    name = "46elks"
    title = "46elks"
    keyed = True
    replies = True

    def read(self, request: Request) -> tuple[Incoming, ...]:
        """The one message."""
        pairs = read_fields(request)
        names = {name for name, _ in pairs}
        if "message" not in names:
            if names & {"status", "delivered"}:
                return ()
            raise unknown_shape()
        return (
            Incoming(
                only_field(pairs, "id", needed=True),
                person(only_field(pairs, "from", needed=True)),
                only_field(pairs, "to", needed=True),
                only_field(pairs, "message"),
                moment(only_field(pairs, "created")),
            ),
        )

    def answer(self, reply: str | None) -> Answer:
        """The reply as plain text, or 204 and nothing."""
        if not reply:
            return Answer(204)
        return Answer(200, reply.encode(), "text/plain; charset=utf-8")

    def compose(self, sender: str, to: str, text: str, account: str) -> Request:
        """``POST /a1/sms``."""
        return form_request("/a1/sms", ("from", sender), ("to", to), ("message", text))
