"""docs/configuration.md against the settings' model: every name, default and variable."""

import json
import re
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from gateway.settings.model import Settings

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
_ROW = re.compile(r"\| `([^`]+)` \| (.+?) \| (.+?) \| `(GATEWAY_[^`]+)` \| (.+?) \|")


def _inner(annotation: Any) -> tuple[type[Any] | None, str]:
    """The table that a field holds, and how its members are written below it."""
    if isinstance(annotation, type) and is_dataclass(annotation):
        return annotation, ""
    arguments = get_args(annotation)
    if get_origin(annotation) in (list, dict):
        table, _ = _inner(arguments[-1])
        return table, "[]" if get_origin(annotation) is list else ".NAME"
    if get_origin(annotation) in (Union, UnionType):
        for argument in arguments:
            table, below = _inner(argument)
            if table is not None:
                return table, below
    return None, ""


def _default(name: str, field: Field[Any]) -> str:
    """A default as the page writes it."""
    if name == "smtp.hostname":
        return "the machine's full name"
    value = field.default
    if field.default_factory is not MISSING:
        value = field.default_factory()
    if value is MISSING:
        return "needed"
    if value is None:
        return "not set"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def settings_of_model() -> dict[str, tuple[str, str]]:
    """Every setting's default and environment variable, by name."""
    found: dict[str, tuple[str, str]] = {}

    def walk(model: type[Any], prefix: str, variable: str, *, whole: bool) -> None:
        types = get_type_hints(model)
        for field in fields(model):
            name = field.name
            # Members of a list or of a table of tables come from its variable, as JSON.
            own = variable if whole else f"{variable}{'__' if prefix else ''}{name.upper()}"
            table, below = _inner(types[name])
            if table is None:
                found[prefix + name] = (_default(prefix + name, field), own)
            else:
                walk(table, f"{prefix}{name}{below}.", own, whole=whole or below != "")

    walk(Settings, "", "GATEWAY_", whole=False)
    return found


def settings_of_page() -> dict[str, tuple[str, str]]:
    """What the page says: default and environment variable, by name."""
    found: dict[str, tuple[str, str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("| `"):
            continue
        row = _ROW.fullmatch(line)
        assert row is not None, f"not a setting's row: {line}"
        name, _, default, variable, _ = row.groups()
        assert name not in found, f"{name} is told twice"
        found[name] = (default, variable)
    return found


def test_every_setting_is_told_and_none_is_invented() -> None:
    assert settings_of_page().keys() == settings_of_model().keys()


@pytest.mark.parametrize("name", sorted(settings_of_model()))
def test_default_and_variable_are_those_of_the_model(name: str) -> None:
    assert settings_of_page()[name] == settings_of_model()[name]


def test_the_walk_reaches_every_depth() -> None:
    known = settings_of_model()
    assert known["data_dir"] == ('`"data"`', "GATEWAY_DATA_DIR")
    assert known["register.settle"] == ("`0.25`", "GATEWAY_REGISTER__SETTLE")
    assert known["smtp.tls.key"] == ("needed", "GATEWAY_SMTP__TLS__KEY")
    assert known["smtp.clients[].kind"] == ("needed", "GATEWAY_SMTP__CLIENTS")
    assert known["topics.NAME.product_group"] == ("not set", "GATEWAY_TOPICS")
