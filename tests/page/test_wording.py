"""Every text in all three languages, with the same places for values."""

import re
import tomllib
from pathlib import Path
from string import Formatter

import pytest

from gateway.page import wording
from gateway.page.language import LANGUAGES

FOLDER = Path(wording.__file__).parent
TABLES = tomllib.loads((FOLDER / "wording.toml").read_text(encoding="utf-8"))


def leaves(table, key=""):
    """Every text's table of languages, by dotted key."""
    for name, below in table.items():
        place = f"{key}.{name}".lstrip(".")
        if isinstance(below, dict) and all(isinstance(one, dict) for one in below.values()):
            yield from leaves(below, place)
        else:
            yield place, below


def test_each_text_is_there_in_all_languages_with_the_same_values():
    for key, texts in leaves(TABLES):
        assert set(texts) == set(LANGUAGES), key
        assert all(text.strip() for text in texts.values()), key
        names = {
            language: sorted(name for _, name, _, _ in Formatter().parse(text) if name)
            for language, text in texts.items()
        }
        assert names["fi"] == names["sv"] == names["en"], key
        assert len(set(texts.values())) == len(LANGUAGES), f"{key} is not translated"
    for language in LANGUAGES:
        assert set(wording.texts(language)) == {key for key, _ in leaves(TABLES)}


def test_no_text_is_left_over():
    """Each key is named in a template or a module, whole or up to what is put in."""
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in (*FOLDER.glob("*.py"), *FOLDER.glob("templates/*.j2"))
    )
    starts = set(re.findall(r'say\(\s*f?["\']([\w.]+)', sources)) | set(
        re.findall(r'"((?:confirm|state|done|problem|refuse|whose)\.[\w.]*)', sources)
    )
    for key in wording.texts("fi"):
        named = (key == one or (one.endswith(".") and key.startswith(one)) for one in starts)
        assert any(named), key


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_asks_a_person_back(language):
    """After a refusal nobody is asked whether they are sure, or to come back."""
    text = " ".join(wording.texts(language).values()).lower()
    for word in (
        "sorry",
        "are you sure",
        "miss you",
        "come back",
        "haluatko varmasti",
        "ikävä",
        "är du säker",
        "saknar dig",
        "tråkigt",
    ):
        assert word not in text
