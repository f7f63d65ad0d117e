"""Postfix's ``smtp-sink``: where everything that passes is counted."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from bench.machine import end, free_port, tool, wait_for

_count = re.compile(rb"mesg=(\d+)").findall
_recipients = re.compile(r"^X-Rcpt-Args: <(\d+)r@bench\.example>", re.MULTILINE).findall


class Sink:
    """One sink on a port of its own; its counter is read from what it prints."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="sg-bench-sink-"))
        # The sink works as nobody.
        self._folder.chmod(0o777)
        self._process: subprocess.Popen[bytes] | None = None
        self._dump: Path | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self, *, keep: bool = False) -> None:
        """Start it; with ``keep`` what comes in is written down, for :meth:`received`."""
        self.stop()
        self._dump = self._folder / "dump" if keep else None
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        dump = ["-D", str(self._dump)] if self._dump else []
        with (self._folder / "counter").open("wb") as counter:
            self._process = subprocess.Popen(
                [
                    *(
                        tool("smtp-sink"),
                        *user,
                        *dump,
                        "-c",
                        "-C",
                        "-F",
                        "-m",
                        "2000",
                        "-t",
                        "3600",
                    ),
                    *(f"127.0.0.1:{self.port}", "1024"),
                ],
                stdout=counter,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        wait_for(self.port, self._process)

    def stop(self) -> None:
        """End it; connections to it are cut."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def messages(self) -> int:
        """Return how many messages it has taken since its start."""
        path = self._folder / "counter"
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 200))
            found = _count(file.read())
        return int(found[-1]) if found else 0

    def wait(self, messages: int, seconds: float) -> bool:
        """Wait until it has taken so many; False when it takes none for so long."""
        last = self.messages()
        until = time.monotonic() + seconds
        while last < messages:
            if time.monotonic() > until:
                return False
            time.sleep(0.005)
            now = self.messages()
            if now != last:
                last, until = now, time.monotonic() + seconds
        return True

    def received(self) -> list[int]:
        """Return the numbers of the recipients in what was kept, one for each copy."""
        if self._dump is None or not self._dump.exists():
            return []
        text = self._dump.read_text(encoding="latin-1")
        self._dump.write_bytes(b"")
        return [int(number) for number in _recipients(text)]
