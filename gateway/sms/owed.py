"""Delivery reports that the gateway owes, in the register's server until they are taken.

Whoever sends one claims it first: its time is moved to the end of the claim, in the same
script that looks which are due.  What a killed worker has claimed is due again then, so
that a report may come twice and is not lost.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import orjson
import structlog

from gateway.failure import GatewayError
from gateway.provider.submission import Report
from gateway.records.identifier import new_id
from gateway.records.recorder import Exchange
from gateway.records.seal import Sealer
from gateway.register.reply import require_good

log = structlog.get_logger(__name__)

MOST = 10_000
"""Reports that are owed at the most."""
CLAIM_MS = 15_000
"""How long a claim lasts; longer than a try."""
_AT_ONCE = 200
_WITHIN = 2.0
# The braces keep both in one slot of a cluster.
_DUE, _TEXTS = b"gw:sms:{reports}:due", b"gw:sms:{reports}:texts"

_PUT: Final = b"""
local room = tonumber(ARGV[2]) - redis.call('ZCARD', KEYS[1])
local taken = 0
for place = 3, #ARGV, 2 do
  if taken >= room then break end
  redis.call('HSET', KEYS[2], ARGV[place], ARGV[place + 1])
  redis.call('ZADD', KEYS[1], ARGV[1], ARGV[place])
  taken = taken + 1
end
return taken
"""
_CLAIM: Final = b"""
local found = {''}
local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[3])
for _, id in ipairs(due) do
  redis.call('ZADD', KEYS[1], ARGV[2], id)
  found[#found + 1] = id
  found[#found + 1] = redis.call('HGET', KEYS[2], id) or ''
end
found[1] = redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] or ''
return found
"""


class Owed(NamedTuple):
    """A report that is claimed."""

    id: str
    report: Report | None
    """None: it cannot be read any more."""
    born: int
    """When it was made, in ms since the epoch."""


class Debts:
    """The reports that all workers owe."""

    def __init__(self, wire: Exchange, seal: Sealer) -> None:
        self._wire = wire
        self._seal = seal

    async def put(self, reports: Sequence[Report], now: int) -> int:
        """Owe these, due at once; how many there was room for.

        Raises:
            RegisterUnavailable: some may not be kept.

        """
        taken = 0
        for start in range(0, len(reports), _AT_ONCE):
            texts: list[bytes] = []
            for one in reports[start : start + _AT_ONCE]:
                id_ = new_id().encode()
                texts += id_, self._seal.seal(_written(one, now), _DUE + id_)
            taken += int(await self._run(_PUT, b"%d" % now, b"%d" % MOST, *texts))
        return taken

    async def claim(self, now: int, most: int) -> tuple[list[Owed], int | None]:
        """Some that are due, claimed; and when the next is due, claimed ones too.

        Raises:
            RegisterUnavailable: nobody can say.

        """
        lasts = b"%d" % (now + CLAIM_MS)
        found = await self._run(_CLAIM, b"%d" % now, lasts, b"%d" % most)
        owed = [
            self._opened(_octets(found[place]), _octets(found[place + 1]))
            for place in range(1, len(found), 2)
        ]
        following = _octets(found[0])
        return owed, round(float(following)) if following else None

    async def postpone(self, owed: Owed, due: int) -> None:
        """Try it again then; raises RegisterUnavailable."""
        await self._exchange((b"ZADD", _DUE, b"XX", b"%d" % due, owed.id.encode()))

    async def settle(self, owed: Owed) -> None:
        """It is owed no more; raises RegisterUnavailable."""
        id_ = owed.id.encode()
        await self._exchange((b"ZREM", _DUE, id_), (b"HDEL", _TEXTS, id_))

    def _opened(self, id_: bytes, text: bytes) -> Owed:
        try:
            members = orjson.loads(self._seal.open(text, _DUE + id_))
            headers = tuple((name, value) for name, value in members["headers"])
            body = base64.b64decode(members["body"])
            report = Report(members["url"], headers, body, members["method"])
            return Owed(id_.decode(), report, members["born"])
        except (GatewayError, ValueError, KeyError, TypeError) as error:
            log.error("report_unreadable", cause=type(error).__name__)
            return Owed(id_.decode(), None, 0)

    async def _run(self, script: bytes, *arguments: bytes) -> Any:  # noqa: ANN401 - as it answers
        return (await self._exchange((b"EVAL", script, b"2", _DUE, _TEXTS, *arguments)))[0]

    async def _exchange(self, *commands: tuple[bytes, ...]) -> list[Any]:
        replies = await self._wire.exchange(commands, _WITHIN)
        require_good(replies, "reports cannot be kept")
        return replies


def _written(report: Report, now: int) -> bytes:
    return orjson.dumps(
        {
            "url": report.url,
            "headers": report.headers,
            "body": base64.b64encode(report.body).decode(),
            "method": report.method,
            "born": now,
        }
    )


def _octets(found: bytes | str) -> bytes:
    return found.encode("utf-8", "surrogateescape") if isinstance(found, str) else found
