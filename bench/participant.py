"""What is measured: a way from the load tool to the sink."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

from bench.dataset import Server
from bench.machine import end, free_port, pss, wait_for
from bench.meter import Meter


@dataclass(frozen=True)
class Usage:
    """CPU seconds so far: of what does the work, and of what stands beside it."""

    work: float
    beside: float = 0.0
    register: float = 0.0
    """Of the register's server."""

    @property
    def all(self) -> float:
        """All of it."""
        return self.work + self.beside + self.register


@dataclass(frozen=True)
class Place:
    """What a participant is put between."""

    upstream: int
    """The sink's port."""
    register: Server


class Participant(ABC):
    """One relay.  ``with`` it, it listens on ``port`` and relays to the sink.

    Entering raises Missing where it cannot be had or does not start.
    """

    key: ClassVar[str]
    """What ``--only`` calls it."""
    name: ClassVar[str]
    rejects: ClassVar[bool] = True
    """Whether a suppressed recipient is refused at RCPT, or accepted and dropped."""
    asks: ClassVar[bool] = True
    """Whether it asks the register's server."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.port = free_port()
        self.meter = Meter(self.key)
        self.folder = Path()
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        # Its user must be able to reach its folder.
        self.folder = self.new_folder()
        self.folder.chmod(0o755)
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.stop()
        finally:
            for process in reversed(self._processes):
                end(process)
            self._processes.clear()
            self.meter.close()
            shutil.rmtree(self.folder, ignore_errors=True)

    def new_folder(self) -> Path:
        """Make the folder it keeps its files in."""
        return Path(tempfile.mkdtemp(prefix=f"sg-bench-{self.key}-"))

    @abstractmethod
    def start(self) -> None:
        """Start it and wait until it greets on its port."""

    def stop(self) -> None:  # noqa: B027 - most have nothing to add
        """End what ``spawn`` did not start."""

    def usage(self) -> Usage:
        """Return the CPU time it has used."""
        return Usage(self.meter.seconds(), 0.0, self.place.register.cpu() if self.asks else 0.0)

    def drained(self) -> bool:
        """Whether nothing waits in it to be worked on later."""
        return True

    def memory(self) -> int:
        """Return the octets that all its processes hold (PSS)."""
        return pss(self.meter.pids())

    def spawn(
        self, *words: str | Path, cwd: Path | None = None, environment: dict[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start a process that is counted here and ended with it; its output is kept."""
        with (self.folder / "output").open("ab") as output:
            process = subprocess.Popen(
                self.meter.wrapped([str(word) for word in words]),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=cwd or self.folder,
                env=environment,
                start_new_session=True,
            )
        self._processes.append(process)
        self.meter.add(process.pid)
        return process

    def ready(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """Wait until it greets."""
        wait_for(self.port, process)

    def output(self) -> str:
        """Return the end of what its processes have said."""
        path = self.folder / "output"
        return path.read_text(errors="replace")[-2000:] if path.exists() else ""


class Direct(Participant):
    """No relay: from the load tool into the sink, the limit of the two."""

    key = "direct"
    name = "straight into the sink"
    rejects = False
    asks = False

    def start(self) -> None:
        """Point at the sink; nothing is suppressed here."""
        self.port = self.place.upstream
