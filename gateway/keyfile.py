"""Files of secret keys: ``{"current": id, "keys": {id: 64 hex digits}}``, mode 0600.

A key in use is never overwritten: what it protects would be lost for good.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from gateway.failure import InputError

KEY_OCTETS = 32
is_key_id = re.compile(r"[a-z0-9]{1,16}").fullmatch


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a file by id, and the id of the one that new things are kept under."""

    by_id: dict[str, bytes]
    current: str

    def __repr__(self) -> str:
        return f"Keys(current={self.current!r}, keys={len(self.by_id)})"


def read_keys(path: Path) -> Keys:
    """The keys in a file.

    Raises:
        InputError: it is missing, readable by others, or malformed.

    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except OSError as error:
        raise InputError(f"{path}: the key file cannot be read ({error.strerror})") from error
    if mode & 0o077:
        raise InputError(f"{path}: others may read the key file; run: chmod 600 {path}")
    try:
        document = json.loads(content)
        keys = {key_id: bytes.fromhex(key) for key_id, key in document["keys"].items()}
        current = document["current"]
    except (ValueError, KeyError, TypeError, AttributeError):
        # No cause attached: a decoder's error quotes the text, and that is the key.
        raise InputError(
            f'{path}: not a key file; it is {{"current": id, "keys": {{id: 64 hex digits}}}}'
        ) from None
    return Keys(keys, current)


def create_keys(path: Path, key_id: str) -> None:
    """Make a file of one random key, durable when this returns.

    Several processes may do it at once: one of them makes the file.

    Raises:
        InputError: the file exists already, or cannot be written.

    """
    text = json.dumps(
        {"current": key_id, "keys": {key_id: secrets.token_hex(KEY_OCTETS)}}, indent=2
    )
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: the key file cannot be written ({error.strerror})") from error
    try:
        try:
            handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            # A link, not a rename: it fails where the file exists, and a half-written
            # key file is never seen.
            path.hardlink_to(draft)
        finally:
            draft.unlink(missing_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        raise InputError(f"{path}: a key file exists and is not overwritten; load it") from None
    except OSError as error:
        raise InputError(f"{path}: the key file cannot be written ({error.strerror})") from error
