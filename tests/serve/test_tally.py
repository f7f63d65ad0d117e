"""On a full disk a process goes on counting: its files have their room from the beginning."""

import os
import subprocess
import sys

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from gateway.failure import InputError
from gateway.serve.tally import OCTETS, give_back, hold_room
from tests.peers.process import ROOT
from tests.serve.test_disk import fill, small_disk

COUNTING = """
import sys
from prometheus_client import CollectorRegistry
from gateway.evidence.metric import Metrics
from gateway.serve.tally import hold_room

hold_room()
metrics = Metrics(CollectorRegistry())
print("ready", flush=True)
sys.stdin.readline()
for number in range(300):
    metrics.recipients("newsletter", "marketing", [f"R{number}"], "forwarded")
    metrics.publish()
"""


def counting(folder):
    return subprocess.Popen(
        [sys.executable, "-c", COUNTING],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PROMETHEUS_MULTIPROC_DIR": str(folder)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )


def shown(folder) -> str:
    registry = CollectorRegistry()
    MultiProcessCollector(registry, path=str(folder))
    return generate_latest(registry).decode()


def test_a_full_disk_ends_no_process_that_counts(tmp_path):
    with small_disk(tmp_path / "disk", 4) as folder:
        with counting(folder) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            filler = fill(folder)
            process.stdin.write(b"\n")
            process.stdin.close()
            assert process.wait(60) == 0
        assert shown(folder).count("gateway_recipients_total{") == 300
        # What it counted stays, the room beside it goes to those who come.
        filler.unlink()
        give_back(folder, process.pid)
        assert (folder / f"counter_{process.pid}.db").stat().st_size < OCTETS
        assert shown(folder).count("gateway_recipients_total{") == 300
        give_back(folder, process.pid)
        give_back(folder, 0)


def test_without_room_it_is_told_and_not_killed(tmp_path, monkeypatch):
    with small_disk(tmp_path / "disk", 1) as folder:
        fill(folder)
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
        with pytest.raises(InputError, match="cannot be written"):
            hold_room()


def test_who_does_not_count_in_files_needs_no_room(monkeypatch):
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    hold_room()
