"""Settings as a text, and back: how one process hands them to another.

They were checked when they were read; here only their types are made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, is_dataclass
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Union, cast, get_args, get_origin, get_type_hints

from gateway.settings.model import Settings


def to_json(settings: Settings) -> str:
    """The settings as JSON."""
    return json.dumps(asdict(settings), default=str)


def from_json(text: str) -> Settings:
    """The settings that :func:`to_json` wrote.

    Raises:
        ValueError: it is not what that function writes.

    """
    try:
        return cast("Settings", _made(Settings, json.loads(text)))
    except (TypeError, AttributeError, KeyError) as error:
        raise ValueError(f"these are no settings: {type(error).__name__}") from None


def _made(kind: object, value: object) -> object:
    """A value of JSON as the type that the model gives it."""
    if isinstance(kind, type) and is_dataclass(kind):
        types = get_type_hints(kind)
        return kind(**{name: _made(types[name], one) for name, one in _members(value)})
    origin, parts = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        kinds = [part for part in parts if part is not NoneType]
        # Of several, all are what JSON has itself.
        return value if value is None or len(kinds) > 1 else _made(kinds[0], value)
    if origin is list:
        return [_made(parts[0], one) for one in cast("list[object]", value)]
    if origin is dict:
        return {name: _made(parts[1], one) for name, one in _members(value)}
    if isinstance(kind, type) and issubclass(kind, Path | Enum):
        return kind(cast("str", value))
    return value


def _members(value: object) -> Iterable[tuple[str, object]]:
    return cast("dict[str, object]", value).items()
