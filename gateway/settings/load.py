"""Read the configuration: TOML file, then environment, then checks.

A mistake is told as the setting's name, what is wrong and what to write; all
mistakes of one file are told at once.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource

from gateway.settings.failure import SettingsError
from gateway.settings.model import Settings

PREFIX = "GATEWAY_"
CONFIG_VARIABLE = "GATEWAY_CONFIG"
_OTHER_VARIABLES = {CONFIG_VARIABLE, "GATEWAY_ACTOR"}


def find_config(given: Path | None) -> Path:
    """The configuration file: the one given, ``GATEWAY_CONFIG``, or ``config.toml`` here."""
    if given is not None:
        return given
    return Path(os.environ.get(CONFIG_VARIABLE, "config.toml"))


def load_settings(path: Path) -> Settings:
    """The settings of the file at ``path`` with the environment laid over them.

    Relative paths in it count from the file's own folder.

    Raises:
        SettingsError: unreadable file, bad TOML, unknown or wrong setting.

    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(
            f"{path}: {error.strerror}; name the configuration with --config FILE"
        ) from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not UTF-8 text; save it as UTF-8") from None
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: not valid TOML: {error}") from None
    _refuse_unknown_variables()
    merged = _merge(tables, _environment())
    try:
        settings = Settings.model_validate(merged)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {line}" for line in _told(error))) from None
    return _absolute(settings, path.resolve().parent)


def _environment() -> dict[str, Any]:
    # The source reads a model's fields; only its signature asks for more.
    source = EnvSettingsSource(
        cast("type[BaseSettings]", Settings), env_prefix=PREFIX, env_nested_delimiter="__"
    )
    try:
        return source()
    except ValueError as error:
        raise SettingsError(
            f"environment: {error}; lists and tables are written as JSON there"
        ) from None


def _refuse_unknown_variables() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | _OTHER_VARIABLES
    for variable in os.environ:
        if variable.startswith(PREFIX) and variable.split("__", 1)[0] not in known:
            raise SettingsError(
                f"environment: {variable} is no setting; known are "
                f"{', '.join(sorted(known))} (tables with __ between the names)"
            )


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for name, value in above.items():
        old = merged.get(name)
        if isinstance(old, dict) and isinstance(value, dict):
            merged[name] = _merge(old, value)
        else:
            merged[name] = value
    return merged


def _told(error: ValidationError) -> Iterator[str]:
    for problem in error.errors():
        place = ""
        for part in problem["loc"]:
            place += f"[{part}]" if isinstance(part, int) else f".{part}"
        place = place.lstrip(".") or "the configuration"
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = "no such setting; see docs/configuration.md for the names"
        elif problem["type"] == "missing":
            message = "missing; it has no default"
        yield f"{place}: {message}"


def _absolute(settings: Settings, folder: Path) -> Settings:
    """Make every relative path absolute: data below ``data_dir``, the rest beside the file."""
    data = folder / settings.data_dir

    def beside(path: Path | None) -> Path | None:
        return None if path is None else folder / path

    def below(path: Path | None, default: str) -> Path:
        return folder / path if path is not None else data / default

    register = settings.register
    smtp = settings.smtp
    records = settings.records
    return settings.model_copy(
        update={
            "data_dir": data,
            "register": register.model_copy(
                update={
                    "url_file": beside(register.url_file),
                    "keys_file": below(register.keys_file, "secrets/digest-keys.json"),
                }
            ),
            "rules": settings.rules.model_copy(update={"folder": beside(settings.rules.folder)}),
            "records": records.model_copy(
                update={
                    "archive": below(records.archive, "archive.sqlite"),
                    "content_key_file": below(
                        records.content_key_file, "secrets/content-keys.json"
                    ),
                }
            ),
            "smtp": smtp.model_copy(
                update={
                    "tls": smtp.tls
                    and smtp.tls.model_copy(
                        update={
                            "certificate": folder / smtp.tls.certificate,
                            "key": folder / smtp.tls.key,
                        }
                    ),
                    "clients": [
                        c.model_copy(update={"password_file": beside(c.password_file)})
                        for c in smtp.clients
                    ],
                    "upstreams": [
                        u.model_copy(
                            update={
                                "sandbox": None if u.sandbox is None else data / u.sandbox,
                                "ca_file": beside(u.ca_file),
                                "password_file": beside(u.password_file),
                            }
                        )
                        for u in smtp.upstreams
                    ],
                }
            ),
        }
    )
