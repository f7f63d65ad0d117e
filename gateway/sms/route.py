"""Routes: which tool's request this is, whose, and where it goes.

What the settings say of a route is read once into plain values.  A caller that does
not belong to the route learns nothing: it is refused before its request is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gateway.contacts.contact import ContactError
from gateway.contacts.destination import Notation, parse_destination
from gateway.decision.facts import Kind
from gateway.failure import InputError
from gateway.network import Address, Networks, networks_of, within
from gateway.provider.adapter import Adapter
from gateway.provider.credential import Credential
from gateway.provider.problem import Problem, Refusal
from gateway.provider.registry import find_adapter
from gateway.provider.request import Request
from gateway.provider.table import Table
from gateway.settings import Settings
from gateway.settings.secret import read_secret
from gateway.settings.sms import OnQuiet, SmsRoute
from gateway.settings.value import CLIENT_KINDS, ClientKind

DEFAULT_SENDER = "default"
"""In the settings: a request that names no sender."""
_SHORT = 64
"""Characters of a sender ID that is worth remembering."""
_BLANK = "-"
"""Stands where a secret was; not empty, for some schemes show nothing then."""


@dataclass(frozen=True, slots=True)
class Route:
    """One tool's way to one provider."""

    settings: SmsRoute
    adapter: Adapter
    base_url: str
    kind: Kind | None
    """None where each request declares its own."""
    urgent: bool | None
    """None: all but marketing is."""
    senders: frozenset[str]
    group: Callable[[str | None], str | None]
    """The product group that a topic's messages market."""
    networks: Networks
    token: Credential | None
    """What the tool must show; None where its own credentials go through."""
    secret: Credential | None
    """What takes the token's place."""
    report_secret: str

    @property
    def name(self) -> str:
        """Its name in the settings."""
        return self.settings.name

    @classmethod
    def of(cls, settings: Settings, route: SmsRoute) -> Route:
        """The route of these settings; raises SettingsError, InputError."""
        own = {shape.name: shape for shape in settings.sms.providers}
        shape = own.get(route.provider)
        adapter = find_adapter(route.provider) if shape is None else Table(shape)
        place = f"sms.routes {route.name}"
        token = secret = None
        if adapter.signs_host and not (route.token_file and route.token_name and route.username):
            raise InputError(
                f"{place}: {adapter.title} signs the host, so that the tool's own credentials "
                "cannot go through: set token_name and token_file (the tool's), username and "
                "password_file (the provider's)"
            )
        if adapter.grows_old and route.on_quiet is OnQuiet.KEEP and route.token_file is None:
            raise InputError(
                f'{place}: with on_quiet = "keep" what a tool of {adapter.title} signs would grow '
                "old while it waits: set token_file (the tool's) and password_file (the "
                "provider's), so that the gateway signs when it sends"
            )
        if route.token_file is not None and route.password_file is not None:
            token = Credential(
                route.token_name, read_secret(route.token_file, f"{place}: token_file")
            )
            secret = Credential(
                route.username, read_secret(route.password_file, f"{place}: password_file")
            )
        report_secret = ""
        if route.report_secret_file is not None:
            report_secret = read_secret(route.report_secret_file, f"{place}: report_secret_file")
        groups: Mapping[str, str | None] = {
            topic: named.product_group or route.product_group
            for topic, named in settings.topics.items()
        }
        return cls(
            settings=route,
            adapter=adapter,
            base_url=route.base_url or adapter.base_url,
            kind=None if route.kind is ClientKind.DECLARED else CLIENT_KINDS[route.kind],
            urgent=route.urgent,
            senders=frozenset(map(sender_key, route.senders)),
            group=lambda topic: groups.get(topic or "", route.product_group),
            networks=networks_of(route.networks),
            token=token,
            secret=secret,
            report_secret=report_secret,
        )

    def admit_address(self, peer: Address | None) -> None:
        """Refuse a caller from elsewhere, before its request is read; raises Refusal."""
        if self.networks and not within(self.networks, peer):
            raise Refusal(Problem.UNKNOWN_CALLER, "Authentication failed")

    def admit(self, request: Request) -> None:
        """Refuse a caller who does not show the route's token; raises Refusal."""
        if self.token is not None and not self._shown(request):
            raise Refusal(Problem.UNKNOWN_CALLER, "Authentication failed")

    def credited(self, original: Request, request: Request) -> Request:
        """The request with the provider's credential in the place of the tool's token."""
        if self.token is None or self.secret is None:
            return request
        for scheme in self.adapter.schemes:
            if scheme.shows(original, self.token):
                name = self.secret.name or scheme.name_in(original)
                return scheme.write(request, Credential(name, self.secret.secret))
        raise Refusal(Problem.UNKNOWN_CALLER, "Authentication failed")

    def without_token(self, original: Request, request: Request) -> tuple[Request, int | None]:
        """The request as it is stored: without the tool's token, where there is one.

        ``original``: as it came.  Also returns by which of the schemes the credential
        is shown; None: by the tool's own, which stay in it.
        """
        if self.token is None or self.secret is None:
            return request, None
        for number, scheme in enumerate(self.adapter.schemes):
            if scheme.shows(original, self.token):
                shown = Credential(scheme.name_in(original), _BLANK)
                return scheme.write(request, shown), number
        raise Refusal(Problem.UNKNOWN_CALLER, "Authentication failed")

    def with_secret(self, request: Request, number: int | None) -> Request:
        """A stored request with the provider's credential put in (see :meth:`without_token`).

        Raises:
            InputError: the route has no secret any more.

        """
        if number is None:
            return request
        if self.secret is None or number >= len(self.adapter.schemes):
            raise InputError(
                f"sms.routes {self.name} has no password_file any more; without it what was "
                "stored has no credential"
            )
        scheme = self.adapter.schemes[number]
        name = self.secret.name or scheme.name_in(request)
        return scheme.write(request, Credential(name, self.secret.secret))

    def authorises(self, sender: str) -> bool:
        """Whether the controller may send under this sender ID (Traficom 28)."""
        return sender_key(sender or DEFAULT_SENDER) in self.senders

    def _shown(self, request: Request) -> bool:
        token = self.token
        return token is not None and any(
            scheme.shows(request, token) for scheme in self.adapter.schemes
        )


def sender_key(sender: str) -> str:
    """The form in which sender IDs are compared: numbers as such, names without case."""
    return _key(sender) if len(sender) <= _SHORT else _key.__wrapped__(sender)


# The controller's own sender IDs, and few.
@lru_cache(maxsize=256)
def _key(sender: str) -> str:
    try:
        return parse_destination(sender, Notation.INTERNATIONAL).canonical
    except ContactError:
        return sender.strip().casefold()


class Routes:
    """The routes of one configuration, found by how a request comes."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self.all = tuple(routes)
        self._own = {route.name: route for route in routes if route.settings.listen is not None}
        self._hosts = {
            route.settings.host.lower(): route for route in routes if route.settings.host
        }
        # The longest first, so that "/shop/news" is not taken for "/shop".
        self._prefixes = sorted(
            (route for route in routes if route.settings.prefix),
            key=lambda route: -len(route.settings.prefix),
        )

    def named(self, name: str) -> Route | None:
        """The route of this name."""
        return next((route for route in self.all if route.name == name), None)

    def find(self, listener: str, host: str, path: str) -> tuple[Route, str] | None:
        """The route, and the path as the provider would see it.

        ``listener``: the name of the route whose own address it came to; "" for those
        that are shared.  ``host``: the Host header.
        """
        if listener:
            route = self._own.get(listener)
            return (route, path) if route is not None else None
        for route in self._prefixes:
            prefix = route.settings.prefix
            if path == prefix or path.startswith((prefix + "/", prefix + "?")):
                return route, path[len(prefix) :] or "/"
        name = host.lower()
        route = self._hosts.get(name) or self._hosts.get(name.rpartition(":")[0])
        return (route, path) if route is not None else None
