"""The bare relay as a participant: the ceiling of what Python can do."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bench.participant import Participant


class Bare(Participant):
    """One process of :mod:`bench.bare`."""

    key = "bare"
    name = "bare relay (no rules, no records)"
    rejects = False

    def start(self) -> None:
        """Start it on the register's socket."""
        register = self.place.register
        process = self.spawn(
            *(sys.executable, "-m", "bench.bare", str(self.port), str(self.place.upstream)),
            *(register.socket, register.keys),
            environment={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        self.ready(process)
