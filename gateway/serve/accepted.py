"""The settings in force, as the supervisor hands them to its workers.

Workers do not read the configuration itself: one that replaces another while a person
edits the file would meet half a line, or serve by settings that no reload accepted.
"""

from __future__ import annotations

import os
from pathlib import Path

from gateway.failure import InputError
from gateway.settings import Settings
from gateway.settings.handed import from_json, to_json


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
