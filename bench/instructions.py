"""Instructions that the worker executes for a message: the figure that repeats.

``perf stat`` counts them where the processor's counters can be read.  Elsewhere the
worker alone runs under ``valgrind --tool=callgrind``, some fifty times slower, and its
counter is read before and after a number of messages.  Instructions of the kernel
(sockets) are not in it.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from bench.gateway import Gateway
from bench.machine import Missing, tool
from bench.participant import Place
from bench.sink import Sink
from bench.traffic import Traffic, send

_summary = re.compile(r"^(?:summary|totals): (\d+)", re.MULTILINE).findall


@dataclass(frozen=True)
class Instructions:
    """Instructions a message, and what counted them."""

    traffic: str
    messages: int
    each: float
    tool: str


def perf_works() -> bool:
    """Whether ``perf stat`` counts instructions here."""
    try:
        done = subprocess.run(
            [tool("perf"), "stat", "-x,", "-e", "instructions:u", "true"],
            capture_output=True,
            text=True,
            check=False,
        )
    except Missing:
        return False
    return done.returncode == 0 and done.stderr.split(",")[0].isdigit()


def by_perf(gateway: Gateway, traffic: Traffic, file: Path, messages: int) -> Instructions:
    """Count a running worker's."""
    pid = gateway.serving()[0]
    counter = subprocess.Popen(
        [tool("perf"), "stat", "-x,", "-e", "instructions:u", "-p", str(pid)],
        stderr=subprocess.PIPE,
        text=True,
    )
    time.sleep(0.5)
    send(traffic, file, gateway.port, messages, reject=False, timeout=120)
    counter.send_signal(2)
    count = int(counter.communicate(timeout=20)[1].split(",")[0])
    return Instructions(traffic.name, messages, count / messages, "perf stat")


class Counted(Gateway):
    """A gateway whose worker runs under callgrind; it may take its time."""

    key = "gateway-callgrind"
    name = "gateway, worker under callgrind"
    patience = "timeout = 30\nsettle = 5\n"
    records_patience = "timeout = 60\n"

    def program(self) -> tuple[str, ...]:
        """Return what starts the gateway, with a python of ours for its worker."""
        tool("callgrind_control")
        wrapper = self.folder / "python"
        wrapper.write_text(
            "#!/bin/sh\n"
            'case "$*" in *gateway.serve.worker*)\n'
            f"exec {tool('valgrind')} --tool=callgrind -q --instr-atstart=no "
            f"--callgrind-out-file={shlex.quote(str(self.folder))}/count "
            f'{shlex.quote(sys.executable)} "$@";;\n'
            "esac\n"
            f'exec {shlex.quote(sys.executable)} "$@"\n'
        )
        wrapper.chmod(0o755)
        start = (
            f"import runpy, sys; sys.executable = {str(wrapper)!r}; "
            "runpy.run_module('gateway', run_name='__main__', alter_sys=True)"
        )
        return (sys.executable, "-c", start)

    def count(self, traffic: Traffic, file: Path, sink: Sink, messages: int) -> Instructions:
        """Count the worker's instructions for so many messages."""
        pid = self.serving()[0]
        # Its start would take too long if it were counted too.
        self._control("--instr=on", pid)
        self._pass(traffic, file, sink, max(10, messages // 10))
        self._control("--zero", pid)
        self._pass(traffic, file, sink, messages)
        before = set(self.folder.glob("count*"))
        self._control("--dump", pid)
        until = time.monotonic() + 60
        while not (made := set(self.folder.glob("count*")) - before):
            if time.monotonic() > until:
                raise Missing("callgrind wrote no counts")
            time.sleep(0.2)
        time.sleep(1)
        counts = _summary(made.pop().read_text())
        return Instructions(traffic.name, messages, int(counts[0]) / messages, "callgrind")

    def _pass(self, traffic: Traffic, file: Path, sink: Sink, messages: int) -> None:
        due = sink.messages() + traffic.copies(messages)
        send(traffic, file, self.port, messages, reject=False, timeout=300)
        sink.wait(due, 60)

    def _control(self, option: str, pid: int) -> None:
        subprocess.run(
            [tool("callgrind_control"), option, str(pid)],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=120,
            env={**os.environ, "LC_ALL": "C"},
        )


def measure(place: Place, sink: Sink, cases: list[tuple[Traffic, Path, int]]) -> list[Instructions]:
    """Count for each kind of traffic, with as many messages; raises Missing."""
    if perf_works():
        with Gateway(place) as gateway:
            return [by_perf(gateway, *case) for case in cases]
    with Counted(place) as counted:
        try:
            return [counted.count(traffic, file, sink, n) for traffic, file, n in cases]
        except (subprocess.SubprocessError, IndexError) as error:
            raise Missing(f"callgrind does not work here ({type(error).__name__})") from error


def lines(found: list[Instructions]) -> list[str]:
    """Return the page's section."""
    return [
        "| traffic | messages counted | instructions a message | counted by |",
        "|---|---|---|---|",
        *(
            f"| {one.traffic} | {one.messages} | {one.each / 1e6:.2f} million | {one.tool} |"
            for one in found
        ),
    ]
