"""Where the settings say that register, archive and people's keys are."""

from __future__ import annotations

from pathlib import Path

from gateway.failure import InputError
from gateway.settings import Settings
from gateway.settings.secret import read_secret


def configured_url(settings: Settings) -> str | None:
    """The register's URL, or None for an embedded one.

    Raises:
        SettingsError: ``url_file`` cannot be read.

    """
    if settings.register.url_file is not None:
        return read_secret(settings.register.url_file, "register.url_file")
    return None if settings.register.url == "embedded" else settings.register.url


def archive_place(settings: Settings) -> Path | str:
    """Where the archive is: the path of a SQLite file, or a URL of PostgreSQL's.

    Raises:
        SettingsError: ``url_file`` cannot be read.
        InputError: it is not set, or the URL is none of PostgreSQL's.

    """
    records = settings.records
    url = records.url
    if records.url_file is not None:
        url = read_secret(records.url_file, "records.url_file")
        if not url.startswith(("postgresql://", "postgres://")):
            raise InputError("records.url_file: the URL begins with postgresql://")
    if url is not None:
        return url
    if records.archive is None:
        raise InputError("records.archive is not set")
    return records.archive


def keys_place(settings: Settings) -> Path | str:
    """Where people's keys are: the path of a file, or a URL of PostgreSQL's.

    Raises:
        SettingsError: ``keys_url_file`` cannot be read.
        InputError: it is not set, or the URL is none of PostgreSQL's.

    """
    records = settings.records
    url, name = records.keys_url, "records.keys_url"
    if records.keys_url_file is not None:
        name = "records.keys_url_file"
        url = read_secret(records.keys_url_file, name)
    if url is not None:
        if not url.startswith(("postgresql://", "postgres://")):
            raise InputError(f"{name}: the URL begins with postgresql://")
        return url
    if records.keys is None:
        raise InputError("records.keys is not set")
    return records.keys
