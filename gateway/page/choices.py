"""``/u/TOKEN``: what is in force for a contact, and the forms that change it.

GET and HEAD change nothing, for mail filters open every link.  A POST by RFC 8058 is
answered when the ban is in force, without a cookie and without being sent elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.entry.entry import ConsentStatus
from gateway.entry.event import Event
from gateway.entry.repetition import in_force
from gateway.failure import GatewayError, InputError, RegisterUnavailable
from gateway.page.asking import Asking, Fate
from gateway.page.choice import (
    ONE_CLICK,
    PAGE,
    Act,
    Said,
    refusal,
    request,
    withdrawal,
)
from gateway.page.confirmation import PAUSE_DAYS, Confirmation, write
from gateway.page.form import FormError, is_one_click
from gateway.page.pace import Pace
from gateway.page.paint import Painter, day_of
from gateway.page.reception import receive
from gateway.page.turn import Turns
from gateway.page.view import CONFIRM_DAYS, Offer, Refusal, View, offers_in, view_of
from gateway.page.visitor import Entrance, Visitor, is_foreign, onward
from gateway.page.wording import say
from gateway.public.server import Reply, Visit
from gateway.records.identifier import new_id
from gateway.register.register import Register
from gateway.settings.public import ConsentText
from gateway.subject.people import Who
from gateway.subject.request import Kind
from gateway.subject.requests import Requests
from gateway.unsubscribe.link import Link, Purpose, url_of

log = structlog.get_logger(__name__)

_ONE_CLICK: Final = "List-Unsubscribe=One-Click (RFC 8058)"
_REFUSALS: Final = frozenset({Act.TOPIC, Act.CHANNEL, Act.ALL})


@dataclass(frozen=True, slots=True)
class Choices:
    """The part "u" of the public server."""

    entrance: Entrance
    painter: Painter
    register: Register
    requests: Requests
    asking: Asking
    consents: dict[str, ConsentText]
    """What is offered; nothing where no link could be sent."""
    url: str
    """``public.url``."""
    days: int
    """That a link is good."""
    clock: Clock
    pace: Pace = field(default_factory=Pace)
    turns: Turns = field(default_factory=Turns)

    async def __call__(self, visit: Visit) -> Reply:
        """Answer a visit; a register that is away is told as such, with 503."""
        found = await self.entrance.open(visit, Purpose.REFUSE, self.days)
        return await receive(visit, found, self.painter, self._show, self._post)

    # -- showing ----------------------------------------------------------------------

    async def _view(self, visitor: Visitor) -> View:
        [standing] = await self.register.look_up([visitor.contact])
        offers: tuple[Offer, ...] = ()
        if visitor.contact.canonical.isascii() and "@" in visitor.contact.canonical:
            offers = offers_in(self.consents, visitor.language)
        link = visitor.link
        return view_of(standing, visitor.channel, link.topic, offers, self.clock())

    async def _show(self, visitor: Visitor, *, failed: str = "", status: int = 200) -> Reply:
        language = visitor.language
        view = await self._view(visitor)

        def title(topic: str) -> str:
            return self.painter.title(topic, visitor.channel, language)

        def refused(one: Refusal) -> str:
            key = one.scope if one.channel is None or one.topic is not None else one.channel
            return say(
                f"state.{key}",
                language,
                day=day_of(one.at, language),
                topic="" if one.topic is None else title(one.topic),
            )

        return self.painter.page(
            "choices",
            language,
            status=status,
            view=view,
            contact=visitor.shown,
            channel=visitor.channel,
            topic=visitor.link.topic,
            title=title,
            refusal=refused,
            told=await self._told(visitor, view) if not failed else "",
            failed=failed,
        )

    async def _told(self, visitor: Visitor, view: View) -> str:
        """What the form before has done, if it is so; an address can be made up."""
        link, done, language = visitor.link, visitor.done, visitor.language
        if done == Act.TOPIC and view.topic_stopped and link.topic is not None:
            title = self.painter.title(link.topic, visitor.channel, language)
            return say("done.topic", language, topic=title, contact=visitor.shown)
        if done == Act.CHANNEL and view.channel_stopped:
            return say(f"done.{visitor.channel}", language, contact=visitor.shown)
        if done == Act.ALL and view.all_stopped:
            return say("done.all", language)
        if done == Act.WITHDRAW and view.withdrawn:
            return say("done.withdrawn", language)
        if done == Act.CONSENT:
            return await self._asked(visitor, view)
        if done == Act.DATA:
            waiting = await self.requests.waiting(visitor.contact, Kind.ACCESS)
            if waiting is not None:
                return say("done.data", language, day=day_of(waiting.due, language))
        return ""

    async def _asked(self, visitor: Visitor, view: View) -> str:
        """What became of the messages for what waits to be confirmed; "" where none was sent."""
        fates = [
            await self.asking.fate(visitor.contact, one.topic)
            for one in view.consents
            if one.status is ConsentStatus.PENDING
        ]
        if Fate.UNSURE in fates:
            return say("done.unsure", visitor.language, contact=visitor.shown)
        if Fate.SENT not in fates:
            return ""
        return say(
            "done.asked",
            visitor.language,
            contact=visitor.shown,
            days=CONFIRM_DAYS,
            pause=PAUSE_DAYS,
        )

    # -- doing ------------------------------------------------------------------------

    async def _post(self, visit: Visit, visitor: Visitor, fields: dict[str, str]) -> Reply:
        if is_one_click(fields):
            act = Act.CHANNEL if visitor.link.topic is None else Act.TOPIC
            await self._refuse(visitor, act, _ONE_CLICK, ONE_CLICK)
            return Reply(200, b"OK\n")
        if is_foreign(visit):
            return self.painter.problem("foreign", 403, visitor.language)
        try:
            act = Act(fields.get("act", ""))
        except ValueError:
            raise FormError("no such form") from None
        if act in _REFUSALS:
            # Never one too many: whoever shares the link could else keep the person from it.
            return await self._refuse_by_form(visitor, act)
        if not self.pace.take(visitor.contact.canonical):
            return self.painter.problem(
                "often", 429, visitor.language, headers=(("Retry-After", "60"),)
            )
        if act is Act.WITHDRAW:
            return await self._withdraw(visitor, fields)
        if act is Act.CONSENT:
            return await self._consent(visitor, fields)
        if act is Act.DATA:
            return await self._ask_for_data(visitor)
        raise FormError("not a form of this page")

    async def _refuse(self, visitor: Visitor, act: Act, evidence: str, source: str) -> None:
        """Return when the refusal is in force."""
        topic = visitor.link.topic
        event = refusal(act, visitor.channel, topic, evidence, source, self.clock())
        if await self._stands(event, visitor):
            # Of a request under way beside this one it may not be acknowledged yet.
            await self.register.settle()
        else:
            await self.register.apply(event, visitor.contact)

    async def _stands(self, event: Event, visitor: Visitor) -> bool:
        try:
            return in_force(event, await self.register.show(visitor.contact))
        except RegisterUnavailable:
            # One that is not whole takes refusals all the same; one that is away will say so.
            return False

    async def _refuse_by_form(self, visitor: Visitor, act: Act) -> Reply:
        language = visitor.language
        topic = visitor.link.topic
        if act is Act.TOPIC:
            if topic is None:
                raise FormError("the link has no topic")
            title = self.painter.title(topic, visitor.channel, language)
            text = say(f"refuse.topic.{visitor.channel}", language, topic=title)
        elif act is Act.CHANNEL:
            text = say(f"refuse.channel.{visitor.channel}", language)
        else:
            text = say("refuse.all", language)
        await self._refuse(visitor, act, Said(text, language).evidence, PAGE)
        return onward(language, act)

    async def _withdraw(self, visitor: Visitor, fields: dict[str, str]) -> Reply:
        language = visitor.language
        topic = fields.get("topic", "")
        view = await self._view(visitor)
        if topic and view.consent(topic) is not None:
            title = self.painter.title(topic, visitor.channel, language)
            said = Said(say("withdraw.button", language, topic=title), language)
            event = withdrawal(visitor.channel, topic, said, self.clock())
            await self.register.apply(event, visitor.contact)
        # Withdrawn already: the page says so.
        return onward(language, Act.WITHDRAW)

    async def _consent(self, visitor: Visitor, fields: dict[str, str]) -> Reply:
        language = visitor.language
        view = await self._view(visitor)
        offer = view.offer(fields.get("topic", ""))
        if offer is None:
            return onward(language)
        if fields.get("version", "") != offer.version:
            failed = say("consent.changed", language)
            return await self._show(visitor, failed=failed, status=409)
        claim = await self.asking.claim(visitor.contact, offer.topic)
        if claim is None and view.consent(offer.topic) is None:
            # The message that was sent confirms nothing that was refused after it.
            failed = say("consent.lately", language, pause=PAUSE_DAYS)
            return await self._show(visitor, failed=failed, status=429)
        if claim is not None:
            title = self.painter.title(offer.topic, visitor.channel, language)
            said = Said(say("consent.button", language, topic=title), language)
            event = request(visitor.channel, offer, said, self.clock())
            try:
                await self.register.apply(event, visitor.contact)
            except GatewayError:
                await self.asking.release(claim)
                raise
            message = self._confirmation(visitor, offer)
            await self.asking.send(claim, message, visitor.contact)
        return onward(language, Act.CONSENT)

    def _confirmation(self, visitor: Visitor, offer: Offer) -> bytes:
        now, contact, language = self.clock(), visitor.contact, visitor.language
        seal = self.entrance.links.seal
        confirm = seal(Link(contact, Purpose.CONFIRM, offer.topic, now, language))
        choices = seal(Link(contact, Purpose.REFUSE, visitor.link.topic, now, language))
        asked = Confirmation(
            recipient=contact.canonical,
            offer=offer,
            topic=self.painter.title(offer.topic, visitor.channel, language),
            language=language,
            day=day_of(now, language),
            confirm_url=url_of(self.url, Purpose.CONFIRM, confirm),
            choices_url=url_of(self.url, Purpose.REFUSE, choices),
        )
        return write(
            asked,
            controller=self.painter.controller,
            contact_email=self.painter.contact_email,
            sender=self.asking.sender,
            at=now,
            name=new_id(),
        )

    async def _ask_for_data(self, visitor: Visitor) -> Reply:
        language = visitor.language
        # One at a time: a button that is pressed twice would else ask twice.
        async with self.turns.of(visitor.contact.canonical):
            if await self.requests.waiting(visitor.contact, Kind.ACCESS) is None:
                try:
                    await self.requests.receive(
                        Kind.ACCESS,
                        Who("person"),
                        contact=visitor.contact,
                        words=Said(say("data.button", language), language).evidence,
                        how="page",
                    )
                except InputError as error:
                    # The records are ours to mend; the person is to hear that it failed.
                    raise GatewayError(str(error)) from None
        return onward(language, Act.DATA)
