"""The schemes that hashed lists were made by: which ones a look-up must also ask about.

They are kept in ``sg:hashed``, a hash of scheme names, each with its salt sealed under
a key derived from the digest keys.  A process reads them again when what it knows is
older than :data:`LASTS`, beside the look-up that needs them.  So a scheme that was
added at W is known to every look-up that is sent after W + LASTS, and a hashed list is
acknowledged only when that time and the register's settling time have passed.

Schemes are never removed: the entries under them stay.  A process that misses one it
knew looks nothing up until it is there again.
"""

from __future__ import annotations

import asyncio
import secrets
from base64 import b64decode, b64encode
from contextlib import suppress
from dataclasses import replace

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from gateway.contacts.digest import KeyRing
from gateway.contacts.hashed import Scheme
from gateway.failure import InputError, RegisterUnavailable
from gateway.register import replica
from gateway.register.reply import members_of, require_good
from gateway.register.wire import Wire

LASTS = 0.5
"""Seconds that a look-up may rest on the schemes read before it; the same in every process."""

KEY = b"sg:hashed"
_ADD = b"return redis.call('HSETNX', KEYS[1], ARGV[1], ARGV[2])"
_PURPOSE = b"hashed salt"
_NONCE = 12


class Schemes:
    """The schemes in use, as far as this process has read them."""

    def __init__(self, wire: Wire, ring: KeyRing, within: float) -> None:
        """Take the wire, the digest keys, and the seconds that a reading may take."""
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._ring = ring
        self._within = within
        self._reading: asyncio.Task[None] | None = None
        self._read_at = self._not_before = float("-inf")
        self.known: tuple[Scheme, ...] = ()
        """In the order of their names; another tuple when one has come."""

    @property
    def fresh(self) -> bool:
        """Whether a look-up may be sent now that asks about :attr:`known` only."""
        now, read_at = self._loop.time(), self._read_at
        return now - read_at < LASTS and read_at > self._not_before

    def forget(self) -> None:
        """Read them anew before the next look-up: the register was rebuilt."""
        self._not_before = self._loop.time()

    async def read(self, since: float | None = None) -> None:
        """Know them as they were ``since`` (loop time; default: as a look-up sent now may).

        Callers at the same time share one reading.  Raises RegisterUnavailable when
        the register does not answer, or names a scheme that this process cannot
        follow: look-ups without it would miss bans.
        """
        wanted = self._loop.time() - LASTS if since is None else since
        wanted = max(wanted, self._not_before)
        while self._read_at <= wanted:
            if self._reading is None:
                self._reading = asyncio.create_task(self._read())
                self._reading.add_done_callback(self._ended)
            await asyncio.shield(self._reading)

    async def add(self, scheme: Scheme) -> Scheme:
        """Put a scheme in use; returns it as it is kept, with the id of its salt.

        A scheme of the same salt is found again under the id that it has.  Raises
        RegisterUnavailable.
        """
        await self.read(self._loop.time())
        for known in self.known:
            if known.same_but_id(scheme):
                return known
        if scheme.salting is not None:
            scheme = replace(scheme, salt_id=secrets.token_hex(4))
        await self.adopt(self.told(scheme))
        await self.read(self._loop.time())
        return next(known for known in self.known if known.same_but_id(scheme))

    def told(self, scheme: Scheme) -> str:
        """The scheme as one text, its salt sealed, as an event keeps it."""
        if scheme.salting is None:
            return scheme.name
        return f"{scheme.name}={self._sealed(scheme.name, scheme.salt)}"

    async def adopt(self, told: str) -> None:
        """Put a scheme in use that :meth:`told` wrote; a rebuild does it with each it meets.

        Raises RegisterUnavailable.
        """
        name, _, sealed = told.partition("=")
        command = (b"EVAL", _ADD, b"1", KEY, name.encode(), sealed.encode())
        # A fail-over must not lose it: the list's bans would not be asked for.
        replies = await replica.change(self._wire, [command], self._within)
        require_good(replies, "the register refused a hashing scheme")

    async def aclose(self) -> None:
        """End a reading under way."""
        if self._reading is not None:
            self._reading.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._reading

    async def _read(self) -> None:
        sent = self._loop.time()
        replies = await self._wire.exchange([(b"HGETALL", KEY)], self._within)
        require_good(replies, "the register does not tell its hashing schemes")
        found = members_of(replies[0])
        schemes = tuple(self._opened(name, found[name]) for name in sorted(found))
        if lost := {scheme.name for scheme in self.known} - {scheme.name for scheme in schemes}:
            # Its bans may be there still, and nobody would ask for them.
            raise RegisterUnavailable(
                f"the register has lost the hashing scheme {min(lost)}: run register rebuild"
            )
        if schemes != self.known:
            self.known = schemes
        self._read_at = sent

    def _ended(self, reading: asyncio.Task[None]) -> None:
        self._reading = None
        if not reading.cancelled():
            reading.exception()  # told to whoever waits; nobody may

    def _opened(self, name: bytes, sealed: bytes) -> Scheme:
        try:
            told = name.decode()
            return Scheme.named(told, self._salt(told, sealed.decode()) if sealed else b"")
        except (InputError, ValueError, InvalidTag) as error:
            raise RegisterUnavailable(
                "the register has a hashed list whose hashes cannot be made here "
                f"({type(error).__name__}): use the newest version and the register's key file"
            ) from error

    def _sealed(self, name: str, salt: bytes) -> str:
        key_id = self._ring.current
        nonce = secrets.token_bytes(_NONCE)
        octets = nonce + self._cipher(key_id).encrypt(nonce, salt, name.encode())
        return f"{key_id}:{b64encode(octets).decode()}"

    def _salt(self, name: str, sealed: str) -> bytes:
        key_id, _, text = sealed.partition(":")
        octets = b64decode(text, validate=True)
        return self._cipher(key_id).decrypt(octets[:_NONCE], octets[_NONCE:], name.encode())

    def _cipher(self, key_id: str) -> AESGCM:
        return AESGCM(self._ring.derived(key_id, _PURPOSE))
