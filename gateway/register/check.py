"""What is checked when a register is opened: the server, its settings, the layout."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import structlog
from redis.exceptions import RedisError
from ulid import ULID

from gateway.contacts.digest import KeyRing
from gateway.failure import InputError, RegisterUnavailable
from gateway.register import layout
from gateway.register.connect import Connections
from gateway.register.fill import FULL, fill
from gateway.register.layout import Layout
from gateway.register.reply import members_of, require_good

log = structlog.get_logger(__name__)

_LISTPACK_ENTRIES = 512
_LISTPACK_VALUE = 64
_VERSION_SCRIPT = b"return redis.REDIS_VERSION_NUM or 0"
_FLOOR = 0x070000
_KEY_MARK = b"key:"
_KEY_SUBJECT = "k:check"


async def prepare(
    connections: Connections, ring: KeyRing, bits: int | None, within: float
) -> Layout:
    """Check the server's version and the keys; read the layout, or fix it when empty.

    ``bits`` None takes the register's own, or the default in an empty one.  Each key
    leaves a mark of itself in the register: entries under a key that the ring lacks
    would be bans that nobody finds.  Raises InputError for a version, layout or ring
    that cannot be used, RegisterUnavailable when the server does not answer within
    ``within`` seconds.
    """
    wanted = Layout(layout.DEFAULT_BITS if bits is None else bits)
    replies = await connections.wire.exchange(
        [
            (b"EVAL", _VERSION_SCRIPT, b"1", layout.META),
            (b"HSETNX", layout.META, b"version", b"%d" % layout.VERSION),
            (b"HSETNX", layout.META, b"bits", b"%d" % wanted.bits),
            (b"HSETNX", layout.META, b"generation", str(ULID()).encode()),
            (b"HMGET", layout.META, b"version", b"bits"),
            (b"HGETALL", layout.META),
        ],
        within,
    )
    require_good(replies, "the register cannot be used")
    if replies[0] < _FLOOR:
        raise InputError("the register's server is too old: Redis 7.0 or Valkey 7.2 is needed")
    version, found = (int(value) for value in replies[4])
    if version != layout.VERSION:
        raise InputError(
            f"the register has layout version {version}; this gateway works with {layout.VERSION}"
        )
    if bits is not None and found != bits:
        raise InputError(
            f"the register was made with 2**{found} buckets, the settings say 2**{bits}: "
            "correct the settings, or change the number with register rebuild --bits"
        )
    meta = members_of(replies[5])
    places = Layout(found, int(meta.get(b"turn", 0)), meta[b"generation"])
    await _check_keys(connections, ring, meta, places, within)
    return places


async def _check_keys(
    connections: Connections,
    ring: KeyRing,
    meta: dict[bytes, bytes],
    places: Layout,
    within: float,
) -> None:
    marks = {
        _KEY_MARK + digest.key_id.encode(): digest.value.hex().encode()
        for digest in ring.digests(_KEY_SUBJECT)
    }
    for name, value in meta.items():
        if not name.startswith(_KEY_MARK):
            continue
        key_id = name.removeprefix(_KEY_MARK).decode()
        if name not in marks:
            raise InputError(
                f"the register has entries under key {key_id}, which the key file lacks: "
                "restore the key file; without that key its bans cannot be found"
            )
        if marks[name] != value:
            raise InputError(
                f"key {key_id} of the key file is not the one the register was written with: "
                "restore the right key file; with this one its bans cannot be found"
            )
    fresh: list[tuple[bytes, ...]] = [
        (b"HSETNX", layout.META, name, value) for name, value in marks.items()
    ]
    # Whoever changes a bucket compares them.
    fresh += [(b"SETNX", layout.tag_key(s), places.tag) for s in range(layout.SHARDS)]
    require_good(await connections.wire.exchange(fresh, within), "the register cannot be used")


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


async def warn_of_fill(
    connections: Connections, places: Layout, ring: KeyRing, within: float
) -> None:
    """Warn of buckets so full that the register should get more of them."""
    # Not reaching it is for the look-ups to tell.
    with suppress(RegisterUnavailable):
        found = await fill(connections.wire, places, ring.key_ids, within)
        if found.full:
            log.warning(
                "register_buckets_full",
                contacts=found.contacts,
                a_bucket=round(found.average),
                at_most=FULL,
                remedy=f"register rebuild --bits {found.wanted_bits}",
            )
