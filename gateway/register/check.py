"""What is checked when a register is opened: the server, its settings, the layout."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import structlog
from redis.exceptions import RedisError

from gateway.failure import InputError, RegisterUnavailable
from gateway.register import layout
from gateway.register.connect import Connections
from gateway.register.layout import Layout

log = structlog.get_logger(__name__)

_LISTPACK_ENTRIES = 512
_LISTPACK_VALUE = 64
_VERSION_SCRIPT = b"return redis.REDIS_VERSION_NUM or 0"
_FLOOR = 0x070000


async def prepare(connections: Connections, bits: int | None, within: float) -> Layout:
    """Check the server's version; read the layout, or fix it in an empty register.

    ``bits`` None takes the register's own, or the default in an empty one.  Raises
    InputError for a version or layout that cannot be used, RegisterUnavailable when
    the server does not answer within ``within`` seconds.
    """
    wanted = Layout(layout.DEFAULT_BITS if bits is None else bits)
    replies = await connections.wire.exchange(
        [
            (b"EVAL", _VERSION_SCRIPT, b"1", layout.META),
            (b"HSETNX", layout.META, b"version", b"%d" % layout.VERSION),
            (b"HSETNX", layout.META, b"bits", b"%d" % wanted.bits),
            (b"HMGET", layout.META, b"version", b"bits"),
        ],
        within,
    )
    for reply in replies:
        if isinstance(reply, Exception):
            raise RegisterUnavailable(f"the register cannot be used ({type(reply).__name__})")
    if replies[0] < _FLOOR:
        raise InputError("the register's server is too old: Redis 7.0 or Valkey 7.2 is needed")
    version, found = (int(value) for value in replies[3])
    if version != layout.VERSION:
        raise InputError(
            f"the register has layout version {version}; this gateway works with {layout.VERSION}"
        )
    if bits is not None and found != bits:
        raise InputError(
            f"the register was made with 2**{found} buckets, the settings say 2**{bits}: "
            "the number cannot change; correct the settings"
        )
    return Layout(found)


async def warn_of_settings(connections: Connections, within: float) -> None:
    """Warn of server settings that cost memory or could lose entries."""
    settings: dict[Any, Any] = {}
    # A managed server may not show its settings.
    with suppress(RedisError, OSError, TimeoutError):
        async with asyncio.timeout(within):
            settings = await connections.stream.config_get(
                "hash-max-listpack-entries", "hash-max-listpack-value", "maxmemory-policy"
            )
    entries = int(settings.get("hash-max-listpack-entries", _LISTPACK_ENTRIES))
    value = int(settings.get("hash-max-listpack-value", _LISTPACK_VALUE))
    policy = settings.get("maxmemory-policy", "noeviction")
    if entries < _LISTPACK_ENTRIES:
        log.warning("register_listpack_entries_small", found=entries, wanted=_LISTPACK_ENTRIES)
    if value < _LISTPACK_VALUE:
        log.warning("register_listpack_value_small", found=value, wanted=_LISTPACK_VALUE)
    if policy != "noeviction":
        log.warning("register_may_evict", policy=policy, wanted="noeviction")
