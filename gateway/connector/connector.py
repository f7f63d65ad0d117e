"""A connector: how one foreign suppression list is read, written and heard.

Pure: what is to be asked of the tool is a generator that yields requests and is sent
the answers, so that one loop (``gateway.sync``) does rates, retries, time-outs and
cursors for all of them, and a test can answer by hand.

A connector never decides.  It tells what stands in a list (:class:`Change`), and puts
there what it is given (:class:`Suppression`).  It has no operation that takes an entry
out: what is lifted here is taken out there by a person.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar

from gateway.clock import Clock, now_ms
from gateway.connector.suppression import Change, Reason, Suppression
from gateway.contacts.contact import Channel
from gateway.entry.entry import Scope
from gateway.failure import GatewayError
from gateway.provider.request import Answer, Request

_Result = TypeVar("_Result")
Exchange = Generator[Request, Answer, _Result]
"""Requests out, answers in, a result at the end.  ``Request.path`` counts from the tool's
``url``.  Every answer that came is sent in, whatever its status but 429 and 5xx, which
the loop repeats after a time; so a connector sees 2xx, 3xx (never followed) and 4xx, and of
5xx those that :attr:`Connector.speaks` names."""

TOLERANCE: Final = 5 * 60 * 1000
"""Milliseconds by which a webhook's signed time may differ from ours, either way."""


class ToolRefused(GatewayError):
    """The tool answers what means that the settings are wrong (a key, a list's name).

    The text names the setting and what to do; it holds nothing personal.
    """

    code = 451
    status = "4.3.5"


class ToolUnreadable(GatewayError):
    """The tool answers what its documents do not say; the text holds nothing personal."""

    code = 451
    status = "4.3.0"


class HookRefused(GatewayError):
    """A webhook's caller is not the tool, or says what cannot be read."""

    code = 554
    status = "5.6.0"

    def __init__(self, text: str, *, http: int = 400) -> None:
        super().__init__(text)
        self.http = http
        """The HTTP status of the answer: 401 for whoever does not show to be the tool."""


@dataclass(frozen=True, slots=True, repr=False)
class Token:
    """What a tool lets requests in by for a while; it has no words for a log."""

    text: str
    lasts: float | None = None
    """Seconds; None: the tool does not say."""


@dataclass(frozen=True, slots=True)
class Place:
    """What the settings say of one tool, read; the secrets are here in the clear."""

    name: str
    """The tool's name in the settings."""
    username: str = ""
    secret: str = ""
    place: str = ""
    """Which list of the tool's."""
    topics: tuple[tuple[str, str], ...] = ()
    """The register's topics and what the tool calls them."""
    accept_wider: bool = False
    webhook_secret: str = ""
    webhook_source: str = ""
    url: str = ""
    """Where its API is; the vendor's own where the settings name none."""
    client_id: str = ""
    """The client that the secret belongs to, where there is no user."""


@dataclass(frozen=True, slots=True)
class Holds:
    """What a tool's list can hold, with this configuration."""

    scopes: frozenset[Scope]
    """Of ALL, CHANNEL and TOPIC.  A ban of a scope that is not among them is widened (an
    unknown topic to the channel) if ``accept_wider``, else left out and told of."""
    channels: frozenset[Channel]
    topics: frozenset[str] = frozenset()
    """The topics that it can tell apart, in the register's words."""
    reads: bool = True
    """Whether its list can be read (Twilio's opt-outs cannot)."""
    lists: bool = True
    """Whether the whole list can be read; else only what is new (files that are dropped), and
    what :meth:`Connector.listing` leaves out is not gone."""
    dated: bool = True
    """Whether its entries say when they began."""
    hooks: bool = True
    """Whether it can call a webhook."""
    apart: bool = False
    """Whether topics have lists of their own beside the main one, so that a ban of all has to
    stand in each of them: what somebody else put stands in one alone."""
    delivery: frozenset[Reason] = frozenset()
    """Of BOUNCE and COMPLAINT those that it can hold so that they do not come back as an
    objection.  A complaint that is not among them is put there as a block of the whole
    address; a bounce is not put there, for nobody has refused anything."""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list."""

    changes: tuple[Change, ...]
    cursor: str
    """Where to go on: given to the next call; opaque but to the connector."""
    more: bool
    """Whether there is more at once."""
    bad: int = 0
    """Entries that could not be read (no address, an unknown reason)."""


@dataclass(frozen=True, slots=True)
class Put:
    """What became of one entry that was to be put into a list."""

    done: bool
    cause: str = ""
    """Why not, in words without anything personal."""
    final: bool = False
    """Whether trying again would end alike (the tool does not take such an address)."""


class Connector(ABC):
    """One system.  Made of a :class:`Place`; keeps no state.

    Raises InputError when made of a place that lacks what it needs, with the setting's
    name and what to write.
    """

    kind: ClassVar[str]
    """As ``sync.tools[].kind`` names it."""
    title: ClassVar[str]
    url: str
    """The vendor's API, without a slash at the end; of some it depends on the place."""
    most: ClassVar[int] = 1
    """Entries that :meth:`put` takes at once, at the most."""
    speaks: ClassVar[frozenset[int]] = frozenset()
    """Statuses of 5xx by which the tool answers a request that it understood and refuses:
    sent in as those of 4xx are."""

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        """``clock`` tells where the first reading begins, and how far back the next must look."""
        self.place = place
        self.clock = clock

    @property
    @abstractmethod
    def holds(self) -> Holds:
        """What the list can hold with this configuration."""

    def warnings(self) -> list[str]:
        """What the operator is to know of this configuration, one line each."""
        return []

    @abstractmethod
    def changes(self, cursor: str) -> Exchange[Page]:
        """What is new since the cursor; "" stands for now less a day.

        One page.  May tell an entry again (it asks a little further back than the last
        page, for tools whose entries come out of order); never leaves one out that
        appeared since.  The cursor returned is good however long it is kept.
        """

    @abstractmethod
    def listing(self, cursor: str) -> Exchange[Page]:
        """One page of the whole list, from its beginning where the cursor is ""."""

    @abstractmethod
    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """Put at most ``most`` entries there, each of a scope that ``holds`` names.

        One result for each, in order.  Doing it again does no harm.
        """

    def prepare(self, request: Request, now: int) -> Request:
        """The request as it is sent: with the credential, signed where the tool asks it."""
        return request

    def signing_in(self) -> Exchange[Token] | None:
        """How a token is asked for; None: requests show the credential itself.

        Whoever runs the connector keeps the token in memory, asks for a new one when its
        time is over or a request that showed it is answered 401, and gives every other
        request to :meth:`admitted`.
        """
        return None

    def admitted(self, request: Request, token: Token) -> Request:
        """The request with the token (RFC 6750, 2.1)."""
        return request.with_headers({"Authorization": f"Bearer {token.text}"})

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """What a webhook tells; none where it tells of something else.

        ``now`` is milliseconds since the epoch.  Raises HookRefused: it is not the tool's
        (401), stale (401), or cannot be read (400).  Compared in constant time.
        """
        raise HookRefused("this tool calls no webhook", http=404)

    def replays(self, request: Request) -> str:
        """What tells a webhook call from its repeats (a token that is used once); "": nothing.

        Whoever calls again within the tolerance with the same is answered 200 and not heard.
        """
        return ""
