"""``/c/TOKEN``: a consent that was asked for on a page is confirmed from the mailbox.

GET and HEAD change nothing: mail filters open every link.  The button grants, and what
was forbidden, withdrawn or left too long since it was asked for cannot be confirmed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.clock import DAY_MS, Clock
from gateway.entry.entry import Consent, ConsentStatus
from gateway.page.choice import Act, Said, grant, named, withdrawal
from gateway.page.form import FormError
from gateway.page.pace import Pace
from gateway.page.paint import Painter, day_of
from gateway.page.reception import receive
from gateway.page.view import CONFIRM_DAYS, Offer, may_confirm, offers_in, view_of
from gateway.page.visitor import Entrance, Visitor, is_foreign, onward
from gateway.page.wording import say
from gateway.public.server import Reply, Visit
from gateway.register.register import Register
from gateway.settings.public import ConsentText
from gateway.unsubscribe.link import Link, Purpose

log = structlog.get_logger(__name__)

_ASKED, _GRANTED, _OVER = "asked", "granted", "over"
_ALL: Final = "*"


@dataclass(frozen=True, slots=True)
class State:
    """How far the consent of a link is."""

    offer: Offer | None
    asked: Consent | None
    """It can be confirmed."""
    granted: bool

    @property
    def name(self) -> str:
        """Which page shows it."""
        if self.granted:
            return _GRANTED
        return _OVER if self.asked is None or self.offer is None else _ASKED


@dataclass(frozen=True, slots=True)
class Confirming:
    """The part "c" of the public server."""

    entrance: Entrance
    painter: Painter
    register: Register
    consents: dict[str, ConsentText]
    clock: Clock
    pace: Pace = field(default_factory=Pace)

    async def __call__(self, visit: Visit) -> Reply:
        """Answer a visit; a register that is away is told as such, with 503."""
        found = await self.entrance.open(visit, Purpose.CONFIRM, CONFIRM_DAYS)
        return await receive(visit, found, self.painter, self._show, self._post)

    async def _state(self, visitor: Visitor) -> State:
        [standing] = await self.register.look_up([visitor.contact])
        now, topic = self.clock(), named(visitor.link.topic)
        offers = offers_in(self.consents, visitor.language)
        view = view_of(standing, visitor.channel, visitor.link.topic, offers, now)
        known = view.consent(topic)
        asked = may_confirm(standing, visitor.channel, topic, now)
        if asked is not None and visitor.link.issued + DAY_MS <= asked.at:
            # Sent for an earlier question: whoever has kept it proves nothing of this one.
            asked = None
        return State(
            offer=next((one for one in offers if one.topic == topic), None),
            asked=asked,
            granted=known is not None and known.status is ConsentStatus.GRANTED,
        )

    async def _show(self, visitor: Visitor, *, failed: str = "", status: int = 200) -> Reply:
        state, language = await self._state(visitor), visitor.language
        link = visitor.link
        topic = None if named(link.topic) == _ALL else link.topic
        choices = Link(link.contact, Purpose.REFUSE, topic, self.clock(), language)
        return self.painter.page(
            "confirm",
            language,
            status=status,
            state=state.name,
            offer=state.offer,
            asked="" if state.asked is None else day_of(state.asked.at, language),
            contact=visitor.shown,
            title=self._title(visitor),
            choices=f"../u/{self.entrance.links.seal(choices)}?lang={language}",
            failed=failed,
        )

    def _title(self, visitor: Visitor) -> str:
        return self.painter.title(named(visitor.link.topic), visitor.channel, visitor.language)

    async def _post(self, visit: Visit, visitor: Visitor, fields: dict[str, str]) -> Reply:
        if is_foreign(visit):
            return self.painter.problem("foreign", 403, visitor.language)
        if not self.pace.take(visitor.contact.canonical):
            return self.painter.problem(
                "often", 429, visitor.language, headers=(("Retry-After", "60"),)
            )
        if fields.get("act") == Act.CONFIRM:
            return await self._confirm(visitor, fields)
        if fields.get("act") == Act.WITHDRAW:
            return await self._withdraw(visitor)
        raise FormError("not a form of this page")

    async def _confirm(self, visitor: Visitor, fields: dict[str, str]) -> Reply:
        state, language = await self._state(visitor), visitor.language
        if state.granted or state.asked is None or state.offer is None:
            return onward(language)
        if fields.get("version", "") != state.offer.version:
            failed = say("consent.changed", language)
            return await self._show(visitor, failed=failed, status=409)
        said = Said(say("confirm.button", language, topic=self._title(visitor)), language)
        event = grant(visitor.channel, state.offer, state.asked, said, self.clock())
        await self.register.apply(event, visitor.contact)
        return onward(language)

    async def _withdraw(self, visitor: Visitor) -> Reply:
        language = visitor.language
        if (await self._state(visitor)).granted:
            title = self._title(visitor)
            said = Said(say("withdraw.button", language, topic=title), language)
            topic = named(visitor.link.topic)
            event = withdrawal(visitor.channel, topic, said, self.clock())
            await self.register.apply(event, visitor.contact)
        return onward(language)
