"""What is counted, for ``/metrics``.  Labels never carry an address or number.

Counted in the process first and published every second: an increment in the files
that the workers share costs as much as a decision.  A worker that is killed takes at
most that second's counts with it; the records are what proves.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_CLASSES = {b"%d" % digit: f"{digit}xx" for digit in range(10)}


class _Tally:
    """A counter's increments since it was last published."""

    __slots__ = ("counter", "counts")

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.counts: defaultdict[tuple[str, ...], int] = defaultdict(int)

    def publish(self) -> None:
        for labels, count in self.counts.items():
            (self.counter.labels(*map(str, labels)) if labels else self.counter).inc(count)
        self.counts.clear()


class _Spread(Histogram):
    """A histogram that counts in the process and tells when it is published."""

    def _metric_init(self) -> None:
        super()._metric_init()
        self.counts = [0] * len(self._buckets)
        self.total = 0.0

    def publish(self) -> None:
        for bucket, count in enumerate(self.counts):
            if count:
                self._buckets[bucket].inc(count)
                self.counts[bucket] = 0
        if self.total:
            self._sum.inc(self.total)
            self.total = 0.0


class Metrics:
    """The counters of one worker process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> _Tally:
            return _Tally(Counter(name, text, labels, registry=registry))

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(name, text, labels, registry=registry, multiprocess_mode="livesum")

        self._recipients = counter(
            "gateway_recipients",
            "Recipients by client, kind, rule and what became of the message for them",
            *("client", "kind", "rule", "result"),
        )
        self._messages = counter(
            "gateway_messages",
            "Messages by client and the class of the reply to their final dot",
            *("client", "reply"),
        )
        self._faults = counter(
            "gateway_faults",
            "Temporary refusals that are not the client's fault, by cause",
            "cause",
        )
        self._octets = counter("gateway_message_octets", "Octets of messages received")
        self._logins = counter("gateway_logins", "Logins by result", "result")
        self._inbound = counter(
            "gateway_inbound",
            "What came in by mail: unsubscribes, bounces, complaints, and what was none of them",
            "what",
        )
        self._tallies = (
            self._recipients,
            self._messages,
            self._faults,
            self._octets,
            self._logins,
            self._inbound,
        )
        self._seconds = _Spread(
            "gateway_handover_seconds",
            "From the client's final dot to the reply",
            buckets=_SECONDS,
            registry=registry,
        )
        self.connections = gauge("gateway_connections", "Open client connections")
        self.upstream_connections = gauge(
            "gateway_upstream_connections",
            "Connections to an upstream by state",
            *("upstream", "state"),
        )
        self.upstream_connects = gauge(
            "gateway_upstream_connects",
            "Connections opened to an upstream since the start, by result",
            *("upstream", "result"),
        )
        self.register_trips = gauge(
            "gateway_register_round_trips", "Round trips to the register since the start"
        )
        self.register_contacts = gauge(
            "gateway_register_contacts", "Contacts looked up since the start"
        )
        self.outcomes_lost = gauge(
            "gateway_outcomes_lost",
            "Outcomes that could not be queued; their records end as unknown",
        )

    def recipients(self, client: str, kind: str, rules: Sequence[str], result: str) -> None:
        """Count what became of a message for recipients, each decided by its rule."""
        counts = self._recipients.counts
        if len(rules) == 1:
            counts[client, kind, rules[0], result] += 1
            return
        for rule in set(rules):
            counts[client, kind, rule, result] += rules.count(rule)

    def message(self, client: str, reply: bytes, octets: int) -> None:
        """Count a message by the reply to its final dot."""
        self._messages.counts[client, _CLASSES[reply[:1]]] += 1
        self._octets.counts[()] += octets

    def handed_over(self, seconds: float) -> None:
        """Note how long the reply to a final dot took."""
        spread = self._seconds
        spread.counts[bisect_left(_SECONDS, seconds)] += 1
        spread.total += seconds

    def fault(self, cause: str) -> None:
        """Count a temporary refusal that is not the client's fault."""
        self._faults.counts[cause,] += 1

    def login(self, result: str) -> None:
        """Count a login that was accepted, refused or aborted."""
        self._logins.counts[result,] += 1

    def inbound(self, what: str, count: int = 1) -> None:
        """Count what a message that came in asks for or tells of."""
        if count:
            self._inbound.counts[what,] += count

    def publish(self) -> None:
        """Put what has been counted where ``/metrics`` reads it."""
        for tally in self._tallies:
            tally.publish()
        self._seconds.publish()
