"""What people are told, in Finnish, Swedish and English: ``wording.toml`` beside this."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from gateway.subject.person import Language


@cache
def texts(language: Language) -> Mapping[str, str]:
    """Every text in one language by its dotted key."""
    path = Path(__file__).with_name("wording.toml")
    with path.open("rb") as file:
        tables = tomllib.load(file)
    found: dict[str, str] = {}
    for name, table in tables.items():
        if "fi" in table:
            found[name] = table[language.value].strip()
        else:
            found |= {f"{name}.{key}": each[language.value].strip() for key, each in table.items()}
    return found


def say(key: str, language: Language) -> str:
    """One text; raises KeyError for a key that there is none for."""
    return texts(language)[key]
