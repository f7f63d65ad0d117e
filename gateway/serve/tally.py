"""The files in which each process counts for ``/metrics``, and the room for them on the disk.

The library maps them into memory, and writes where the file has no octets yet.  On a full
disk the kernel ends a process for that (SIGBUS): so the room is taken before it counts.
"""

from __future__ import annotations

import os
import struct
from contextlib import suppress
from pathlib import Path
from typing import Final

from gateway.failure import InputError

OCTETS: Final = 128 * 1024
"""Of each file: room for some 700 series; more are rare, and take theirs as they come."""
_KINDS: Final = ("counter", "gauge_livesum", "histogram")
_SMALLEST: Final = 4096


def hold_room() -> None:
    """Take the room for this process's files; nothing where it does not count in files.

    Raises:
        InputError: the disk has none.

    """
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    for kind in _KINDS if folder else ():
        path = Path(folder or "", f"{kind}_{os.getpid()}.db")
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _allocate(handle)
            finally:
                os.close(handle)
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def give_back(folder: Path, pid: int) -> None:
    """Leave of a process that has ended what it has counted, and no room beside it."""
    for kind in _KINDS:
        with suppress(OSError, struct.error), (folder / f"{kind}_{pid}.db").open("r+b") as file:
            [used] = struct.unpack("i", file.read(4))
            file.truncate(max(used, _SMALLEST))


def _allocate(handle: int) -> None:
    allocate = getattr(os, "posix_fallocate", None)  # macOS has none
    if allocate is not None:
        allocate(handle, 0, OCTETS)
        return
    size = os.fstat(handle).st_size
    if size < OCTETS:
        os.pwrite(handle, bytes(OCTETS - size), size)
