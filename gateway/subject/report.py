"""A report as one file to read and print, and as JSON."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from functools import cache, partial
from pathlib import Path
from typing import Final

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from gateway.entry.entry import ANY_TOPIC
from gateway.failure import InputError
from gateway.subject.access import Report
from gateway.subject.request import local
from gateway.subject.wording import texts

_LABELS: Final = {
    "start": "since",
    "start_manner": "manner",
    "end": "until",
    "end_manner": "manner",
    "bond": "kind",
    "day": "at",
    "received": "at",
    "carried": "source",
    "delivery": "reason",
}
"""Columns whose heading is that of another."""
_TIMES: Final = frozenset({"at", "since", "until", "received", "expires", "due"})
_RIGHTS: Final = ("access", "rectify", "portability", "withdraw", "marketing")


def to_html(report: Report) -> str:
    """The report as one HTML file that needs nothing else, in its language."""
    say = texts(report.language)
    whole = "kept_open" if report.retention["until"] is None else "kept_until"
    return _template().render(
        report=report,
        label=lambda name: say[f"label.{_LABELS.get(name, name)}"],
        title=lambda name: say[f"title.{name}"],
        note=lambda name: say[f"note.{name}"],
        word=partial(_word, say),
        shown=partial(_shown, say),
        time=_cut,
        retention=say[f"note.{whole}"].format(
            years=report.retention["years"], day=report.retention["until"]
        ),
        rights=[say[f"right.{each}"] for each in _RIGHTS],
        authority=say["authority"],
    )


def to_json(report: Report) -> bytes:
    """The report as one JSON object."""
    return orjson.dumps(report.members(), option=orjson.OPT_INDENT_2) + b"\n"


def write_private(path: Path, octets: bytes) -> None:
    """Write a file that its owner alone may read, whole or not at all.

    Raises InputError naming the path.
    """
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            with suppress(OSError):
                Path(name).unlink()
            raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).with_name("templates")),
        autoescape=True,
        undefined=StrictUndefined,
    )
    return environment.get_template("report.html.j2")


def _word(say: Mapping[str, str], value: object) -> str:
    """A word of the register in the person's language; other texts as they are."""
    text = str(value)
    return say.get(f"word.{text}", text)


def _shown(say: Mapping[str, str], row: Mapping[str, object], name: str) -> str:
    """A cell of a table."""
    value = row.get(name)
    if name == "until" and value is not None and "contact" in row:
        return f"{_cut(value)} ({say['note.former']})"
    if name == "carried" or (name == "source" and row.get("carried")):
        return say["note.carried"] if value else ""
    if value is None or value == "":
        return ""
    if name in _TIMES:
        return _cut(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    is_word = name in _WORDS or (name == "topic" and value == ANY_TOPIC)
    return _word(say, value) if is_word else str(value)


_WORDS: Final = frozenset(
    {"scope", "channel", "state", "decision", "result", "kind", "what", "bond", "delivery"}
)


def _cut(value: object) -> str:
    """A time to the minute, of Finland's clock; a day as it is."""
    text = str(value)
    if "T" not in text:
        return text
    return local(datetime.fromisoformat(text)).strftime("%Y-%m-%d %H:%M")
