"""What is stored of a text message that waits: the request for exactly those it waits for.

It is read again with the provider's adapter when it is released, so that what is
judged and sent then is read in one way only.  Whether that reading finds the same
people is checked before the tool hears that the message was accepted.

Where the route holds the provider's secret the tool's token is not stored.  Where the
tool's own credentials go through they are stored with it, sealed as all contents are.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import NamedTuple, Self

import orjson

from gateway.evidence.scribe import facts_of
from gateway.failure import GatewayError, InputError
from gateway.held.message import HeldError, HeldRecipient
from gateway.provider.problem import Refusal
from gateway.provider.registry import find_adapter
from gateway.provider.request import Request
from gateway.provider.submission import Submission
from gateway.sms.head import OF_CONNECTION
from gateway.sms.judged import Judged
from gateway.sms.judging import read_destinations
from gateway.sms.route import Route

_VERSION = 1


class Stored(NamedTuple):
    """A request that waits."""

    provider: str
    """The adapter's name."""
    request: Request
    scheme: int | None
    """Which of the adapter's schemes the provider's secret goes in by; None: the tool's
    own credentials are in the request."""

    @classmethod
    def of(
        cls,
        route: Route,
        original: Request,
        submission: Submission,
        kept: Sequence[Sequence[int]],
        numbers: Sequence[str],
    ) -> Self:
        """The request for those that wait; at least one does.

        ``original``: as it came, by which the tool's token is known; ``kept``: for each
        message the places of its destinations; ``numbers``: who they are, in order.

        Raises:
            GatewayError: it would not be read again as what it is.

        """
        narrowed = route.adapter.narrowed(submission, kept)
        headers = tuple(pair for pair in narrowed.headers if pair[0].lower() not in OF_CONNECTION)
        request, scheme = route.without_token(original, narrowed._replace(headers=headers))
        return cls(route.adapter.name, request, scheme)._checked(route, numbers)

    def narrowed(
        self,
        route: Route,
        submission: Submission,
        kept: Sequence[Sequence[int]],
        numbers: Sequence[str],
    ) -> Self:
        """What is left of it for those that still wait; raises GatewayError."""
        request = route.adapter.narrowed(submission, kept)
        return self._replace(request=request)._checked(route, numbers)

    def read(self, route: Route, numbers: Sequence[str]) -> Submission:
        """What it asks to be sent, which must be to these numbers in this order.

        Raises:
            InputError: it does not, or cannot be read any more.

        """
        if self.provider != route.adapter.name:
            raise InputError(
                f"sms.routes {route.name} goes to another provider now; the message was "
                f"written for {self.provider}"
            )
        try:
            submission = route.adapter.read(self.request)
        except Refusal as error:
            raise InputError(f"the stored message cannot be read any more: {error}") from None
        if submission is None or _numbers(route, submission) != list(numbers):
            raise InputError("the stored message is not read as those it waits for")
        return submission

    def _checked(self, route: Route, numbers: Sequence[str]) -> Self:
        try:
            self.read(route, numbers)
        except InputError as error:
            # No fault of the tool's.
            raise GatewayError(f"cannot be stored: {error}") from None
        return self

    def texts(self) -> list[tuple[str, str | None]]:
        """Sender and text of each message in it, for people to read; raises HeldError."""
        try:
            submission = find_adapter(self.provider).read(self.request)
        except GatewayError as error:
            raise HeldError(f"the stored message cannot be read: {error}") from None
        messages = submission.messages if submission is not None else ()
        return [(message.sender, message.text) for message in messages]

    def to_json(self) -> bytes:
        """As it is stored."""
        request = self.request
        return orjson.dumps(
            {
                "v": _VERSION,
                "provider": self.provider,
                "scheme": self.scheme,
                "method": request.method,
                "path": request.path,
                "query": request.query,
                "headers": request.headers,
                "body": base64.b64encode(request.body).decode(),
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """What :meth:`to_json` wrote; raises HeldError."""
        try:
            members = orjson.loads(text)
            if members["v"] != _VERSION:
                raise HeldError("a stored message of an unknown version")
            request = Request(
                members["method"],
                members["path"],
                members["query"],
                tuple((name, value) for name, value in members["headers"]),
                base64.b64decode(members["body"], validate=True),
            )
            return cls(members["provider"], request, members["scheme"])
        except (ValueError, TypeError, KeyError) as error:
            raise HeldError(f"no stored message ({type(error).__name__})") from None


def _numbers(route: Route, submission: Submission) -> list[str]:
    return [
        contact.canonical
        for message in submission.messages
        for contact in read_destinations(message.destinations, route.adapter.notation).contacts
    ]


def recipient_of(judged: Judged, place: int, record_id: str) -> HeldRecipient:
    """What is stored of one whose message waits, and why it does."""
    verdict = judged.verdicts[place]
    return HeldRecipient(
        address=verdict.contact.canonical,
        record_id=record_id,
        digest=verdict.digest,
        rule=verdict.decision.rule.id,
        reason=verdict.decision.rule.reason.en,
        facts=facts_of(verdict.facts),
    )
