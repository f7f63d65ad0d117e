"""Files of secret keys: ``{"current": id, "keys": {id: 64 hex digits}}``, mode 0600.

A key in use is never overwritten: what it protects would be lost for good.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
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


def require_keys(keys: Mapping[str, bytes], current: str, what: str) -> None:
    """Raise InputError for keys that nothing can be kept under; ``what``: kind of key they are."""
    if current not in keys:
        raise InputError(f"the current {what} is not among the keys")
    for key_id, key in keys.items():
        if not is_key_id(key_id):
            raise InputError(f"a {what}'s id is 1 to 16 characters of a-z and 0-9")
        if len(key) != KEY_OCTETS:
            raise InputError(f"{what} {key_id} is not {KEY_OCTETS} octets long")


def read_private(path: Path, what: str) -> bytes:
    """What is in a file that its owner alone may read.

    Raises:
        InputError: it is missing, or others may read it.

    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except OSError as error:
        raise InputError(f"{path}: the {what} cannot be read ({error.strerror})") from error
    if mode & 0o077:
        raise InputError(f"{path}: others may read the {what}; run: chmod 600 {path}")
    return content


def read_keys(path: Path) -> Keys:
    """The keys in a file.

    Raises:
        InputError: it is missing, readable by others, or malformed.

    """
    content = read_private(path, "key file")
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
    keys = Keys({key_id: secrets.token_bytes(KEY_OCTETS)}, key_id)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: the key file cannot be written ({error.strerror})") from error
    try:
        # A link, not a rename: it fails where the file exists.
        _write(path, keys, path.hardlink_to)
    except FileExistsError:
        raise InputError(f"{path}: a key file exists and is not overwritten; load it") from None
    except OSError as error:
        raise InputError(f"{path}: the key file cannot be written ({error.strerror})") from error


def add_key(path: Path) -> Keys:
    """Add a random key, the current one from now on, with the next free id; all the keys.

    Durable when this returns; a reader sees the file of before or of after.

    Raises:
        InputError: the file cannot be read or written.

    """
    keys = read_keys(path)
    letters = keys.current.rstrip("0123456789")[:8] or "k"
    key_id = next(one for n in count(1) if (one := f"{letters}{n}") not in keys.by_id)
    changed = Keys(keys.by_id | {key_id: secrets.token_bytes(KEY_OCTETS)}, key_id)
    _replace(path, changed)
    return changed


def drop_key(path: Path, key_id: str) -> Keys:
    """Remove a key for good that is not the current one; the keys that are left.

    What lies under it can never be read again.

    Raises:
        InputError: it is the current one or is not there, or the file cannot be written.

    """
    keys = read_keys(path)
    if key_id not in keys.by_id:
        raise InputError(f"{path}: there is no key {key_id}")
    if key_id == keys.current:
        raise InputError(f"{path}: {key_id} is the current key; rotate first")
    changed = Keys({one: key for one, key in keys.by_id.items() if one != key_id}, keys.current)
    _replace(path, changed)
    return changed


def _replace(path: Path, keys: Keys) -> None:
    try:
        _write(path, keys, lambda draft: draft.replace(path))
    except OSError as error:
        raise InputError(f"{path}: the key file cannot be written ({error.strerror})") from error


def _write(path: Path, keys: Keys, put: Callable[[Path], object]) -> None:
    """Write a draft beside the file and put it in its place, so that none is seen half."""
    members = {"current": keys.current, "keys": {one: k.hex() for one, k in keys.by_id.items()}}
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w") as file:
            file.write(json.dumps(members, indent=2) + "\n")
            file.flush()
            os.fsync(file.fileno())
        put(draft)
    finally:
        draft.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
