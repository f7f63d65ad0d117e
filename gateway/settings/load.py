"""Read the configuration: TOML file, then environment, then checks.

A mistake is told as the setting's name, what is wrong and what to write; all
mistakes of one file are told at once.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from gateway.settings.environment import PREFIX, from_environment
from gateway.settings.failure import SettingsError
from gateway.settings.model import Settings
from gateway.settings.sms import SmsRoute
from gateway.settings.sync import SyncTool
from gateway.settings.value import Certificate

CONFIG_VARIABLE = "GATEWAY_CONFIG"
_OTHER_VARIABLES = {CONFIG_VARIABLE, "GATEWAY_ACTOR"}
_TABLE_VARIABLES = {
    f"{PREFIX}{name.upper()}"
    for name, kind in get_type_hints(Settings).items()
    if is_dataclass(kind) or get_origin(kind) is dict
}
_CHECKED = TypeAdapter(Settings)


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
    merged = _merge(tables, from_environment())
    if place := _unrecordable(merged):
        raise SettingsError(f"{path}: {place}: a NUL or half a surrogate pair, which is no text")
    try:
        return settings_from(merged, path.resolve().parent)
    except ValidationError as error:
        raise SettingsError("\n".join(f"{path}: {line}" for line in _told(error))) from None


def settings_from(tables: Mapping[str, Any], folder: Path) -> Settings:
    """The settings of tables as a file in this folder would have them.

    Raises:
        ValidationError: unknown or wrong setting.

    """
    return _absolute(_CHECKED.validate_python(tables), folder)


def _refuse_unknown_variables() -> None:
    known = {f"{PREFIX}{one.name.upper()}" for one in fields(Settings)} | _OTHER_VARIABLES
    for variable, value in os.environ.items():
        if not variable.startswith(PREFIX):
            continue
        try:
            value.encode()
        except UnicodeEncodeError:
            # No record could hold it: the first message would be the one to find out.
            raise SettingsError(f"environment: {variable} is not UTF-8 text") from None
        name, within, _ = variable.partition("__")
        if name not in known or (within and name not in _TABLE_VARIABLES):
            raise SettingsError(
                f"environment: {variable} is no setting; known are "
                f"{', '.join(sorted(known))} (tables with __ between the names)"
            )


def _unrecordable(value: object, place: str = "") -> str:
    """Where a text stands that no record could hold, which TOML and JSON can write."""
    if isinstance(value, str):
        return place if "\0" in value or any("\ud800" <= one <= "\udfff" for one in value) else ""
    if isinstance(value, dict):
        each = [(one, f"{place}.{name}".lstrip(".")) for name, one in value.items()]
        each += [(name, place or "a name") for name in value]
    elif isinstance(value, list):
        each = [(one, f"{place}[{number}]") for number, one in enumerate(value)]
    else:
        return ""
    return next(filter(None, (_unrecordable(*one) for one in each)), "")


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
        if problem["type"] == "unexpected_keyword_argument":
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

    def route_of(route: SmsRoute) -> SmsRoute:
        incoming = route.incoming
        return replace(
            route,
            token_file=beside(route.token_file),
            password_file=beside(route.password_file),
            ca_file=beside(route.ca_file),
            report_secret_file=beside(route.report_secret_file),
            sandbox=None if route.sandbox is None else data / route.sandbox,
            incoming=incoming
            and replace(
                incoming,
                secret_file=folder / incoming.secret_file,
                forward_secret_file=beside(incoming.forward_secret_file),
            ),
        )

    def certificate_of(tls: Certificate | None) -> Certificate | None:
        return tls and replace(tls, certificate=folder / tls.certificate, key=folder / tls.key)

    def tool_of(tool: SyncTool) -> SyncTool:
        return replace(
            tool,
            secret_file=beside(tool.secret_file),
            webhook_secret_file=beside(tool.webhook_secret_file),
            folder=beside(tool.folder),
        )

    register, records, smtp = settings.register, settings.records, settings.smtp
    sms, api, sync = settings.sms, settings.api, settings.sync
    public, inbound = settings.public, settings.inbound
    in_file = records.url is None and records.url_file is None
    keys_in_file = records.keys_url is None and records.keys_url_file is None
    keys, content_keys = "secrets/digest-keys.json", "secrets/content-keys.json"
    return replace(
        settings,
        data_dir=data,
        register=replace(
            register,
            url_file=beside(register.url_file),
            keys_file=below(register.keys_file, keys),
        ),
        rules=replace(settings.rules, folder=beside(settings.rules.folder)),
        records=replace(
            records,
            archive=below(records.archive, "archive.sqlite") if in_file else None,
            url_file=beside(records.url_file),
            keys=below(records.keys, "keys.sqlite") if keys_in_file else None,
            keys_url_file=beside(records.keys_url_file),
            content_key_file=below(records.content_key_file, content_keys),
            signing_key_file=below(records.signing_key_file, "secrets/signing-key.pem"),
            checkpoints=below(records.checkpoints, "checkpoints.ndjson"),
        ),
        api=replace(api, tls=certificate_of(api.tls)),
        public=replace(public, tls=certificate_of(public.tls)),
        unsubscribe=replace(
            settings.unsubscribe,
            key_file=below(settings.unsubscribe.key_file, "secrets/link-keys.json"),
        ),
        pages=replace(settings.pages, logo=beside(settings.pages.logo)),
        dkim=[replace(key, key_file=folder / key.key_file) for key in settings.dkim],
        inbound=replace(inbound, tls=certificate_of(inbound.tls)),
        sync=replace(sync, tools=[tool_of(tool) for tool in sync.tools]),
        sms=replace(
            sms,
            tls=certificate_of(sms.tls),
            routes=[route_of(route) for route in sms.routes],
        ),
        smtp=replace(
            smtp,
            tls=certificate_of(smtp.tls),
            clients=[replace(c, password_file=beside(c.password_file)) for c in smtp.clients],
            upstreams=[
                replace(
                    u,
                    sandbox=None if u.sandbox is None else data / u.sandbox,
                    ca_file=beside(u.ca_file),
                    password_file=beside(u.password_file),
                )
                for u in smtp.upstreams
            ],
        ),
    )
