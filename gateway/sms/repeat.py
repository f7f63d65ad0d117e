"""Requests that a tool repeats because it never heard the answer.

A tool that names its request (``Idempotency-Key`` and the like) may say it again.  The
key goes on to the provider, which sends the message once; here it keeps one request
from being recorded, held or kept twice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import orjson
import structlog

from gateway.decision.facts import Outcome
from gateway.failure import GatewayError
from gateway.provider.request import Request
from gateway.records.recorder import Exchange
from gateway.sms.route import Route

log = structlog.get_logger(__name__)

SECONDS = 86_400
"""How long a request is remembered: as long as providers do."""
_PREFIX = b"gw:sms:repeat:"
_WITHIN = 1.0


class Earlier(NamedTuple):
    """What was recorded of a request that was said before."""

    outcomes: list[list[str]]
    """Of each contact of each message."""
    messages: list[str]
    records: list[list[str]]
    held: Sequence[str] = ()
    """What was stored of it to wait."""

    def fits(self, outcomes: Sequence[Sequence[str]]) -> bool:
        """Whether the same contacts are found in the request now."""
        return [*map(len, self.outcomes)] == [*map(len, outcomes)]

    def waiting(self) -> list[tuple[int, int]]:
        """Message and contact of those for whom it was stored to wait."""
        if not self.held:
            return []
        return [
            (number, place)
            for number, outcomes in enumerate(self.outcomes)
            for place, outcome in enumerate(outcomes)
            if outcome in (Outcome.HOLD, Outcome.DEFER)
        ]


class Repeats:
    """What is remembered of named requests, in the register's server for a day."""

    def __init__(self, wire: Exchange) -> None:
        self._wire = wire

    @staticmethod
    def key(route: Route, request: Request) -> bytes | None:
        """What the request is remembered by; None: it names itself not."""
        for name in route.adapter.idempotency:
            value = request.header(name)
            if value:
                said = b"\0".join(
                    (route.name.encode(), value.encode(), request.path.encode(), request.body)
                )
                return _PREFIX + hashlib.blake2b(said, digest_size=20).hexdigest().encode()
        return None

    async def recall(self, key: bytes) -> Earlier | None:
        """What was recorded of it before.

        Raises:
            GatewayError: nobody can say.

        """
        (found,) = await self._wire.exchange([(b"GET", key)], _WITHIN)
        if not isinstance(found, bytes | str):
            if isinstance(found, Exception):
                raise GatewayError(f"repeats cannot be read: {found}")
            return None
        return Earlier(*orjson.loads(found))

    async def forget(self, key: bytes) -> None:
        """Take a request that came to nothing for a new one when it is said again."""
        try:
            await self._wire.exchange([(b"DEL", key)], _WITHIN)
        except GatewayError as error:
            log.warning("repeat_not_forgotten", cause=str(error))

    async def remember(self, key: bytes, earlier: Earlier) -> None:
        """Remember it for a day; a failure is logged and costs a record twice at worst."""
        # A list: orjson writes no named tuples.
        text = orjson.dumps([*earlier])
        try:
            (said,) = await self._wire.exchange(
                [(b"SET", key, text, b"EX", b"%d" % SECONDS)], _WITHIN
            )
        except GatewayError as error:
            said = error
        if isinstance(said, Exception):
            log.warning("repeat_not_remembered", cause=str(said))
