"""What is counted, for ``/metrics``.  Labels never carry an address or number."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """The counters of one worker process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.recipients = Counter(
            "gateway_recipients",
            "Recipients by client, kind, rule and what became of the message for them",
            ["client", "kind", "rule", "result"],
            registry=registry,
        )
        self.messages = Counter(
            "gateway_messages",
            "Messages by client and the class of the reply to their final dot",
            ["client", "reply"],
            registry=registry,
        )
        self.faults = Counter(
            "gateway_faults",
            "Temporary refusals that are not the client's fault, by cause",
            ["cause"],
            registry=registry,
        )
        self.seconds = Histogram(
            "gateway_handover_seconds",
            "From the client's final dot to the reply",
            buckets=_SECONDS,
            registry=registry,
        )
        self.octets = Counter(
            "gateway_message_octets", "Octets of messages received", registry=registry
        )
        self.connections = Gauge(
            "gateway_connections",
            "Open client connections",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.logins = Counter("gateway_logins", "Logins by result", ["result"], registry=registry)
        self.upstream_connections = Gauge(
            "gateway_upstream_connections",
            "Connections to an upstream by state",
            ["upstream", "state"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.upstream_connects = Gauge(
            "gateway_upstream_connects",
            "Connections opened to an upstream since the start, by result",
            ["upstream", "result"],
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.register_trips = Gauge(
            "gateway_register_round_trips",
            "Round trips to the register since the start",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.register_contacts = Gauge(
            "gateway_register_contacts",
            "Contacts looked up since the start",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.outcomes_lost = Gauge(
            "gateway_outcomes_lost",
            "Outcomes that could not be queued; their records end as unknown",
            registry=registry,
            multiprocess_mode="livesum",
        )
