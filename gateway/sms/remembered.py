"""What is remembered of incoming messages, in the register's server.

That a message was handled, for a week; the parts of a long one, for an hour; and what a
route's STOPs have set, until a START lifts it, however long that takes.  Names and
places only: senders stand in it as digests.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Any

from gateway.failure import RegisterUnavailable
from gateway.hook.hook import Incoming
from gateway.records.recorder import Exchange
from gateway.register.reply import require_good

WORKING, DONE = b"working", b"done"
_OWED = b"owed:"
_LEFT = b":left"
_WEEK = b"%d" % (7 * 86_400)
_UNDER_WAY = b"60"
"""Seconds after which a message whose handler has vanished may be handled by another."""
_PARTS = b"3600"
_HELPED = b"3600"
_MOST = 2000
"""Characters of one part that are kept; the standard has 153."""
_WITHIN = 1.0
_WAIT, _PAUSE = 5.0, 0.05


class Remembered:
    """The memory of all routes' webhooks."""

    def __init__(self, wire: Exchange) -> None:
        self._wire = wire

    # -- messages that were handled -----------------------------------------------

    async def claim(self, key: bytes) -> bool:
        """Take a message to handle it; False: it was handled before.

        Where somebody is at it just now, waits for what comes of that.

        Raises:
            RegisterUnavailable: nobody can say; or the other one takes too long.

        """
        deadline = asyncio.get_running_loop().time() + _WAIT
        while True:
            if await self._ask(b"SET", key, WORKING, b"NX", b"EX", _UNDER_WAY) is not None:
                return True
            found = await self._ask(b"GET", key)
            if found is not None and _octets(found) != WORKING:
                return False
            if asyncio.get_running_loop().time() > deadline:
                raise RegisterUnavailable("the message is being handled elsewhere")
            await asyncio.sleep(_PAUSE)

    async def finish(self, key: bytes, owed: str = "") -> None:
        """It is handled; ``owed`` names the reply that has yet to be given."""
        value = _OWED + owed.encode() if owed else DONE
        await self._ask(b"SET", key, value, b"EX", _WEEK)

    async def collect(self, key: bytes) -> str:
        """The name of the reply that is owed, to whoever asks first; "" for all others."""
        found = await self._ask(b"SET", key, DONE, b"XX", b"EX", _WEEK, b"GET")
        value = b"" if found is None else _octets(found)
        return value.removeprefix(_OWED).decode() if value.startswith(_OWED) else ""

    async def release(self, key: bytes, reply: str = "") -> None:
        """It came to nothing and is handled anew when it comes again.

        ``reply`` names what the person was to hear of as much as was done.
        """
        if reply:
            await self._ask(b"SET", key + _LEFT, reply.encode(), b"EX", _WEEK)
        await self._ask(b"DEL", key)

    async def left(self, key: bytes) -> str:
        """The reply that an attempt before this one left behind; "" where there is none."""
        found = await self._ask(b"GETDEL", key + _LEFT)
        return "" if found is None else _octets(found).decode()

    # -- long messages ------------------------------------------------------------

    async def add_part(self, key: bytes, number: int, total: int, text: str) -> dict[int, str]:
        """Keep one part; all that are there, once they are complete, else none.

        The same parts may be given to two callers: they claim the whole.
        """
        _, _, found = await self._exchange(
            (b"HSET", key, b"%d" % number, text[:_MOST].encode()),
            (b"EXPIRE", key, _PARTS),
            (b"HGETALL", key),
        )
        parts = {int(name): text for name, text in _pairs(found)}
        return parts if len(parts) >= total else {}

    # -- what a STOP has set ------------------------------------------------------

    async def marks(self, keys: Sequence[bytes]) -> dict[str, str]:
        """What is noted of a person under these keys, the first counting most."""
        found: dict[str, str] = {}
        for reply in reversed(await self._exchange(*((b"HGETALL", key) for key in keys))):
            found.update(_pairs(reply))
        return found

    async def mark(self, key: bytes, name: str, value: str) -> None:
        """Note something of a person."""
        await self._ask(b"HSET", key, name.encode(), value.encode())

    async def mark_first(self, key: bytes, name: str) -> bool:
        """Note something of a person; whether it was not noted before."""
        return bool(await self._ask(b"HSETNX", key, name.encode(), b"1"))

    async def unmark(self, keys: Sequence[bytes], *names: str) -> None:
        """Forget something of a person."""
        fields = [name.encode() for name in names]
        await self._exchange(*((b"HDEL", key, *fields) for key in keys))

    async def first_help(self, key: bytes) -> bool:
        """Whether no help was sent within the hour: two machines could ask for ever."""
        return await self._ask(b"SET", key, b"1", b"NX", b"EX", _HELPED) is not None

    # -- the way there ------------------------------------------------------------

    async def _ask(self, *command: bytes) -> Any:  # noqa: ANN401 - as the server answers
        return (await self._exchange(command))[0]

    async def _exchange(self, *commands: tuple[bytes, ...]) -> list[Any]:
        replies = await self._wire.exchange(commands, _WITHIN)
        require_good(replies, "incoming messages cannot be remembered")
        return replies


def message_key(route: str, one: Incoming) -> bytes:
    """What a message is remembered by: all of it, lest another with its id be lost."""
    part = one.part or ()
    return b"gw:sms:seen:" + _hash(
        route, one.id, one.sender, one.recipient, one.text, *map(str, part)
    )


def parts_key(route: str, one: Incoming) -> bytes:
    """What the parts of a long message are kept under."""
    reference, total = (one.part.reference, one.part.total) if one.part else ("", 0)
    return b"gw:sms:parts:" + _hash(route, one.sender, one.recipient, reference, str(total))


def help_key(route: str, one: Incoming) -> bytes:
    """What is kept of help given to a person."""
    return b"gw:sms:helped:" + _hash(route, one.sender, one.recipient)


def stopped_key(route: str, digest: str) -> bytes:
    """What a person's STOPs to a route are noted under."""
    return f"gw:sms:stopped:{route}:{digest}".encode()


def _hash(*texts: str) -> bytes:
    said = "\0".join(texts).encode("utf-8", "surrogatepass")
    return hashlib.blake2b(said, digest_size=20).hexdigest().encode()


def _octets(found: bytes | str) -> bytes:
    return found.encode() if isinstance(found, str) else found


def _pairs(found: Any) -> list[tuple[str, str]]:  # noqa: ANN401 - as the server answers
    if isinstance(found, dict):
        members = list(found.items())
    else:
        members = list(zip(found[::2], found[1::2], strict=True))
    return [(_octets(name).decode(), _octets(text).decode()) for name, text in members]
