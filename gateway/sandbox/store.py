"""The sandbox's folder: a Maildir, and beside each message its envelope.

``new/<name>`` holds a message's octets exactly as they came, so that nothing is
added to what a mail reader or a DKIM check sees; ``envelopes/<name>.json`` holds
what SMTP said about it.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

_count = itertools.count()


@dataclass(frozen=True, slots=True)
class Envelope:
    """What MAIL and RCPT said; parameters by upper-case keyword."""

    sender: str
    recipients: tuple[str, ...]
    mail_params: Mapping[str, str | None] = field(default_factory=dict)
    rcpt_params: tuple[Mapping[str, str | None], ...] = ()
    """One mapping per recipient, in their order."""


def create(folder: Path) -> None:
    """Makes the folder and its parts where they are missing."""
    for part in ("tmp", "new", "cur", "envelopes"):
        (folder / part).mkdir(parents=True, exist_ok=True)


def store(folder: Path, envelope: Envelope, content: bytes) -> str:
    """Writes one message and returns its name; blocks, and raises OSError.

    The message appears in ``new`` whole and after its envelope, or not at all.
    """
    name = f"{time.time_ns()}.{os.getpid()}_{next(_count)}.sandbox"
    (folder / "tmp" / name).write_bytes(content)
    sidecar = json.dumps(asdict(envelope), ensure_ascii=False, indent=1)
    (folder / "envelopes" / f"{name}.json").write_text(sidecar, encoding="utf-8")
    (folder / "tmp" / name).rename(folder / "new" / name)
    return name


def read_sandbox(folder: Path) -> list[tuple[Envelope, bytes]]:
    """Every message in the sandbox with its envelope, oldest first; blocks."""
    found = []
    files = [*(folder / "new").glob("*.sandbox*"), *(folder / "cur").glob("*.sandbox*")]
    for file in sorted(files, key=lambda file: _order(file.name)):
        name = file.name.split(":")[0]
        raw = json.loads((folder / "envelopes" / f"{name}.json").read_text(encoding="utf-8"))
        raw["recipients"] = tuple(raw["recipients"])
        raw["rcpt_params"] = tuple(raw["rcpt_params"])
        found.append((Envelope(**raw), file.read_bytes()))
    return found


def _order(name: str) -> tuple[int, int]:
    when, process, _ = name.split(".", 2)
    return int(when), int(process.partition("_")[2])
