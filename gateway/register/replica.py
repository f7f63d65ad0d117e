"""Whether a replica has what was changed, where the server has replicas.

Redis replicates after it has answered.  A change that is acknowledged before a
replica has it is lost when the server fails over: a ban would come undone.  So the
server is asked, behind the change and on the same connection, which history it writes
(``master_replid``) and how far; and a change is over only when a replica of the same
history has come as far.  Where the server has no replica that follows it, there is
nothing to wait for, and nothing to fail over to.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from gateway.failure import RegisterUnavailable
from gateway.register.wire import Command, Wire

log = structlog.get_logger(__name__)

# A script, because the Cluster client finds no server for a command without a key.
_ASKED = b"return redis.call('INFO', 'replication')"
_STREAM_AT = 3
"""Where a script's command has its first key."""
_PAUSE = 0.02
_LEAST = 0.05
"""Seconds that a question needs at the least."""

_history = re.compile(rb"^master_replid:(\w+)", re.MULTILINE).search
_offset = re.compile(rb"^master_repl_offset:(\d+)", re.MULTILINE).search
_replica = re.compile(rb"^slave\d+:.*?state=online,offset=(\d+)", re.MULTILINE).findall


@dataclass(frozen=True, slots=True)
class History:
    """How far a server has written, and how far the best of its replicas has come."""

    name: bytes
    offset: int
    confirmed: int | None
    """None: no replica follows it."""

    @classmethod
    def of(cls, told: object) -> History | None:
        """Return what a server tells; None where it does not tell."""
        text = told.encode() if isinstance(told, str) else told
        if not isinstance(text, bytes):
            return None
        name, offset = _history(text), _offset(text)
        if name is None or offset is None:
            return None
        confirmed = max(map(int, _replica(text)), default=None)
        return cls(name[1], int(offset[1]), confirmed)


async def change(wire: Wire, scripts: Sequence[Command], within: float) -> list[Any]:
    """Run scripts that change; return their replies when a replica has the changes.

    Raises RegisterUnavailable as :meth:`Wire.exchange`, and when no replica has them
    after ``within`` seconds, or the server is another meanwhile: it is then unknown
    whether they last.
    """
    end = asyncio.get_running_loop().time() + within
    streams = list(dict.fromkeys(script[_STREAM_AT] for script in scripts))
    asked = [(b"EVAL", _ASKED, b"1", stream) for stream in streams]
    replies = await wire.exchange([*scripts, *asked], within)
    pending: dict[bytes, tuple[bytes, int]] = {}
    for stream, told in zip(streams, replies[len(scripts) :], strict=True):
        found = History.of(told)
        if found is None:
            log.warning("register_replicas_unknown", cause=type(told).__name__)
        elif found.confirmed is not None and found.confirmed < found.offset:
            # One question for each server is enough: its last.
            pending[found.name] = stream, found.offset
    for name, (stream, offset) in pending.items():
        await _confirm(wire, name, stream, offset, end)
    return replies[: len(scripts)]


async def _confirm(wire: Wire, name: bytes, stream: bytes, offset: int, end: float) -> None:
    """Return when a replica of the history has come to the offset."""
    loop = asyncio.get_running_loop()
    while (left := end - loop.time()) > _LEAST:
        found = History.of(await wire.replicated(stream, (b"EVAL", _ASKED, b"1", stream), left))
        if found is None or found.name != name:
            raise RegisterUnavailable("the register's server changed: it is unknown what it kept")
        if found.confirmed is not None and found.confirmed >= offset:
            return
        await asyncio.sleep(_PAUSE)
    raise RegisterUnavailable("no replica of the register has confirmed the change in time")
