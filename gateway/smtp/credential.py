"""Who is sending: a login or a network (RFC 4954).

Password hashes (argon2) take tens of milliseconds by design, so they are checked in
a thread, a few at a time, and a login that was right is remembered for a while as a
keyed digest: tools that open a connection per message would otherwise pay each time.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from gateway.failure import Overloaded
from gateway.network import peer_address
from gateway.settings.secret import read_secret
from gateway.settings.smtp import SmtpClient

_REMEMBERED = 256
_REMEMBER_SECONDS = 300.0
_AT_ONCE = 2
_WAITING = 50


class Credentials:
    """The clients of one configuration, found by login or by address.

    Raises:
        SettingsError: a password file cannot be read.

    """

    def __init__(self, clients: Sequence[SmtpClient]) -> None:
        self._plain: dict[str, bytes] = {}
        self._hashed: dict[str, str] = {}
        self._clients: dict[str, SmtpClient] = {}
        networks: list[tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, SmtpClient]] = []
        for client in clients:
            for network in client.networks:
                networks.append((ipaddress.ip_network(network), client))
            if client.username is None:
                continue
            self._clients[client.username] = client
            secret = client.password_hash or ""
            if client.password_file is not None:
                secret = read_secret(
                    client.password_file, f"smtp.clients {client.name}: password_file"
                )
            if secret.startswith("$argon2"):
                self._hashed[client.username] = secret
            else:
                self._plain[client.username] = secret.encode()
        self._networks = sorted(networks, key=lambda pair: -pair[0].prefixlen)
        self._hasher = PasswordHasher()
        # A user name that does not exist costs the same time as a wrong password.
        self._nobody = self._hasher.hash(secrets.token_hex()) if self._hashed else ""
        # The same few machines connect again and again.
        self._at_address = lru_cache(maxsize=1024)(self._find)
        self._memory: OrderedDict[bytes, float] = OrderedDict()
        self._memory_key = secrets.token_bytes(32)
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._waiting = 0

    @property
    def has_logins(self) -> bool:
        """Whether any client logs in (else AUTH is not offered)."""
        return bool(self._clients)

    def by_username(self, username: str) -> SmtpClient | None:
        """The client that logs in by this name; its login was checked before."""
        return self._clients.get(username)

    def by_address(self, address: str) -> SmtpClient | None:
        """The client of the narrowest network that holds a peer's address."""
        return self._at_address(address)

    def _find(self, address: str) -> SmtpClient | None:
        if not self._networks:
            return None
        peer = peer_address(address)
        if peer is None:
            return None
        for network, client in self._networks:
            if peer in network:
                return client
        return None

    async def by_login(self, username: str, password: str) -> SmtpClient | None:
        """The client of a login, or None for a wrong user name or password.

        Raises:
            Overloaded: too many logins wait to be checked.

        """
        client = self._clients.get(username)
        plain = self._plain.get(username)
        if plain is not None:
            right = hmac.compare_digest(
                hashlib.sha256(plain).digest(), hashlib.sha256(password.encode()).digest()
            )
            return client if right else None
        hashed = self._hashed.get(username, self._nobody)
        if not hashed:
            return None
        remembered = hashlib.blake2b(
            f"{username}\0{password}".encode(), key=self._memory_key, digest_size=16
        ).digest()
        now = asyncio.get_running_loop().time()
        if self._memory.get(remembered, 0.0) > now:
            return client
        if self._waiting >= _WAITING:
            raise Overloaded("too many logins wait for their password check")
        self._waiting += 1
        try:
            async with self._slots:
                right = await asyncio.to_thread(self._verify, hashed, password)
        finally:
            self._waiting -= 1
        if not right or client is None:
            return None
        self._memory[remembered] = now + _REMEMBER_SECONDS
        while len(self._memory) > _REMEMBERED:
            self._memory.popitem(last=False)
        return client

    def _verify(self, hashed: str, password: str) -> bool:
        try:
            return self._hasher.verify(hashed, password)
        except (VerificationError, InvalidHashError):
            return False
