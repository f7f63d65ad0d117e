"""The gateway and its commands as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from functools import partial
from typing import Any, Self

from gateway.demo.site import DemoSite
from gateway.failure import GatewayError
from gateway.serve.parent import die_with_parent

_READY_SECONDS = 60.0
_STOP_SECONDS = 20.0
_COMMAND_SECONDS = 60.0


class DemoFailed(GatewayError):
    """The demo could not be carried through; the text says why."""


def command(site: DemoSite, *words: str, may_find: bool = False) -> str:
    """Run ``python -m gateway WORDS… --config …``, as a person at a shell would; its output.

    ``may_find`` accepts exit status 1 (done with findings).

    Raises:
        DemoFailed: it could not do its work; the text repeats what it said.

    """
    said = subprocess.run(  # noqa: S603
        [sys.executable, "-m", "gateway", *words, "--config", str(site.config)],
        capture_output=True,
        text=True,
        timeout=_COMMAND_SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if said.returncode not in ((0, 1) if may_find else (0,)):
        raise DemoFailed(f"{' '.join(words[:2])} ended with {said.returncode}: {said.stderr}")
    return said.stdout


class GatewayProcess:
    """A real ``python -m gateway serve``; ``with`` it.

    It ends with this process, whatever ends this one (on Linux even SIGKILL).
    """

    def __init__(self, site: DemoSite) -> None:
        self._site = site
        self._process: subprocess.Popen[bytes] | None = None
        self.smtp: tuple[str, int] = ("", 0)
        """Where it takes mail, once started."""
        self.sms = ""
        """Where it takes text messages, as a URL."""
        self.http = ""
        """Where it answers on health, as host:port."""
        self.public = ""
        """Where it serves links and pages, as host:port."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, failure: type[BaseException] | None, *_: object) -> None:
        try:
            self.stop()
        except DemoFailed:
            # What went wrong first is what should be told.
            if failure is None:
                raise

    def start(self) -> None:
        """Start it and wait until it takes mail.

        Raises:
            DemoFailed: it ended, or was not ready in a minute.

        """
        with self._site.log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [sys.executable, "-m", "gateway", "serve", "--config", str(self._site.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Safe here: this process has one thread.
                preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509
            )
        try:
            ready = self._wait()
        except BaseException as failure:
            self.__exit__(type(failure))
            raise
        host, _, port = str(ready["smtp"][0]).rpartition(":")
        self.smtp = (host.strip("[]"), int(port))
        self.sms = f"http://{ready['sms'][0]}"
        self.http = str(ready["http"][0])
        self.public = str(ready["public"][0])

    def _wait(self) -> dict[str, Any]:
        """The log's ``ready`` line, which names the addresses."""
        end = time.monotonic() + _READY_SECONDS
        while time.monotonic() < end:
            ended = self._process is not None and self._process.poll() is not None
            for line in self._site.log.read_text(encoding="utf-8", errors="replace").splitlines():
                if '"ready"' in line and (said := _object(line)).get("event") == "ready":
                    return said
            if ended:
                raise DemoFailed(f"the gateway ended before it was ready: {self.last_words()}")
            time.sleep(0.05)
        raise DemoFailed(f"the gateway was not ready in a minute: {self.last_words()}")

    def stop(self) -> float:
        """End it in order (SIGTERM) and return the seconds that took; safe to call twice.

        Raises:
            DemoFailed: it did not end by itself and was killed, or reported a failure.

        """
        process, self._process = self._process, None
        if process is None:
            return 0.0
        began = time.monotonic()
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise DemoFailed("the gateway did not end by itself and was killed") from None
        if process.returncode != 0:
            raise DemoFailed(
                f"the gateway ended with status {process.returncode}: {self.last_words()}"
            )
        return time.monotonic() - began

    def last_words(self) -> str:
        """The end of the gateway's log."""
        lines = self._site.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(["", *lines[-8:]]) if lines else "its log is empty"


def _object(line: str) -> dict[str, Any]:
    try:
        said = json.loads(line)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}
