"""How the pages of links receive a visit: shown, or a form taken; and what stands against it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from gateway.failure import GatewayError
from gateway.page.form import FormError, read_form
from gateway.page.pace import LATER
from gateway.page.paint import Painter
from gateway.page.visitor import Visitor, spoken
from gateway.public.server import Reply, Visit

log = structlog.get_logger(__name__)

Show = Callable[[Visitor], Awaitable[Reply]]
Post = Callable[[Visit, Visitor, dict[str, str]], Awaitable[Reply]]


async def receive(
    visit: Visit, found: Visitor | Reply, painter: Painter, show: Show, post: Post
) -> Reply:
    """Answer a visit of whom the entrance has let in, or pass on what it said instead.

    A register that is away is told as such, with 503.
    """
    if isinstance(found, Reply):
        return found
    try:
        if visit.method != "POST":
            return await show(found)
        fields = read_form(visit.header("content-type"), visit.body)
        found = spoken(fields, found)
        return await post(visit, found, fields)
    except FormError:
        return painter.problem("form", 400, found.language)
    except GatewayError as error:
        log.warning("page_failed", cause=str(error))
        what = "unavailable" if visit.method == "POST" else "unseen"
        return painter.problem(what, 503, found.language, headers=LATER)
