"""How many files and connections the gateway's processes may have open.

What a login or systemd allows by default, 1024, is less than the settings' own bounds on
connections: a worker that met it could reach neither register nor archive any more.
"""

from __future__ import annotations

import contextlib
import resource
from typing import Final

_WANTED: Final = 65_536


def allow_many() -> None:
    """Raise this process's bound, and that of all it starts, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED if hard == resource.RLIM_INFINITY else min(_WANTED, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        # macOS refuses what is more than the kernel's own bound.
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
