"""Bounds on what one client may take: connections and messages a minute."""

from __future__ import annotations

from collections import Counter

from gateway.failure import Overloaded
from gateway.rate import Bucket
from gateway.settings.smtp import SmtpClient


class RateExceeded(Overloaded):
    """A client sent more messages in a minute than it may."""

    code = 451
    status = "4.7.1"
    line = "Message rate exceeded; try again in a minute"


class TooManyConnections(Overloaded):
    """A client, or all of them, hold as many connections as they may."""

    code = 421
    status = "4.7.0"
    line = "Too many connections; try again later"


class Limits:
    """The counts of one worker; each worker enforces its share of a client's rate."""

    def __init__(self, max_connections: int, workers: int) -> None:
        self.max_connections = max_connections
        self._workers = workers
        self.connections = 0
        self._by_client: Counter[str] = Counter()
        self._buckets: dict[str, Bucket] = {}

    def connect(self) -> bool:
        """Count a connection; False: there are too many, it must be refused."""
        if self.connections >= self.max_connections:
            return False
        self.connections += 1
        return True

    def disconnect(self) -> None:
        """A counted connection is gone."""
        self.connections -= 1

    def enter(self, client: SmtpClient) -> None:
        """Count a connection as this client's.

        Raises:
            TooManyConnections: it holds as many as it may.

        """
        if self._by_client[client.name] >= client.max_connections:
            raise TooManyConnections(f"client {client.name} holds {client.max_connections}")
        self._by_client[client.name] += 1

    def leave(self, client: SmtpClient) -> None:
        """The connection is no longer this client's."""
        self._by_client[client.name] -= 1

    def message(self, client: SmtpClient, now: float) -> None:
        """Count a message.

        Raises:
            RateExceeded: the client's minute is full.

        """
        if client.messages_per_minute is None:
            return
        rate = max(1.0, client.messages_per_minute / self._workers)
        bucket = self._buckets.get(client.name)
        if bucket is None or bucket.rate != rate:
            bucket = self._buckets[client.name] = Bucket(rate, now)
        if not bucket.take(now):
            raise RateExceeded(f"client {client.name}: {client.messages_per_minute} a minute")
