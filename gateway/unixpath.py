"""Where a Unix socket lies: a path short enough for the system."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

_OCTETS = 100
"""108 octets in Linux, 104 in macOS, with the final NUL (unix(7))."""


def socket_path(folder: Path, name: str) -> Path:
    """``name`` in the folder, or in a private one below the system's where that is too long."""
    path = folder / name
    if len(os.fsencode(path)) <= _OCTETS:
        return path
    digest = hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"suppression-{os.getuid()}-{digest}" / name
