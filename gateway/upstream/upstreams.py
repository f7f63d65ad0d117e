"""All upstreams by name, and which of them takes a transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from gateway.failure import GatewayError, InputError, Overloaded, UpstreamUnavailable
from gateway.upstream.pool import Pool, PoolStats
from gateway.upstream.target import Target
from gateway.upstream.transaction import Transaction
from gateway.wire.command import MailCommand, RcptCommand
from gateway.wire.ehlo import Capabilities
from gateway.wire.reply import Reply

_log = structlog.get_logger(__name__)

BACK_OFF = 1.0
"""Seconds that an upstream is passed over after a failure; doubles with each."""
MAX_BACK_OFF = 30.0


@dataclass(slots=True)
class _Member:
    pool: Pool
    failures: int = 0
    retry_at: float = 0.0

    def failed(self, error: Exception) -> None:
        """Notes a failure and how long to pass it over."""
        pause = min(MAX_BACK_OFF, BACK_OFF * 2 ** min(self.failures, 10))
        self.failures += 1
        self.retry_at = asyncio.get_running_loop().time() + pause
        _log.warning(
            "upstream failed",
            upstream=self.pool.target.name,
            cause=str(error),
            passed_over_seconds=pause,
        )

    def worked(self) -> None:
        """Notes that it answers."""
        if self.failures:
            _log.info("upstream is back", upstream=self.pool.target.name)
        self.failures, self.retry_at = 0, 0.0


class Upstreams:
    """The configured upstreams, each with its pool."""

    def __init__(
        self, targets: Iterable[Target], *, hostname: str, lease_timeout: float = 10.0
    ) -> None:
        """``hostname`` is what EHLO says; ``lease_timeout`` in seconds, see Pool.lease.

        Raises :class:`InputError` for a name given twice or unusable certificates.
        """
        self._hostname = hostname
        self._lease_timeout = lease_timeout
        self._members: dict[str, _Member] = {}
        self._retired: list[Pool] = []
        self.reload(targets)

    async def open_transaction(
        self,
        names: Sequence[str],
        mail: MailCommand,
        recipients: Sequence[RcptCommand],
        *,
        data: bool = False,
    ) -> tuple[Transaction, list[Reply]]:
        """Begins a transaction at the first of the named upstreams that works.

        Passed over are those that cannot be reached, refuse greeting, EHLO, TLS or
        AUTH, close with a 421, or lack an extension the command needs; a failed one
        is passed over for a while afterwards, unless every named one is.  A refusal
        of MAIL or RCPT is an answer, not a failure.  ``data``: see
        :meth:`Transaction.begin`.  Raises :class:`UpstreamUnavailable` when none
        works, :class:`Overloaded` when all are only too busy.
        """
        now = asyncio.get_running_loop().time()
        ready = self._ready(names, now)
        errors: list[GatewayError] = []
        for member in ready:
            pool = member.pool
            try:
                connection = pool.take(now) or await pool.lease(self._lease_timeout)
                transaction = Transaction(pool, connection)
                replies = await transaction.begin(mail, recipients, data=data)
            except Overloaded as error:
                errors.append(error)
                continue
            except UpstreamUnavailable as error:
                member.failed(error)
                errors.append(error)
                continue
            if transaction.closing:
                transaction.abort()
                closing = UpstreamUnavailable("the upstream is closing (421)")
                member.failed(closing)
                errors.append(closing)
                continue
            if member.failures:
                member.worked()
            if transaction.unsupported and member is not ready[-1]:
                transaction.release()
                continue
            return transaction, replies
        if errors and all(isinstance(error, Overloaded) for error in errors):
            raise errors[-1]
        raise UpstreamUnavailable(f"none of {len(ready)} upstreams took the transaction")

    def _ready(self, names: Sequence[str], now: float) -> list[_Member]:
        """The named ones that are not passed over now, or all if every one is."""
        known = self._members
        if len(names) == 1 and names[0] in known:
            return [known[names[0]]]
        members = [known[name] for name in names if name in known]
        if not members:
            raise UpstreamUnavailable("none of the named upstreams is configured")
        return [member for member in members if member.retry_at <= now] or members

    def exhausted(self, name: str) -> bool:
        """Whether all connections that this upstream allows are in use."""
        member = self._members.get(name)
        return member is not None and member.pool.exhausted

    def capabilities(self, names: Iterable[str]) -> Capabilities | None:
        """What all of the named ones that have spoken so far can do; None if none has."""
        seen = [
            capabilities
            for name in names
            if name in self._members
            and (capabilities := self._members[name].pool.capabilities) is not None
        ]
        return seen[0].intersect(*seen[1:]) if seen else None

    async def probe(self, names: Iterable[str] | None = None) -> Mapping[str, GatewayError | None]:
        """Asks each (or each of the named) whether it answers; None means it does."""
        chosen = list(self._members if names is None else names)
        return dict(zip(chosen, await asyncio.gather(*map(self._probe, chosen)), strict=True))

    async def _probe(self, name: str) -> GatewayError | None:
        member = self._members.get(name)
        if member is None:
            return UpstreamUnavailable("no such upstream")
        try:
            await member.pool.check()
        except Overloaded as error:
            return error
        except UpstreamUnavailable as error:
            member.failed(error)
            return error
        member.worked()
        return None

    def stats(self) -> Mapping[str, PoolStats]:
        """Numbers for the metrics, by upstream."""
        return {name: member.pool.stats for name, member in self._members.items()}

    def reload(self, targets: Iterable[Target]) -> None:
        """Takes these targets from now on.

        Unchanged ones keep their connections; the others' connections end when
        their transactions do.  Raises :class:`InputError` and changes nothing if a
        target cannot be used.
        """
        members: dict[str, _Member] = {}
        for target in targets:
            if target.name in members:
                raise InputError(f"upstream {target.name!r} is given twice")
            known = self._members.get(target.name)
            if known is not None and known.pool.target == target:
                members[target.name] = known
            else:
                members[target.name] = _Member(Pool(target, self._hostname))
        kept = {id(member) for member in members.values()}
        self._retired = [pool for pool in self._retired if pool.stats.open]
        for member in self._members.values():
            if id(member) not in kept:
                member.pool.retire()
                self._retired.append(member.pool)
        self._members = members

    async def aclose(self, grace: float = 5.0) -> None:
        """Closes every pool; transactions under way get ``grace`` seconds."""
        pools = [member.pool for member in self._members.values()] + self._retired
        self._members, self._retired = {}, []
        await asyncio.gather(*(pool.aclose(grace) for pool in pools))
