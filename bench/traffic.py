"""The kinds of traffic, and who makes them.

``smtp-source`` makes all but the pipelined kind; since it does not pipeline, that one
comes from :mod:`bench.burst`.  Both number the recipients of a run from 1 on.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.dataset import EVERY
from bench.machine import tool

SENDER = "bench@bench.example"
SESSIONS = 20


@dataclass(frozen=True)
class Traffic:
    """One kind: message size in octets, recipients of a message, and how they come."""

    key: str
    name: str
    size: int
    recipients: int = 1
    keep: bool = True
    """Many messages a connection, or one."""
    pipelined: bool = False
    first: int = 500
    """Messages of the short round that is not counted."""

    def copies(self, messages: int) -> int:
        """Return how many messages reach the sink: those with a recipient left."""
        if self.recipients == 1:
            return messages - messages // EVERY
        return messages


TRAFFIC = (
    Traffic("1k", "1 KB", 1_000),
    Traffic("10k", "10 KB", 10_000),
    Traffic("100k", "100 KB", 100_000, first=200),
    Traffic("50", "10 KB, 50 recipients", 10_000, recipients=50, first=60),
    Traffic(
        "50p", "10 KB, 50 recipients, pipelined", 10_000, recipients=50, pipelined=True, first=60
    ),
    Traffic("reconnect", "10 KB, a connection a message", 10_000, keep=False, first=200),
)


def message(folder: Path, size: int) -> Path:
    """Write a marketing message of about ``size`` octets, as a file for smtp-source."""
    head = f"From: {SENDER}\nSubject: bench\nList-Unsubscribe: <https://bench.example/u>\n\n"
    line = "x" * 76 + "\n"
    path = folder / f"{size}.eml"
    path.write_text(head + line * max(1, (size - len(head)) // (len(line) + 1)))
    return path


def send(
    traffic: Traffic, file: Path, port: int, messages: int, *, reject: bool, timeout: float
) -> None:
    """Send so many messages over 20 sessions; ``reject`` says that RCPT may be refused.

    Raises subprocess.CalledProcessError or TimeoutExpired when they do not all pass.
    """
    if traffic.pipelined:
        command = [
            *(sys.executable, "-m", "bench.burst", str(port), str(file)),
            *(str(messages), str(traffic.recipients), str(SESSIONS)),
        ]
    else:
        command = [
            tool("smtp-source"),
            *(["-d"] if traffic.keep else []),
            # Go on after the 550 of a suppressed recipient.
            *(["-A"] if reject else []),
            *("-s", str(min(SESSIONS, messages)), "-m", str(messages)),
            *("-r", str(traffic.recipients), "-N", "-f", SENDER, "-t", "r@bench.example"),
            *("-F", str(file), f"127.0.0.1:{port}"),
        ]
    subprocess.run(
        command,
        check=True,
        stdout=subprocess.DEVNULL,
        # smtp-source warns of each refused recipient.
        stderr=subprocess.DEVNULL if reject else None,
        timeout=timeout,
        cwd=Path(__file__).parent.parent,
    )
