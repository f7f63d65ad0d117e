"""Who stands at a link's page: what the link is for, and in which language."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, unquote

from gateway.clock import Clock
from gateway.contacts.contact import Channel, Contact
from gateway.page.language import known, language_of
from gateway.page.masked import masked
from gateway.page.paint import Painter
from gateway.public.server import Reply, Visit
from gateway.settings.public import Language
from gateway.unsubscribe.link import Link, LinkError, Links, Purpose

_METHODS = ("GET", "HEAD", "POST")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody with a link that is good."""

    link: Link
    language: Language
    done: str
    """What the page before has done, as its address says; believed only if it is so."""

    @property
    def contact(self) -> Contact:
        """Whose link it is."""
        return self.link.contact

    @property
    def channel(self) -> Channel:
        """The link's channel."""
        return self.link.contact.channel

    @property
    def shown(self) -> str:
        """The contact as the page shows it."""
        return masked(self.link.contact)


Speaks = Callable[[Contact], Awaitable[Language | None]]
"""In which language somebody is written to; None: nobody knows."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """Opens links; who has none that is good is told what helps, and nothing else."""

    links: Links
    painter: Painter
    speaks: Speaks
    clock: Clock

    async def open(self, visit: Visit, purpose: Purpose, days: int) -> Visitor | Reply:
        """The visitor, or the page that is answered instead.

        One page for every text that is no link of this purpose, so that none tells more
        than another.
        """
        query = dict(parse_qsl(visit.query, keep_blank_values=True, errors="replace"))
        asked, header = query.get("lang", ""), visit.header("accept-language")
        language = language_of(asked, "", header)
        if visit.method not in _METHODS:
            return Reply(405, b"", headers=(("Allow", ", ".join(_METHODS)),))
        try:
            # Who passes a link on may write its letters as %XX (RFC 3986 section 6.2.2.2).
            link = self.links.open(unquote(visit.path), self.clock(), days)
        except LinkError as error:
            if error.expired:
                return self.painter.problem("expired", 410, language)
            return self.painter.problem("unknown", 404, language)
        if link.purpose is not purpose:
            return self.painter.problem("unknown", 404, language)
        of_person = link.language
        if visit.method != "POST" and known(asked) is None and known(of_person) is None:
            of_person = await self.speaks(link.contact) or ""
        return Visitor(link, language_of(asked, of_person, header), query.get("done", ""))


def is_foreign(visit: Visit) -> bool:
    """Whether a browser says that another site has sent the form (Fetch Metadata)."""
    return visit.header("sec-fetch-site").strip().lower() == "cross-site"


def spoken(fields: Mapping[str, str], visitor: Visitor) -> Visitor:
    """The visitor in the language that the form was shown in."""
    return replace(visitor, language=known(fields.get("lang", "")) or visitor.language)


def onward(language: Language, done: str = "") -> Reply:
    """To the page that says what is in force now; sending the form anew does nothing more."""
    place = f"?lang={language}" + (f"&done={done}" if done else "")
    return Reply(303, headers=(("Location", place),))
