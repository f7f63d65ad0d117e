"""What every provider's webhook of incoming messages offers.

A hook is the whole knowledge of how one provider hands over what people send: how it is
read, how it is signed, what the provider wants to hear, and how a reply is sent.  It is
pure: requests and answers are values.

It never lifts or sets a ban by itself: what a text means is the matter of ``word``, and
what is done of it that of whoever asks.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum
from typing import ClassVar, Final, NamedTuple

from gateway.hook.part import Part
from gateway.provider.problem import Refusal
from gateway.provider.request import Answer, Request

TOLERANCE: Final = 5 * 60 * 1000
"""Milliseconds by which a signed time may differ from ours, either way."""


class Incoming(NamedTuple):
    """One message, or one part of a long one, that a person sent."""

    id: str
    """The provider's id of it; a repeated delivery has the same."""
    sender: str
    """The person's number in E.164 form; as the provider writes it where it is none
    (a short code, a name, another channel's address)."""
    recipient: str
    """Our number, short code or sender id, as the provider writes it."""
    text: str
    received: int | None = None
    """When the provider received it (milliseconds since the epoch), where it says so."""
    part: Part | None = None
    keyword: str = ""
    """The word by which the provider brought the message here (a shared short code), or
    for which it took the text itself; empty where it says nothing of the kind."""


class Signs(Enum):
    """What a provider's signature covers."""

    NONE = "none"
    """There is none: the webhook is protected by Basic or by a key in its URL."""
    BODY = "body"
    """What is said, not where to: it is still good when the request is passed on."""
    URL = "url"
    """The URL too: it is renewed when the request is passed on."""


class Hook(ABC):
    """One provider's webhook.  Subclasses fill the table and the methods named abstract."""

    name: ClassVar[str]
    """As the settings name it; the name of the provider's adapter."""
    title: ClassVar[str]
    signs: ClassVar[Signs] = Signs.NONE
    keyed: ClassVar[bool] = False
    """Whether the secret itself may be shown, in the URL or by Basic: where there is no
    signature, or only for those who ask for one.  Never where it is a public key."""
    sourced: ClassVar[bool] = False
    """Whether the signature is one for all of the provider's customers, so that
    :meth:`source` must be the one that the settings name."""
    replies: ClassVar[bool] = False
    """Whether ``answer`` sends the reply."""

    @abstractmethod
    def read(self, request: Request) -> tuple[Incoming, ...]:
        """What people sent; none where the request is something else (a delivery report).

        What is none of both, or cannot be read without doubt, is refused, so that a
        provider that changes its shapes is heard of and no stop is lost in silence.

        Raises:
            Refusal: it cannot be read.

        """

    def signed(self, request: Request, url: str, secret: str, now: int) -> bool:
        """Whether the provider signed it, compared in constant time.

        ``url`` is the public URL that the provider is told to call; the request's query
        is added to it.  ``now`` is in milliseconds since the epoch: where the provider
        signs a time, it may differ by ``TOLERANCE`` at the most.  Without a secret, or
        where the provider has no signature, nothing is signed.
        """
        if not secret:
            return False
        try:
            return self.verified(request, called(url, request.query), secret, now)
        except (Refusal, ValueError):
            # Not what this provider sends: ValueError is text that is no UTF-8 or base 64.
            return False

    def verified(self, request: Request, url: str, secret: str, now: int) -> bool:
        """Whether it is signed; ``url`` has its query, ``secret`` is not empty.

        The default suits providers that sign nothing.
        """
        return False

    def source(self, request: Request) -> str:
        """Through what of the customer's a signed request came; where ``sourced``."""
        return ""

    def resigned(self, request: Request, url: str, secret: str) -> Request:
        """The request with its signature renewed for the tool's own URL.

        For ``Signs.URL``, and only for a request that ``signed`` has found good; the
        request is called at ``called(url, request.query)``.  Others come back unchanged.
        """
        return request

    def answer(self, reply: str | None) -> Answer:
        """What the provider wants to hear of a message that was taken.

        ``reply`` goes to the person where ``replies`` says so, else it is not looked at.
        """
        return Answer(200)

    @abstractmethod
    def compose(self, sender: str, to: str, text: str, account: str) -> Request | None:
        """The request that sends a text to a person by the provider's API.

        As the provider's adapter reads it, with no credential.  ``sender`` is what a
        message came to, ``to`` a number in E.164 form; ``account`` is what the path or
        body names (the account's id at the provider), "" where it names none.
        """


def called(url: str, query: str) -> str:
    """A URL with a request's query, as it is called."""
    if not query:
        return url
    return f"{url}{'&' if '?' in url else '?'}{query}"


def fresh(seconds: str | float, now: int) -> bool:
    """Whether a signed time (seconds since the epoch) is about now."""
    if isinstance(seconds, str):
        if not (seconds.isascii() and seconds.isdigit() and len(seconds) <= 12):
            return False
        seconds = int(seconds)
    return abs(seconds * 1000 - now) <= TOLERANCE
