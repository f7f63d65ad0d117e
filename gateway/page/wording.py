"""What the pages say, in Finnish, Swedish and English: ``wording.toml`` beside this."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from gateway.settings.public import Language


@cache
def texts(language: Language) -> Mapping[str, str]:
    """Every text in one language by its dotted key."""
    with Path(__file__).with_name("wording.toml").open("rb") as file:
        return dict(_found(tomllib.load(file), language))


def _found(table: Mapping[str, Any], language: Language, key: str = "") -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, below in table.items():
        place = f"{key}.{name}".lstrip(".")
        if "fi" in below:
            found.append((place, below[language].strip()))
        else:
            found += _found(below, language, place)
    return found


def say(key: str, language: Language, **values: object) -> str:
    """One text with its values put in; raises KeyError for what there is none for."""
    return texts(language)[key].format(**values)
