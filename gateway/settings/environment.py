"""What the environment sets, read by pydantic-settings.

The settings are plain dataclasses, which a worker can have without that library; here
they are mirrored as the models that it reads an environment by.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import fields, is_dataclass
from functools import lru_cache
from types import UnionType
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, create_model
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from gateway.settings.failure import SettingsError
from gateway.settings.model import Settings

PREFIX = "GATEWAY_"


class _Variables(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__")


def from_environment() -> dict[str, Any]:
    """The settings that the environment gives, in the form of the file.

    ``GATEWAY_SMTP__MAX_CONNECTIONS`` is ``smtp.max_connections``; lists and tables are
    JSON, and a table's own members go before those that the JSON has.

    Raises:
        SettingsError: a list or table is not JSON.

    """
    source = EnvSettingsSource(cast("type[BaseSettings]", _mirrored(Settings, _Variables)))
    try:
        return source()
    except ValueError as error:
        raise SettingsError(
            f"environment: {_blamed(source) or error}; lists and tables are written as JSON there"
        ) from None


def _blamed(source: EnvSettingsSource) -> str:
    """What is wrong with which variable; the library names no more than the table."""
    for name, value in sorted(os.environ.items()):
        source.env_vars = {name.lower(): value}
        try:
            source()
        except ValueError:
            return f"{name} is not valid JSON"
    return ""


@lru_cache(maxsize=64)
def _mirrored(table: type, base: type[BaseModel] = BaseModel) -> type[BaseModel]:
    """A model with the table's names and types, never to be filled."""
    hints = get_type_hints(table)
    members: dict[str, Any] = {each.name: (_typed(hints[each.name]), ...) for each in fields(table)}
    with warnings.catch_warnings():
        # "register" is also a method of the models' metaclass, which nobody calls; the
        # name of the table is the outward form.
        warnings.filterwarnings("ignore", message='Field name "register"')
        return create_model(table.__name__, __base__=base, **members)


def _typed(kind: Any) -> Any:  # noqa: ANN401 - annotations are of no one type
    """The type with every table in it mirrored."""
    if isinstance(kind, type) and is_dataclass(kind):
        return _mirrored(kind)
    origin, arguments = get_origin(kind), tuple(map(_typed, get_args(kind)))
    if origin in (Union, UnionType):
        return Union[arguments]  # noqa: UP007 - made of types that are known only now
    return origin[arguments] if origin in (list, dict) else kind
