"""A text message that is not there yet: what ``check`` and ``wash`` are told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.moment import moment
from gateway.clock import now_ms
from gateway.contacts.contact import Channel, Contact
from gateway.decision.facts import Kind
from gateway.failure import InputError
from gateway.message.traits import Traits
from gateway.settings import Settings
from gateway.settings.sms import SmsRoute
from gateway.settings.value import CLIENT_KINDS

if TYPE_CHECKING:
    from gateway.quiet.hours import QuietHours

RouteName = Annotated[
    str | None,
    typer.Option(
        "--route", help="A route of text messages: its kind, topic, senders; with quiet hours."
    ),
]
SenderId = Annotated[
    str | None, typer.Option("--sender", help="With --route: the sender ID; default one of its.")
]
MessageText = Annotated[
    str | None, typer.Option("--text", help="A text message's text; default one without fault.")
]
At = Annotated[
    str | None,
    typer.Option(
        "--at", help="When a text message would go (ISO 8601), for quiet hours; check: or went."
    ),
]


@dataclass(frozen=True, slots=True)
class Trial:
    """A message, and when it rests."""

    traits: Traits
    quiet: QuietHours | None
    at: int

    def until(self, contact: Contact) -> int | None:
        """When the contact's quiet hours are over; None: none hold it back."""
        if self.quiet is None or self.traits.urgent or contact.channel is not Channel.SMS:
            return None
        return self.quiet.until(contact.canonical, self.at)

    def traits_for(self, contact: Contact) -> Traits:
        """The traits that the contact is judged with."""
        return self.traits._replace(
            channel=contact.channel, quiet_hours=self.until(contact) is not None
        )


def route_of(settings: Settings, name: str) -> SmsRoute:
    """The route of this name; raises InputError."""
    for route in settings.sms.routes:
        if route.name == name:
            return route
    names = ", ".join(route.name for route in settings.sms.routes) or "there are none"
    raise InputError(f"--route {name}: not among sms.routes ({names})")


def route_traits(
    settings: Settings,
    route: SmsRoute,
    kind: Kind | None,
    topic: str | None,
    group: str | None,
    sender: str | None,
) -> Traits:
    """A message as the route would send it, without fault but for its sender."""
    from gateway.sms.route import DEFAULT_SENDER, sender_key

    topic = topic or route.topic
    own = kind or CLIENT_KINDS[route.kind]
    senders = {sender_key(one) for one in route.senders}
    return Traits(
        kind=own,
        channel=Channel.SMS,
        topic=topic,
        product_group=group or settings.product_group(route, topic),
        sender_authorised=sender is None or sender_key(sender or DEFAULT_SENDER) in senders,
        urgent=own is not Kind.MARKETING if route.urgent is None else route.urgent,
    )


def trial(
    settings: Settings,
    traits: Traits,
    route: SmsRoute | None,
    sender: str | None,
    text: str | None,
    at: str | None,
) -> Trial:
    """The message with its text, and the quiet hours at that time.

    Raises:
        InputError: a sender whose route nobody named, or no time.

    """
    if route is None:
        if sender is not None:
            raise InputError("--sender: name with --route whose sender it is")
        traits = traits._replace(urgent=traits.kind is not Kind.MARKETING)
    if text is not None:
        from gateway.serve.plane import opt_out_pattern

        words = opt_out_pattern(settings.sms.opt_out_words)
        added = route is not None and route.opt_out_added
        found = added or (words is not None and words.search(text) is not None)
        marks = settings.rules.recognisable_marks
        traits = traits._replace(
            opt_out="text" if found else "",
            recognisable=not marks or any(one.casefold() in text.casefold() for one in marks),
        )
    quiet = None
    if route is not None or at is not None:
        from gateway.serve.plane import quiet_hours

        quiet = quiet_hours(settings.sms.quiet)
    return Trial(traits, quiet, moment(at) or now_ms())


def refuse_for_mail(channel: Channel, **given: str | None) -> None:
    """Refuse the options that speak of text messages; raises InputError."""
    for name, value in given.items():
        if value is not None and channel is not Channel.SMS:
            raise InputError(f"--{name}: for text messages only")
