"""Another system's side of a folder of CSV files: it fetches and drops them."""

from __future__ import annotations

import asyncio
import csv
from pathlib import Path


class Cupboard:
    """The folder of a ``file`` tool, from outside."""

    def __init__(self, folder: Path) -> None:
        self._in, self._out = folder / "in", folder / "out"
        self._read: set[str] = set()
        self._rows: dict[str, list[dict[str, str]]] = {}

    def rows(self, contact: str) -> list[dict[str, str]]:
        """What the files that the gateway wrote say of a contact; each is read once."""
        for path in sorted(self._out.glob("*.csv")):
            if path.name in self._read:
                continue
            with path.open(newline="", encoding="utf-8") as handle:
                for row in csv.DictReader(handle):
                    self._rows.setdefault(row["contact"], []).append(row)
            self._read.add(path.name)
        return self._rows.get(contact, [])

    async def drop(self, name: str, text: str, within: float = 60.0) -> None:
        """Hand a file in, as a whole, and wait until it was taken."""
        self._in.mkdir(parents=True, exist_ok=True)
        part = self._in / f"{name}.csv.part"
        part.write_text(text, encoding="utf-8")
        part.rename(self._in / f"{name}.csv")
        async with asyncio.timeout(within):
            while not (self._in / "done" / f"{name}.csv").exists():
                await asyncio.sleep(0.1)
