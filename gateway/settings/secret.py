"""Secrets that settings name a file for."""

from __future__ import annotations

from pathlib import Path

from gateway.settings.failure import SettingsError


def read_secret(path: Path, setting: str) -> str:
    """The secret in a file, without its line end.

    Raises:
        SettingsError: the file cannot be read or is empty.

    """
    try:
        secret = path.read_text(encoding="utf-8").strip("\r\n")
    except OSError as error:
        raise SettingsError(f"{setting}: {path}: {error.strerror}") from None
    if not secret:
        raise SettingsError(f"{setting}: {path} is empty; write the secret into it")
    return secret
