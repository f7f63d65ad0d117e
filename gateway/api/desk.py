"""What the handlers work with: the stores and the gate of one process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.api.account import Account
from gateway.api.ledger import Ledger
from gateway.api.waiting import Waiting
from gateway.contacts.contact import Contact
from gateway.contacts.digest import KeyRing
from gateway.decision.facts import Kind
from gateway.decision.rule import Rule, RuleSet
from gateway.entry.event import Event
from gateway.gate import Gate
from gateway.held.message import Held, HeldRecipient
from gateway.records.act import Act, Action, Detail
from gateway.records.archive import Archive
from gateway.records.feed import Feed
from gateway.records.intake import ImportJob, Options
from gateway.records.recorder import Recorder
from gateway.register.export import Known
from gateway.register.register import Register
from gateway.settings import Settings
from gateway.subject.access import Access
from gateway.subject.erasure import Erasure
from gateway.subject.people import People
from gateway.subject.requests import Requests
from gateway.subject.wishes import Wishes
from gateway.sync.bureau import Bureau
from gateway.sync.tool import Tool


class Decided(Protocol):
    """What a release did for one recipient."""

    @property
    def recipient(self) -> HeldRecipient:
        """The recipient."""

    @property
    def sent(self) -> bool:
        """Whether the message went to it."""

    @property
    def rule(self) -> Rule | None:
        """The rule that stopped it; None: sent, or the provider did not take it."""


class Holding(Protocol):
    """The held messages and how they end."""

    async def waiting(self, limit: int) -> Sequence[Held]:
        """Those that wait for a person, the newest first."""

    async def get(self, held_id: str) -> Held:
        """One of them; raises HeldStateError when there is none."""

    async def release(
        self, held_id: str, by: str, reason: str, kind: Kind | None
    ) -> Sequence[Decided]:
        """Decide anew and send; raises InputError when it may not be released as asked."""

    async def discard(self, held_id: str, by: str, reason: str) -> None:
        """Throw it away; raises HeldStateError when it does not wait."""


class Importing(Protocol):
    """The lists that are taken in, one after the other."""

    async def begin(self, account: str, octets: bytes, options: Options) -> ImportJob:
        """Keep a list, sealed, for its turn; raises Overloaded when too many wait."""

    async def index(self, limit: int) -> Sequence[ImportJob]:
        """The newest ones."""

    async def get(self, job_id: str) -> ImportJob:
        """One of them, as it is at this moment; raises JobMissing."""

    async def cancel(self, job_id: str) -> ImportJob:
        """End one that waits or runs; what is applied stays.  Raises JobMissing."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What serves people's requests."""

    people: People
    wishes: Wishes
    requests: Requests
    erasure: Erasure
    access: Access


@dataclass(slots=True)
class Desk:
    """The parts of the API's process; swapped as one at a reload."""

    settings: Settings
    rules: RuleSet
    gate: Gate
    register: Register
    ring: KeyRing
    archive: Archive
    recorder: Recorder
    ledger: Ledger
    history: Callable[[Contact], Awaitable[list[Event]]]
    """Every change of a contact, archived or not yet, oldest first."""
    organisation_history: Callable[[str], Awaitable[list[Event]]]
    acts: Callable[..., Awaitable[list[Act]]]
    """See :func:`gateway.records.deed.acts`."""
    held: Holding
    serving: Serving
    feed: Feed
    waiting: Waiting
    known: Callable[[], AsyncIterator[Known]]
    """Every contact and organisation that the register has had a change for."""
    imports: Importing
    addresses: Callable[[Sequence[Event]], Awaitable[list[str | None]]]
    """Whom events are about, where that can be told."""
    sync: Bureau
    tools: Sequence[Tool]


@dataclass(frozen=True, slots=True)
class Call:
    """One request, its form read, by a known account."""

    desk: Desk
    account: Account
    form: Any
    """The body or query, as the route's model; None without one."""
    path: dict[str, str]
    """What the path's places were filled with."""
    reason: str
    """Why, as the caller says in ``Gateway-Reason``; it is recorded."""
    octets: bytes = b""
    """The body, where it is no JSON."""
    left: Callable[[], bool] = lambda: False
    """Whether the caller has gone meanwhile."""

    async def record(self, action: Action, subject: str = "", **detail: Detail) -> None:
        """Record what the account is about to do.

        Raises RecordsUnavailable: it is not to be done then.
        """
        act = Act(
            action=action,
            actor=self.account.name,
            subject=subject,
            reason=self.reason,
            detail={"by": "api", **detail},
        )
        await self.desk.recorder.act(act)
