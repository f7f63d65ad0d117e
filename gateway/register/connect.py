"""Connections to the register: one server, Sentinel or Cluster.

URLs: ``unix:///path``, ``redis://`` and ``rediss://`` as redis-py takes them,
``sentinel://host:port,host:port/name[?options]`` and
``cluster://host:port,host:port[?options]``.  A user name and password may stand
before the hosts; the options ``ssl`` (true), ``ssl_ca_certs``, ``ssl_certfile`` and
``ssl_keyfile`` are taken for the last two.  With ``ssl`` the Sentinels are asked over TLS
as the servers are, but for ``ssl_sentinels=false``.

Two clients: :class:`~gateway.register.wire.Wire` for the hot path (short timeouts,
no retry, many commands in one write), and ``stream`` for readers that wait
(XREAD), without a read timeout.  Both speak RESP3.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    ConnectionPool,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import (
    Sentinel,
    SentinelConnectionPool,
    SentinelManagedConnection,
    SentinelManagedSSLConnection,
)
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from gateway.failure import InputError
from gateway.register.wire import ClusterWire, ServerWire, Wire

_SSL_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


class _Clean(AbstractConnection):
    """Leaves no half-opened connection behind.

    redis-py keeps the socket when its greeting is cancelled or, on a Unix socket,
    times out; the greeting's late reply would then answer the next command.
    """

    async def connect_check_health(
        self, check_health: bool = True, retry_socket_connect: bool = True
    ) -> None:
        try:
            await super().connect_check_health(check_health, retry_socket_connect)
        except BaseException:
            await self.disconnect(nowait=True)
            raise


class _Tcp(_Clean, Connection):
    pass


class _Tls(_Clean, SSLConnection):
    pass


class _Unix(_Clean, UnixDomainSocketConnection):
    pass


class _Sentinel(_Clean, SentinelManagedConnection):
    pass


class _SentinelTls(_Clean, SentinelManagedSSLConnection):
    pass


_CLEAN: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Unix,
}


@dataclass(slots=True)
class Connections:
    """The two clients of one register; ``aclose`` ends both."""

    wire: Wire
    stream: Redis | RedisCluster
    sentinels: tuple[Sentinel, ...] = ()

    async def aclose(self) -> None:
        """Close every connection; what waits for a reply fails."""
        await self.wire.aclose()
        await self.stream.aclose()
        for sentinel in self.sentinels:
            await sentinel.aclose()


def connect(url: str, *, timeout: float = 1.0, connections: int = 8) -> Connections:
    """Return the clients of the register at ``url``; nothing is sent yet.

    ``timeout`` (seconds) bounds connecting and every reply of the wire;
    ``connections`` bounds the wire's connections per process.  Raises InputError
    for a URL that cannot be used; the text does not repeat it, since it may hold a
    password.
    """
    scheme = url.partition(":")[0]
    hot: dict[str, Any] = {
        "protocol": 3,
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "retry": Retry(NoBackoff(), 0),
        "client_name": "suppression-gateway",
    }
    patient = {**hot, "socket_timeout": None}
    try:
        if scheme in ("redis", "rediss", "unix"):
            pools = [_pool(url, options) for options in (hot, patient)]
            return Connections(ServerWire(pools[0], connections), Redis.from_pool(pools[1]))
        if scheme == "sentinel":
            return _by_sentinel(url, hot, patient, connections)
        if scheme == "cluster":
            return _by_cluster(url, hot, patient, connections)
    except (ValueError, RedisError) as error:
        raise InputError(f"the register's URL cannot be used: {type(error).__name__}") from None
    raise InputError(
        "the register's URL cannot be used: begin it with unix://, redis://, rediss://, "
        "sentinel:// or cluster://"
    )


def _pool(url: str, options: dict[str, Any]) -> ConnectionPool:
    pool: ConnectionPool = ConnectionPool.from_url(url, **options)
    pool.connection_class = _CLEAN[pool.connection_class]
    return pool


def _by_sentinel(
    url: str, hot: dict[str, Any], patient: dict[str, Any], connections: int
) -> Connections:
    hosts, path, options = _parts(url, 26379)
    name = path.strip("/")
    if not name:
        raise InputError("the register's URL lacks the master's name: sentinel://host:port/name")
    tls = bool(options.pop("ssl", False))
    by_tls = options.pop("ssl_sentinels", True)
    kind = _SentinelTls if tls else _Sentinel
    asked = {
        "protocol": 3,
        "socket_timeout": hot["socket_timeout"],
        "socket_connect_timeout": hot["socket_connect_timeout"],
        "retry": Retry(NoBackoff(), 0),
    }
    if tls and by_tls:
        asked |= {"ssl": True} | {name: options[name] for name in _SSL_OPTIONS if name in options}
    # Untyped in the library.
    make_sentinel: Any = Sentinel
    make_pool: Any = SentinelConnectionPool
    sentinels, pools = [], []
    for each in (hot, patient):
        sentinel = make_sentinel(hosts, sentinel_kwargs=dict(asked))
        sentinels.append(sentinel)
        pools.append(make_pool(name, sentinel, connection_class=kind, **each, **options))
    return Connections(
        ServerWire(pools[0], connections), Redis.from_pool(pools[1]), tuple(sentinels)
    )


def _by_cluster(
    url: str, hot: dict[str, Any], patient: dict[str, Any], connections: int
) -> Connections:
    hosts, _, options = _parts(url, 6379)

    def client(base: dict[str, Any]) -> RedisCluster:
        # One retry: it is how the client learns of a failover.
        each = {**base, "retry": Retry(NoBackoff(), 1)}
        nodes = [ClusterNode(host, port) for host, port in hosts]
        cluster = RedisCluster(
            startup_nodes=nodes, max_connections=max(connections, 8) * 4, **each, **options
        )
        kind: Any = _CLEAN[cluster.connection_kwargs["connection_class"]]
        cluster.connection_kwargs["connection_class"] = kind
        cluster.nodes_manager.connection_kwargs["connection_class"] = kind
        for node in cluster.nodes_manager.startup_nodes.values():
            node.connection_class = kind
        return cluster

    return Connections(ClusterWire(client(hot), connections), client(patient))


def _parts(url: str, default_port: int) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """Return the hosts, the path and the client options of a URL of several hosts."""
    split = urlsplit(url)
    login, _, places = split.netloc.rpartition("@")
    hosts = []
    for place in places.split(","):
        host, _, port = place.rpartition(":") if ":" in place else (place, "", "")
        if not host:
            raise InputError("the register's URL lacks a host: write host:port,host:port")
        hosts.append((host.strip("[]"), int(port) if port else default_port))
    options: dict[str, Any] = {}
    if login:
        user, _, password = login.partition(":")
        options["password"] = unquote(password)
        if user:
            options["username"] = unquote(user)
    for name, value in parse_qsl(split.query, keep_blank_values=True):
        if name == "ssl":
            if value.lower() in ("1", "true", "yes"):
                options["ssl"] = True
        elif name == "ssl_sentinels" and split.scheme == "sentinel":
            options[name] = value.lower() not in ("0", "false", "no")
        elif name in _SSL_OPTIONS:
            options[name] = value
        else:
            raise InputError(f"the register's URL has an unknown option: {name}")
    return hosts, split.path, options
