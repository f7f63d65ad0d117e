"""Who archives: one process at a time, by a key that expires.

A holder that was killed leaves its lease behind.  A contender in the same process-id
space sees that it is dead and takes the lease over at once; any other waits until it
expires.

The lease keeps two archivers from working side by side; that a paused one writes
nothing once it is overtaken is the fence's duty (:meth:`Archive.take_over`).
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from enum import IntEnum
from pathlib import Path
from typing import Final

from gateway.failure import RecordsUnavailable
from gateway.records.recorder import Exchange

ARCHIVER: Final = b"sg:{rec}:archiver"

_HOLD: Final = b"""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return 1
end
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return 2
end
return 0
"""
_RELEASE: Final = b"""
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
"""


_TAKE_OVER: Final = b"""
if redis.call('GET', KEYS[1]) == ARGV[3] then
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 2
end
return 0
"""


class Hold(IntEnum):
    """How an attempt to hold the lease ended."""

    ELSEWHERE = 0
    KEPT = 1
    GAINED = 2


class Lease:
    """One contender for the lease ``key``, which lasts ``lasts`` ms after each hold."""

    def __init__(
        self, wire: Exchange, key: bytes = ARCHIVER, *, lasts: int = 15_000, within: float = 5.0
    ) -> None:
        self._wire = wire
        self._key = key
        self._lasts = b"%d" % lasts
        self._within = within
        self._token = f"{process_name(os.getpid())} {secrets.token_hex(8)}".encode()

    async def hold(self) -> Hold:
        """Gain or keep the lease; raises GatewayError when the store does not answer."""
        held = Hold(await self._run(_HOLD, self._lasts))
        if held is not Hold.ELSEWHERE:
            return held
        (holder,) = await self._wire.exchange([(b"GET", self._key)], self._within)
        if isinstance(holder, bytes) and is_gone(holder.decode(errors="replace")):
            return Hold(await self._run(_TAKE_OVER, self._lasts, holder))
        return held

    async def release(self) -> None:
        """Give the lease up if it is ours; raises GatewayError."""
        await self._run(_RELEASE)

    async def _run(self, script: bytes, *arguments: bytes) -> int:
        command = (b"EVAL", script, b"1", self._key, self._token, *arguments)
        (reply,) = await self._wire.exchange([command], self._within)
        if not isinstance(reply, int):
            raise RecordsUnavailable(f"the archiver's lease: {type(reply).__name__}")
        return reply


def process_name(pid: int) -> str:
    """A process of this machine, for all time: its id space, id and start; or ``-``."""
    with suppress(OSError, IndexError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        space = str(Path("/proc/self/ns/pid").readlink())
        # The fields behind the command's name, which may itself hold spaces.
        started = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
        return f"{boot} {space} {pid} {started}"
    return "-"


def is_gone(token: str) -> bool:
    """Whether the process that a token names is known to be gone."""
    parts = token.split(" ")
    ours = process_name(os.getpid()).split(" ")
    if len(parts) != 5 or len(ours) != 4 or parts[:2] != ours[:2] or not parts[2].isdecimal():
        return False
    return process_name(int(parts[2])) != " ".join(parts[:4])
