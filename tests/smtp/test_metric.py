"""What is counted in the process is what is exported, once it is published."""

import os
import subprocess
import sys
from pathlib import Path

from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gateway.evidence.metric import Metrics

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
# Sums of these are exact, and some are bounds themselves.
SECONDS = (0.0, 0.0009765625, 0.03125, 0.25, 0.5, 0.625, 1, 2.5, 2.625, 60, 61, 1000)


def lines(registry: CollectorRegistry, name: str) -> list[str]:
    exported = generate_latest(registry).decode().splitlines()
    return [line for line in exported if name in line and "_created" not in line]


def test_the_histogram_is_exported_as_one_that_observed_each():
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    metrics = Metrics(ours)
    text = "From the client's final dot to the reply"
    plain = Histogram("gateway_handover_seconds", text, buckets=BOUNDS, registry=theirs)
    for _ in range(2):
        for seconds in SECONDS:
            metrics.handed_over(seconds)
            plain.observe(seconds)
        metrics.publish()
        metrics.publish()
        assert lines(ours, "handover") == lines(theirs, "handover")
    assert "# TYPE gateway_handover_seconds histogram" in lines(ours, "handover")


def test_recipients_and_messages_are_counted_by_their_labels():
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    metrics.recipients("crm", "marketing", ["R40", "R11", "R40"], "forwarded")
    metrics.recipients("crm", "marketing", ("R40",), "forwarded")
    metrics.recipients("crm", "marketing", [], "held")
    metrics.message("crm", b"250 2.0.0 Ok\r\n", 1000)
    metrics.message("crm", b"451 4.3.0 later\r\n", 24)
    metrics.publish()
    metrics.publish()
    labels = 'client="crm",kind="marketing",result="forwarded"'
    assert sorted(line for line in lines(registry, "recipients") if line[0] != "#") == [
        f'gateway_recipients_total{{{labels},rule="R11"}} 1.0',
        f'gateway_recipients_total{{{labels},rule="R40"}} 3.0',
    ]
    assert [line for line in lines(registry, "messages") if line[0] != "#"] == [
        'gateway_messages_total{client="crm",reply="2xx"} 1.0',
        'gateway_messages_total{client="crm",reply="4xx"} 1.0',
    ]
    assert "gateway_message_octets_total 1024.0" in lines(registry, "octets")


def test_several_processes_share_the_histogram(tmp_path: Path):
    """Through the files that the workers share, as ``/metrics`` reads them."""
    program = (
        "from prometheus_client import CollectorRegistry\n"
        "from gateway.evidence.metric import Metrics\n"
        "metrics = Metrics(CollectorRegistry())\n"
        "metrics.handed_over(0.004)\n"
        "metrics.handed_over(70)\n"
        "metrics.publish()\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", program], env=environment, check=True)
    read = (
        "from prometheus_client import CollectorRegistry, generate_latest\n"
        "from prometheus_client.multiprocess import MultiProcessCollector\n"
        "registry = CollectorRegistry()\n"
        f"MultiProcessCollector(registry, path={str(tmp_path)!r})\n"
        "print(generate_latest(registry).decode())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", read], env=environment, check=True, capture_output=True, text=True
    )
    assert "# TYPE gateway_handover_seconds histogram" in done.stdout
    assert 'gateway_handover_seconds_bucket{le="0.005"} 2.0' in done.stdout
    assert 'gateway_handover_seconds_bucket{le="60.0"} 2.0' in done.stdout
    assert 'gateway_handover_seconds_bucket{le="+Inf"} 4.0' in done.stdout
    assert "gateway_handover_seconds_count 4.0" in done.stdout
    assert "gateway_handover_seconds_sum 140.008" in done.stdout
