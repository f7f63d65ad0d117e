"""The tools' webhooks, at ``/hooks/NAME``: what they tell is in force before they hear 200.

A call that comes again (a replay, or the tool's own repeat) is answered 200 and not heard,
once what it told is in force.  While that is not known yet, and whatever is away here, it is
answered 503, so that the tool calls again.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

import structlog

from gateway.clock import Clock, now_ms
from gateway.connector.connector import TOLERANCE, HookRefused
from gateway.failure import GatewayError, InputError, RegisterUnavailable
from gateway.provider.request import Request
from gateway.public.server import Reply, Visit
from gateway.records.recorder import Exchange
from gateway.sync.intake import Intake, Via
from gateway.sync.tool import Tool

log = structlog.get_logger(__name__)

BODY_MOST: Final = 4 * 1024 * 1024
"""Octets of one call at the most; the public server's own bound holds too."""
_WITHIN: Final = 5.0
_REMEMBERED: Final = b"%d" % (2 * TOLERANCE)
_UNDER_WAY: Final = b"45000"
"""Milliseconds for which a call that began may be going on; longer than the public server
lets one take.  Whoever died in it is repeated by the tool after that."""
_HEARD: Final = b"1"
_PREFIX: Final = "/hooks/"


class HookUnderWay(GatewayError):
    """The same call is being heard, or its hearer died: the tool is to call again."""

    code = 451
    status = "4.3.0"


class Hooks:
    """The part of the public server that tools call."""

    def __init__(
        self, tools: Mapping[str, Tool], intake: Intake, wire: Exchange, clock: Clock = now_ms
    ) -> None:
        self._tools = tools
        self._intake = intake
        self._wire = wire
        self._clock = clock

    async def __call__(self, visit: Visit) -> Reply:
        """Hear a call; raises GatewayError where something is away."""
        tool = self._tools.get(visit.path.rstrip("/"))
        if tool is None:
            return Reply(404, b"There is nothing here.\n")
        if len(visit.body) > BODY_MOST:
            return Reply(413, b"That is too much.\n")
        request = Request(
            visit.method, _PREFIX + visit.path, visit.query, visit.headers, visit.body
        )
        try:
            changes = tool.connector.hook(request, self._clock())
            token = tool.connector.replays(request)
        except HookRefused as error:
            log.warning("hook_refused", tool=tool.name, status=error.http, cause=str(error))
            return Reply(error.http, b"Not taken.\n")
        except (InputError, ValueError, TypeError, LookupError, AttributeError) as error:
            log.warning("hook_unreadable", tool=tool.name, cause=type(error).__name__)
            return Reply(400, b"Not taken.\n")
        # Also of a call that tells nothing: its signature may not cover what it tells.
        key = self._key(tool, token) if token else b""
        if key and not await self._claim(key):
            return Reply(200)
        try:
            taken = await self._intake.take(tool, changes, Via.HOOK)
        except BaseException:
            if key:
                await self._release(key)
            raise
        if key:
            await self._keep(key)
        if taken.bad:
            log.warning("hook_entries_unreadable", tool=tool.name, count=taken.bad)
        if taken.news or taken.removed:
            log.info("hook_taken", tool=tool.name, news=taken.news, removed=taken.removed)
        return Reply(200)

    @staticmethod
    def _key(tool: Tool, token: str) -> bytes:
        # What a tool calls a token may hold anything, an address too.
        digest = blake2b(token.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
        return f"sg:{{rec}}:hook:{tool.name}:{digest}".encode()

    async def _claim(self, key: bytes) -> bool:
        """Whether nobody has called with this before.

        Raises HookUnderWay where somebody does now, and RegisterUnavailable.
        """
        claim = (b"SET", key, b"", b"NX", b"PX", _UNDER_WAY)
        claimed, known = await self._wire.exchange([claim, (b"GET", key)], _WITHIN)
        if isinstance(claimed, Exception) or isinstance(known, Exception):
            raise RegisterUnavailable("a webhook's call cannot be remembered")
        if claimed is None and known != _HEARD:
            raise HookUnderWay("the same call of a webhook is under way")
        return claimed is not None

    async def _keep(self, key: bytes) -> None:
        """Remember that what was told is in force; where that fails, the tool may repeat it."""
        try:
            await self._wire.exchange([(b"SET", key, _HEARD, b"PX", _REMEMBERED)], _WITHIN)
        except GatewayError as error:
            log.error("hook_not_remembered", cause=str(error))

    async def _release(self, key: bytes) -> None:
        """Let the tool call again with what could not be taken."""
        try:
            await self._wire.exchange([(b"DEL", key)], _WITHIN)
        except GatewayError as error:
            log.error("hook_not_released", cause=str(error))
