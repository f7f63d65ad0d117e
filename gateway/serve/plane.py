"""The text message side of a worker, built from the settings.

Loaded by workers that have routes only: its HTTP library is as large as all the rest.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import time
from typing import TYPE_CHECKING

from gateway.contacts.digest import KeyRing
from gateway.decision.rule import RuleSet
from gateway.evidence.metric import Metrics
from gateway.failure import InputError
from gateway.gate import Gate
from gateway.held.shelf import Shelf
from gateway.records.recorder import Recorder
from gateway.records.seal import Sealer
from gateway.register.register import Register
from gateway.settings import Settings
from gateway.settings.sms import Quiet
from gateway.sms.evidence import Evidence
from gateway.sms.incoming import Incomings
from gateway.sms.outlet import Outlets, tls_context
from gateway.sms.owed import Debts
from gateway.sms.repeat import Repeats
from gateway.sms.report import Reporter
from gateway.sms.route import Route, Routes
from gateway.sms.site import Site
from gateway.sms.webhook import webhooks

if TYPE_CHECKING:
    from gateway.quiet.hours import QuietHours

_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def routes_of(settings: Settings) -> Routes:
    """The routes of these settings; raises InputError for one that cannot be used."""
    for route in settings.sms.routes:
        tls_context(route)
    routes = Routes([Route.of(settings, route) for route in settings.sms.routes])
    webhooks(settings, routes.all)
    return routes


def quiet_hours(quiet: Quiet | None) -> QuietHours | None:
    """The quiet hours of these settings; raises InputError for such as cannot be kept."""
    if quiet is None:
        return None
    from gateway.quiet.hours import QuietHours

    try:
        return QuietHours(
            time.fromisoformat(quiet.begins),
            time.fromisoformat(quiet.ends),
            days=[_DAYS.index(day) for day in quiet.days],
            holidays=quiet.holidays,
            time_zone=quiet.time_zone,
        )
    except ValueError as error:
        raise InputError(f"sms.quiet: {error}") from None


def opt_out_pattern(words: list[str]) -> re.Pattern[str] | None:
    """What finds the means to refuse in a text: one of these words, as a word."""
    if not words:
        return None
    either = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{either})(?!\w)", re.IGNORECASE)


@dataclass(slots=True)
class Plane:
    """The text message side of one process, and how it ends."""

    site: Site
    ring: KeyRing

    @classmethod
    def build(
        cls,
        settings: Settings,
        rules: RuleSet,
        *,
        gate: Gate,
        ring: KeyRing,
        recorder: Recorder,
        shelf: Shelf,
        register: Register,
        seal: Sealer,
        metrics: Metrics,
    ) -> Plane:
        """The parts of a process that has routes.

        Raises:
            InputError: a route cannot be used.

        """
        routes = routes_of(settings)
        site = Site(
            settings=settings,
            rules=rules,
            routes=routes,
            gate=gate,
            evidence=Evidence(settings, rules, ring, recorder, metrics),
            recorder=recorder,
            contents=shelf.contents,
            held=shelf.held,
            outlets=Outlets(),
            repeats=Repeats(register.connections.wire, seal),
            reporter=Reporter(Debts(register.connections.wire, seal)),
            quiet=quiet_hours(settings.sms.quiet),
            metrics=metrics,
            incoming=Incomings(register, ring, shelf, webhooks(settings, routes.all)),
            opt_out=opt_out_pattern(settings.sms.opt_out_words),
        )
        return cls(site, ring)

    def rebuild(self, settings: Settings, rules: RuleSet) -> Site:
        """A site of new settings on the same connections.

        Raises:
            InputError: a route cannot be used; nothing has changed.

        """
        old = self.site
        routes = routes_of(settings)
        self.site = replace(
            old,
            settings=settings,
            rules=rules,
            routes=routes,
            incoming=old.incoming.renewed(webhooks(settings, routes.all)),
            evidence=Evidence(settings, rules, self.ring, old.recorder, old.metrics),
            quiet=quiet_hours(settings.sms.quiet),
            opt_out=opt_out_pattern(settings.sms.opt_out_words),
        )
        return self.site

    async def aclose(self) -> None:
        """Let the reports that are being sent end, and close the connections."""
        await self.site.reporter.aclose()
        await self.site.outlets.aclose()
