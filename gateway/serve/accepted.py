"""The settings in force, as the supervisor hands them to its workers.

Workers do not read the configuration itself: one that replaces another while a person
edits the file would meet half a line, or serve by settings that no reload accepted.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Final

from gateway.failure import GatewayError, InputError
from gateway.settings import Settings
from gateway.settings.handed import from_json, to_json

_AGAIN: Final = 2.0
"""Seconds until a reload that was refused for a while is tried again."""


def write_accepted(settings: Settings, path: Path) -> None:
    """Put the settings in the file's place, mode 0600, as a whole or not at all.

    Raises:
        InputError: it cannot be written.

    """
    draft = path.with_suffix(".new")
    try:
        draft.unlink(missing_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(to_json(settings))
        draft.replace(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def read_accepted(path: Path) -> Settings:
    """The settings that :func:`write_accepted` wrote.

    Raises:
        InputError: they cannot be read.

    """
    try:
        return from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError:
        # No cause attached: it could quote the settings, secrets among them.
        raise InputError(f"{path}: not what the supervisor wrote") from None


def reload_later(error: GatewayError, asked: asyncio.Event) -> None:
    """Ask for a reload again where it was refused only for now, as by a register that is away.

    The other processes may have taken the settings: a new key of links, say, of which one
    that kept the old ones would know no link.
    """
    if error.temporary:
        asyncio.get_running_loop().call_later(_AGAIN, asked.set)
