"""The gateway itself, with rules and records on, and its own embedded register."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path
from typing import ClassVar

from bench.dataset import KEYS, embed
from bench.machine import CACHE, Missing, command, cpu_seconds, free_port, wait_for
from bench.participant import Participant, Usage
from gateway.records.entry import RECORDS
from gateway.records.seal import Sealer

_ROOT = Path(__file__).parent.parent

_CONFIG = """\
data_dir = "data"
workers = {workers}
[controller]
name = "Bench"
contact_email = "privacy@bench.example"
domains = ["bench.example"]
[register]
keys_file = "{keys}"
{patience}[rules]
set = "opt-out"
[records]
backlog_max = 10000000
content_key_file = "{content}"
{records_patience}[smtp]
listen = ["127.0.0.1:{port}"]
max_connections = 4000
[[smtp.clients]]
name = "bench"
networks = ["127.0.0.0/8"]
kind = "marketing"
topic = "bench"
max_connections = 4000
max_recipients = 10000
upstream = "sink"
[[smtp.upstreams]]
name = "sink"
host = "127.0.0.1"
port = {upstream}
tls = "none"
region = "EEA"
[http]
listen = ["127.0.0.1:{http}"]
[log]
level = "warning"
"""


def _content_keys() -> Path:
    path = CACHE / "content-keys.json"
    Sealer.load_or_create(path)
    return path


class Gateway(Participant):
    """One worker; the archiver works in the supervisor, beside it."""

    key = "gateway"
    name = "gateway, 1 worker"
    rejects = False
    workers = 1
    patience: ClassVar[str] = ""
    """Further settings of the register, for a worker that is slow on purpose."""
    records_patience: ClassVar[str] = ""

    def program(self) -> tuple[str, ...]:
        """Return what starts the gateway."""
        return (sys.executable, "-m", "gateway")

    def start(self) -> None:
        """Write its configuration and start it."""
        embed(self.folder / "data")
        config = self.folder / "config.toml"
        config.write_text(
            _CONFIG.format(
                workers=self.workers,
                keys=KEYS,
                content=_content_keys(),
                port=self.port,
                upstream=self.place.upstream,
                http=free_port(),
                patience=self.patience,
                records_patience=self.records_patience,
            )
        )
        process = self.spawn(
            *self.program(),
            *("serve", "--config", str(config)),
            environment={**os.environ, "PYTHONPATH": str(_ROOT)},
        )
        try:
            wait_for(self.port, process, 120)
        except Missing as error:
            raise Missing(f"{error}: {self.output().strip()[-400:]}") from None
        until = time.monotonic() + 10
        while len(self.serving()) < self.workers and time.monotonic() < until:
            time.sleep(0.05)

    def serving(self) -> list[int]:
        """Return the workers' process ids."""
        return [pid for pid in self.meter.pids() if "gateway.serve.worker" in command(pid)]

    def register(self) -> list[int]:
        """Return its register server's process id."""
        return [pid for pid in self.meter.pids() if "register.sock" in command(pid)]

    def usage(self) -> Usage:
        """Return the time of the workers, of the supervisor with its archiver, and of Redis."""
        workers = sum(cpu_seconds(pid) for pid in self.serving())
        register = sum(cpu_seconds(pid, True) for pid in self.register())
        return Usage(workers, self.meter.seconds() - workers - register, register)

    def drained(self) -> bool:
        """Whether every record is in the archive."""
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(5)
            link.connect(str(self.folder / "data" / "register" / "register.sock"))
            link.sendall(b"XLEN %b\r\n" % RECORDS)
            return link.recv(64) == b":0\r\n"


class TwoWorkers(Gateway):
    """Two workers on one port."""

    key = "gateway2"
    name = "gateway, 2 workers"
    workers = 2
