"""The way to the upstream mail servers: pooled connections and transactions on them."""

from gateway.upstream.failure import ConnectionFailed, HandOverFailed, Stage
from gateway.upstream.pool import Pool, PoolStats
from gateway.upstream.target import Target, Timeouts, Tls
from gateway.upstream.transaction import Transaction
from gateway.upstream.upstreams import Upstreams

__all__ = [
    "ConnectionFailed",
    "HandOverFailed",
    "Pool",
    "PoolStats",
    "Stage",
    "Target",
    "Timeouts",
    "Tls",
    "Transaction",
    "Upstreams",
]
