"""What all connections of inbound mail share."""

from __future__ import annotations

import ssl
from collections import Counter

from gateway.inbound.addressee import Addressees
from gateway.inbound.desk import Desk
from gateway.network import networks_of
from gateway.settings.public import Inbound
from gateway.smtp.limit import Limits
from gateway.smtp.listener import Listener as MailListener
from gateway.smtp.site import Site


class Listener(MailListener):
    """The mail side's listener, with a desk for what comes in."""

    def __init__(self, site: Site, desk: Desk, tls_context: ssl.SSLContext | None) -> None:
        super().__init__(site, tls_context)
        self.limits = Limits(site.settings.inbound.max_connections, 1)
        self.strangers: Counter[str] = Counter()
        """Connections from elsewhere than the networks that are believed, by place."""
        self.seat(desk)

    def seat(self, desk: Desk) -> None:
        """Take a new desk, and its settings."""
        self.desk = desk
        self.settings: Inbound = desk.settings.inbound
        self.hostname = self.settings.hostname or desk.settings.smtp.hostname
        self.addressees = Addressees.of(desk.settings)
        self.networks = networks_of(self.settings.networks)
        self.limits.max_connections = self.settings.max_connections

    @property
    def stranger_bound(self) -> int:
        """How many strangers may be connected at once: bounces find room beside them."""
        return max(1, self.settings.max_connections // 2)

    def admits(self, place: str) -> bool:
        """Whether one more stranger may come from a place: none keeps all others out."""
        bound = self.stranger_bound
        return self.strangers.total() < bound and self.strangers[place] < max(2, bound // 5)

    def come(self, place: str) -> None:
        """A stranger has come."""
        self.strangers[place] += 1

    def gone(self, place: str) -> None:
        """A stranger that was counted is gone."""
        self.strangers[place] -= 1
        if not self.strangers[place]:
            del self.strangers[place]
