"""Commands without the second that Python takes to import the gateway.

A server process imports it once and forks for each command, so that every command is
a process of its own all the same: its arguments, folder, environment, output and exit
status are those of `python -m gateway …`.  A few tests run that very line too.
"""

from __future__ import annotations

import atexit
import gc
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_WITHIN = 60


class Preloaded:
    """The server; ``close`` it."""

    def __init__(self, root: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.peers.preloaded"],
            cwd=root,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._folder = tempfile.TemporaryDirectory(prefix="sg-commands-")

    def run(
        self, arguments: Sequence[str], folder: Path, env: Mapping[str, str]
    ) -> tuple[int, str, str]:
        """Exit status, standard output and standard error of a command.

        One that takes over a minute is killed: its status is that of SIGALRM.
        """
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        out, err = (Path(self._folder.name) / name for name in ("out", "err"))
        asked = {
            "arguments": list(arguments),
            "folder": str(folder),
            "env": dict(env),
            "out": str(out),
            "err": str(err),
        }
        process.stdin.write(json.dumps(asked).encode() + b"\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        assert answer, "the server of commands has ended"
        return int(answer), out.read_text(), err.read_text()

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._folder.cleanup()


def _become(asked: dict[str, Any]) -> None:
    """Turn a forked process into the command that was asked for."""
    signal.alarm(_WITHIN)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for number, path in ((1, asked["out"]), (2, asked["err"])):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), number)
    os.chdir(asked["folder"])
    os.environ.clear()
    os.environ.update(asked["env"])
    sys.argv = ["gateway", *asked["arguments"]]


def _serve() -> None:
    from gateway.cli import main

    gc.freeze()
    for line in iter(sys.stdin.buffer.readline, b""):
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(asked)
            status = 0
            try:
                main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
            except BaseException:
                traceback.print_exc()
                status = 1
            # Without the third of a second in which Python takes its modules apart.
            atexit._run_exitfuncs()
            for stream in (sys.stdout, sys.stderr):
                if not stream.closed:
                    stream.flush()
            os._exit(status)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    _serve()
