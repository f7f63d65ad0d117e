"""Pages as HTML: no script, no cookie, nothing of another server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from gateway.clock import utc
from gateway.contacts.contact import Channel
from gateway.entry.entry import ANY_TOPIC, normal_name
from gateway.page.language import LANGUAGES, NAMES
from gateway.page.look import Look
from gateway.page.wording import say
from gateway.public.server import Reply
from gateway.settings.model import Settings
from gateway.settings.public import Language
from gateway.subject.request import local

_DAYS: Final[dict[Language, str]] = {
    "fi": "{0.day}.{0.month}.{0.year}",
    "sv": "{0.day}.{0.month}.{0.year}",
    "en": "{0.day} {1} {0.year}",
}
_MONTHS: Final = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)


def day_of(at: int, language: Language) -> str:
    """A day of Finland's calendar as people write it; ``at`` is ms since the epoch."""
    day = local(utc(at))
    return _DAYS[language].format(day, _MONTHS[day.month - 1])


@dataclass(frozen=True, slots=True)
class Painter:
    """Paints pages in the look and with the names of one configuration."""

    look: Look
    controller: str
    contact_email: str
    notices: Mapping[Language, str]
    titles: Mapping[str, Mapping[Language, str]]
    """Of topics in their compared form."""

    @classmethod
    def of(cls, settings: Settings) -> Painter:
        """The painter of these settings; raises InputError for a logo that cannot be shown."""
        pages = settings.pages
        return cls(
            Look.of(pages.colour, pages.logo),
            settings.controller.name,
            settings.controller.contact_email,
            pages.notice,
            {normal_name(name): topic.title for name, topic in settings.topics.items()},
        )

    def title(self, topic: str, channel: Channel, language: Language) -> str:
        """A topic as people read it; ``*`` is all marketing of the channel."""
        if topic == ANY_TOPIC:
            return say(f"channel.{channel}", language)
        return self.titles.get(normal_name(topic), {}).get(language) or topic

    def page(
        self,
        template: str,
        language: Language,
        *,
        status: int = 200,
        headers: tuple[tuple[str, str], ...] = (),
        **values: object,
    ) -> Reply:
        """A page of one of the templates."""
        others = [one for one in LANGUAGES if self.notices.get(one)]
        spoken = language if language in others else (others or [language])[0]
        html = (
            _environment()
            .get_template(f"{template}.html.j2")
            .render(
                say=partial(self._say, language),
                language=language,
                names=NAMES,
                look=self.look,
                controller=self.controller,
                contact_email=self.contact_email,
                notice=self.notices.get(spoken, ""),
                notice_language=spoken,
                day=partial(day_of, language=language),
                **values,
            )
        )
        return Reply(
            status,
            html.encode("utf-8", "replace"),
            "text/html; charset=utf-8",
            (
                ("Content-Security-Policy", self.look.policy),
                ("Content-Language", language),
                ("X-Robots-Tag", "noindex, nofollow"),
                *headers,
            ),
        )

    def problem(
        self,
        what: str,
        status: int,
        language: Language,
        *,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Reply:
        """A page that says why there is nothing else, and what helps."""
        return self.page("problem", language, status=status, headers=headers, what=what)

    def _say(self, language: Language, key: str, **values: object) -> str:
        return say(key, language, **{"controller": self.controller, **values})


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["begun"] = lambda text: text[:1].upper() + text[1:]
    return environment
