"""Signed checkpoints: where the chain stood at a time, in the archive and in a file.

Each names the one before it, so that none can be taken out of their row unseen.  The
file is what an archive is held against whose end was cut off: keep it, or a copy of it,
where those who can write the archive cannot write.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Self

import orjson

from gateway.failure import InputError, RecordsUnavailable
from gateway.records.signing import Signer, Verifier

_WHAT: Final = b"suppression-gateway checkpoint 1\n"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One signature over the end of the chain."""

    seq: int
    """The number of the chain's last row then."""
    at: int
    """When it was signed, in ms since the epoch."""
    head: bytes
    """The chain's last hash then."""
    previous: int
    """``seq`` of the checkpoint before; 0: it is the first."""
    key: str
    """The id of the key that signed."""
    signature: bytes = b""

    @property
    def text(self) -> bytes:
        """What is signed."""
        return _WHAT + orjson.dumps(self._members(), option=orjson.OPT_SORT_KEYS)

    def signed(self, signer: Signer) -> Checkpoint:
        """The same with its signature."""
        return Checkpoint(
            self.seq, self.at, self.head, self.previous, self.key, signer.sign(self.text)
        )

    def holds(self, verifier: Verifier) -> bool:
        """Whether the signature is right."""
        return verifier.accepts(self.key, self.text, self.signature)

    @property
    def when(self) -> str:
        """The time in words."""
        try:
            moment = datetime.fromtimestamp(self.at / 1000, UTC)
        except (ValueError, OverflowError, OSError):
            return "no time"
        return moment.isoformat(timespec="seconds")

    def to_line(self) -> bytes:
        """As a line of the file."""
        return orjson.dumps({**self._members(), "signature": self.signature.hex()}) + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Self:
        """What :meth:`to_line` wrote; raises InputError."""
        try:
            members = orjson.loads(line)
            return cls(
                int(members["seq"]),
                int(members["at"]),
                bytes.fromhex(members["head"]),
                int(members["previous"]),
                str(members["key"]),
                bytes.fromhex(members["signature"]),
            )
        except (ValueError, TypeError, KeyError):
            raise InputError("not a checkpoint") from None

    def _members(self) -> dict[str, Any]:
        return {
            "seq": self.seq,
            "at": self.at,
            "head": self.head.hex(),
            "previous": self.previous,
            "key": self.key,
        }


class CheckpointFile:
    """Checkpoints, a line each, only ever added to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Checkpoint]:
        """All of them, none where there is no file; blocks.  Raises InputError naming the line.

        A last line without its end was never written whole, and is left out.
        """
        try:
            text = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror}") from None
        found = []
        for number, line in enumerate(text.split(b"\n")[:-1], 1):
            try:
                found.append(Checkpoint.from_line(line))
            except InputError as error:
                raise InputError(f"{self.path}:{number}: {error}") from None
        return found

    def append(self, checkpoints: Iterable[Checkpoint]) -> None:
        """Add them, durably; blocks.  Raises RecordsUnavailable."""
        lines = b"".join([one.to_line() for one in checkpoints])
        if not lines:
            return
        try:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
            with os.fdopen(handle, "r+b", buffering=0) as file:
                _end_line(file.fileno())
                file.write(lines)
                os.fsync(file.fileno())
        except OSError as error:
            raise RecordsUnavailable(f"{self.path}: {error.strerror}") from None


def _end_line(file: int) -> None:
    """Cut off a last line that a killed process did not write whole."""
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(0, end - 4096)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    if end != size:
        os.ftruncate(file, end)


def faults_of(
    stored: Sequence[Checkpoint],
    noted: Sequence[Checkpoint] | None,
    hashes: dict[int, bytes],
    verifier: Verifier,
    last: int,
) -> tuple[list[str], int]:
    """What is wrong with the checkpoints, and up to which row all is signed for.

    ``stored`` are the archive's in order, ``noted`` the file's, if there is one;
    ``hashes`` the chain's hashes by row, ``last`` the number of its last row.
    """
    faults: list[str] = []
    good = 0
    for one in stored:
        found = _fault(one, hashes, verifier, last)
        if found:
            faults.append(f"checkpoint at link {one.seq} of {one.when}: {found}")
        else:
            good = one.seq
        if found in (_CUT, _ANEW):
            faults[-1] += f" (whole up to link {good})"
    if noted is not None:
        known = {(one.seq, one.head, one.signature) for one in stored}
        for one in noted:
            if (one.seq, one.head, one.signature) in known:
                continue
            found = _fault(one, hashes, verifier, last) or _GONE
            faults.append(f"noted checkpoint at link {one.seq} of {one.when}: {found}")
        if stored and not noted:
            faults.append("no checkpoint is noted in the file, or the file is gone")
    return faults, good


_CUT: Final = "the chain does not reach it any more: rows were cut off"
_ANEW: Final = "the chain has another hash there: it was made anew"
_GONE: Final = "it was removed from the archive"


def _fault(one: Checkpoint, hashes: dict[int, bytes], verifier: Verifier, last: int) -> str:
    if not verifier.knows(one.key):
        return f"it is signed with another key, {one.key}"
    if not one.holds(verifier):
        return "it was changed or forged, or the one before it was removed"
    if one.seq > last:
        return _CUT
    if hashes.get(one.seq) != one.head:
        return _ANEW
    return ""
