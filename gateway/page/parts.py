"""The person's pages as parts of the public server, built from the settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from gateway.clock import Clock, now_ms
from gateway.message.signature import SigningKey
from gateway.page.asking import Asking, Postage
from gateway.page.choices import Choices
from gateway.page.confirming import Confirming
from gateway.page.look import LOGO_POLICY, Logo
from gateway.page.paint import Painter
from gateway.page.visitor import Entrance, Speaks
from gateway.public.server import Part, Reply, Visit
from gateway.register.register import Register
from gateway.settings import Settings
from gateway.smtp.notice import Post
from gateway.subject.requests import Requests
from gateway.unsubscribe.link import Links


def page_parts(
    settings: Settings,
    links: Links,
    register: Register,
    requests: Requests,
    post: Callable[[], Post],
    speaks: Speaks,
    keys: Mapping[str, SigningKey],
    clock: Clock = now_ms,
) -> Mapping[str, Part]:
    """The parts "u", "c" and, where there is a logo, "logo".

    ``post`` is what confirmations are sent with at the moment, ``keys`` what they are signed
    with, by domain; ``speaks`` tells a person's language.

    Raises:
        InputError: the logo cannot be shown.

    """
    painter = Painter.of(settings)
    entrance = Entrance(links, painter, speaks, clock)
    sender = settings.held.sender or f"suppression-gateway@{settings.controller.domains[0]}"
    postage = Postage(
        post,
        sender,
        settings.held.upstream or settings.smtp.upstreams[0].name,
        keys.get(sender.rpartition("@")[2].lower()),
    )
    # Without an address of the pages nobody could confirm.
    consents = dict(settings.pages.consents) if settings.public.url else {}
    parts: dict[str, Part] = {
        "u": Choices(
            entrance=entrance,
            painter=painter,
            register=register,
            requests=requests,
            asking=Asking(register, postage),
            consents=consents,
            url=settings.public.url,
            days=settings.unsubscribe.expire_after,
            clock=clock,
        ),
        "c": Confirming(
            entrance=entrance,
            painter=painter,
            register=register,
            consents=consents,
            clock=clock,
        ),
    }
    if painter.look.logo is not None:
        parts["logo"] = _logo_part(painter.look.logo)
    return parts


def _logo_part(logo: Logo) -> Part:
    async def part(visit: Visit) -> Reply:
        if visit.path:
            return Reply(404, b"There is nothing here.\n")
        if visit.method not in ("GET", "HEAD"):
            return Reply(405, headers=(("Allow", "GET, HEAD"),))
        return Reply(
            200, logo.octets, logo.content_type, (("Content-Security-Policy", LOGO_POLICY),)
        )

    return part
