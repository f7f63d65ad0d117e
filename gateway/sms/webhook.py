"""A route's webhook: who may call it, what its words mean, and how the tool hears of it.

Providers call from the internet, so a caller is known by what it shows alone: the
provider's signature or, where the provider signs nothing, a key.  Whoever shows neither
learns nothing.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import NamedTuple, Self
from urllib.parse import parse_qsl

from gateway.entry.entry import normal_name
from gateway.hook.hook import Hook, Signs, called
from gateway.hook.registry import find_hook
from gateway.hook.word import HELP_WORDS, START_WORDS, STOP_WORDS, Lists, Words, compared
from gateway.provider.credential import Basic
from gateway.provider.request import Request
from gateway.settings import Settings
from gateway.settings.failure import SettingsError
from gateway.settings.secret import read_secret
from gateway.settings.sms import SmsIncoming, SmsRoute
from gateway.sms.route import Route

PATH = "/incoming/"
"""Where webhooks come in; the route's name follows."""
_KEY = "key"
_BASIC = Basic()


class Webhook(NamedTuple):
    """What the settings say of a route's incoming messages, read."""

    route: Route
    settings: SmsIncoming
    hook: Hook
    words: Words
    topics: Mapping[str, str]
    """The topics by what may follow a word, as it is compared."""
    secret: str
    forward_secret: str

    @classmethod
    def of(cls, settings: Settings, route: Route, incoming: SmsIncoming) -> Self:
        """The webhook of these settings; raises SettingsError, InputError."""
        place = f"sms.routes {route.name}: incoming"
        secret = read_secret(incoming.secret_file, f"{place}.secret_file")
        forward_secret = secret
        if incoming.forward_secret_file is not None:
            forward_secret = read_secret(
                incoming.forward_secret_file, f"{place}.forward_secret_file"
            )
        topics = _topics(settings, route.settings, incoming)
        hook = find_hook(route.settings.provider)
        if hook.sourced and not incoming.account:
            raise SettingsError(
                f"{place}.account is missing: {hook.title} signs for all its customers alike; "
                "name the ARN of your topic (arn:aws:sns:…)"
            )
        return cls(
            route,
            incoming,
            hook,
            _words(settings, topics),
            topics,
            secret,
            forward_secret,
        )

    def admits(self, request: Request, now: int) -> bool:
        """Whether the caller shows that it is the provider."""
        if self.hook.signed(request, self.settings.public_url, self.secret, now):
            return not self.hook.sourced or self.hook.source(request) == self.settings.account
        return self.hook.keyed and (
            any(_same(shown, self.secret) for shown in _keys(request))
            or ((basic := _BASIC.read(request)) is not None and _same(basic.secret, self.secret))
        )

    def for_tool(self, request: Request, now: int) -> Request:
        """An admitted request as the tool is to get it: signed, or without our key."""
        hook = self.hook
        if not hook.signed(request, self.settings.public_url, self.secret, now):
            if any(_same(shown, self.secret) for shown in _keys(request)):
                return request._replace(query=self._query(request.query))
            return request.with_headers({"Authorization": None})
        if hook.signs is not Signs.URL:
            return request
        return hook.resigned(request, self.settings.forward_to, self.forward_secret)

    def tool_url(self, request: Request) -> str:
        """Where the tool hears of it."""
        return called(self.settings.forward_to, request.query)

    def _query(self, query: str) -> str:
        """A query without our key; with the tool's, where it has one of its own."""
        kept = [part for part in query.split("&") if part.partition("=")[0] != _KEY]
        if self.settings.forward_secret_file is not None:
            kept.append(f"{_KEY}={self.forward_secret}")
        return "&".join(kept)


def _keys(request: Request) -> list[str]:
    try:
        pairs = parse_qsl(request.query, max_num_fields=1000)
    except ValueError:
        return []
    return [value for name, value in pairs if name == _KEY]


def _same(shown: str, secret: str) -> bool:
    octets = shown.encode("utf-8", "surrogateescape")
    return bool(secret) and hmac.compare_digest(octets, secret.encode())


def _topics(settings: Settings, route: SmsRoute, incoming: SmsIncoming) -> dict[str, str]:
    names = [*settings.topics, *([route.topic] if route.topic else [])]
    said = {compared(name): normal_name(name) for name in names}
    return said | {compared(word): normal_name(name) for word, name in incoming.topics.items()}


def _words(settings: Settings, topics: Mapping[str, str]) -> Words:
    sms = settings.sms
    stop: Lists = {**STOP_WORDS, **sms.stop_words}
    start: Lists = {"own": sms.start_words} if sms.start_words else START_WORDS
    help_: Lists = {"own": sms.help_words} if sms.help_words else HELP_WORDS
    return Words(stop, start, help_, arguments=topics)


def webhooks(settings: Settings, routes: tuple[Route, ...]) -> dict[str, Webhook]:
    """The webhooks by their routes' names; raises SettingsError, InputError."""
    return {
        route.name: Webhook.of(settings, route, route.settings.incoming)
        for route in routes
        if route.settings.incoming is not None
    }
