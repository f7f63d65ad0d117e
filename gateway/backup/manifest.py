"""What a backup says of itself: ``manifest.json``.

It names every file of the backup with its SHA-256, where the archive's chain ended, and
which keys opened it (by fingerprints, from which no key can be found).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Self

from gateway.failure import InputError
from gateway.keyfile import read_keys

FORMAT = 1
NAME = "manifest.json"
ARCHIVE = "archive.sqlite"
"""The archive in a backup, whatever database it came from."""
CONFIG = "config.toml"
RULES = "rules"


@dataclass(frozen=True, slots=True)
class FileNote:
    """One file of a backup."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """What is to be noted of a file; raises OSError."""
        with path.open("rb") as file:
            return cls(path.stat().st_size, file_digest(file, "sha256").hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """One backup.  ``at`` is milliseconds since the epoch."""

    format: int = FORMAT
    at: int
    made: str
    """The same time in words (ISO 8601, UTC)."""
    gateway: str
    """The program's version."""
    source: str
    """``sqlite`` or ``postgresql``: where the archive was."""
    schema: int
    seq: int
    """The number of the chain's last row."""
    head: str
    """The chain's last hash, in hex."""
    faults: tuple[str, ...] = ()
    """What the verification of the copy found."""
    keys: Mapping[str, Mapping[str, str]]
    """Fingerprints of the digest keys, the content keys and, where there are any, the keys
    of links, by key id."""
    files: Mapping[str, FileNote]
    """By path below the backup's folder."""

    def to_json(self) -> str:
        """The manifest as its file has it."""
        return json.dumps(asdict(self), indent=2) + "\n"

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The manifest of a backup's folder; raises InputError."""
        path = folder / NAME
        try:
            members = json.loads(path.read_text(encoding="utf-8"))
            if members["format"] != FORMAT:
                raise InputError(
                    f"{path}: a backup of format {members['format']}; this program reads {FORMAT}"
                )
            members["faults"] = tuple(members["faults"])
            members["files"] = {name: FileNote(**note) for name, note in members["files"].items()}
            return cls(**members)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror}; name a backup's folder") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError(f"{path}: not the manifest of a backup") from None

    def check_files(self, folder: Path) -> None:
        """Raise InputError unless every file is as it was when the backup was made."""
        for name, noted in self.files.items():
            path = folder / name
            try:
                # A name from outside that leads elsewhere is nothing of the backup's.
                path.resolve().relative_to(folder.resolve())
                found = FileNote.of(path)
            except OSError as error:
                raise InputError(f"{path}: {error.strerror}; the backup is not whole") from None
            except ValueError:
                raise InputError(f"{folder / NAME}: {name} lies outside the backup") from None
            if found != noted:
                raise InputError(f"{path}: not as the manifest has it; the backup was changed")
        if ARCHIVE not in self.files:
            raise InputError(f"{folder / NAME}: names no {ARCHIVE}")


def fingerprints(path: Path) -> dict[str, str]:
    """Of the keys in a file, by id; raises InputError."""
    return {
        key_id: sha256(b"suppression-gateway key\n" + key).hexdigest()[:16]
        for key_id, key in read_keys(path).by_id.items()
    }
