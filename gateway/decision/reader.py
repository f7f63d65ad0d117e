"""What a rule file says, part by part.

Each part is checked for itself here; whether the parts make a sound table is asked
in ``load``.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, fields
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from gateway.decision.domain import DOMAINS, Value
from gateway.decision.facts import Facts, Outcome
from gateway.decision.lines import Lines
from gateway.decision.rule import Example, Reasons, Rule
from gateway.decision.tree import Conditions
from gateway.failure import InputError

_LANGUAGES = tuple(one.name for one in fields(Reasons))
_SET_KEYS = ("name", "version", "about", "usual", "rules")
_RULE_KEYS = (
    "id",
    "title",
    "reason",
    "source",
    "basis",
    "then",
    "after",
    "uncertain",
    "when",
    "any",
    "examples",
)
_rule_id = re.compile(r"[A-Z][A-Za-z0-9]{0,7}").fullmatch
_V = TypeVar("_V", bound=StrEnum)


class RuleError(InputError):
    """A rule set cannot be used; the text is ``file:line: cause; what to do``."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule set as written, before it is known to be sound."""

    name: str
    version: str
    rules: tuple[Rule, ...]


class Reader:
    """One reading of one rule file; it knows where to point."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        self.text = text
        self.lines = Lines(text)
        self.usual = Facts()

    def refusal(self, line: int, cause: str, mend: str) -> RuleError:
        """The error that says where, what and what to do."""
        return RuleError(f"{self.path}:{line}: {cause}; {mend}")

    def read(self) -> Draft:
        """What the file says, each part well formed.

        Raises:
            RuleError: it is not TOML or a part of it is malformed.
        """
        document = self._document()
        self._known_keys(None, document, _SET_KEYS)
        name = self._text(None, document, "name")
        version = self._text(None, document, "version")
        usual = document.get("usual", {})
        if not isinstance(usual, dict):
            raise self.refusal(
                self.lines.key(None, "usual"), "usual is not a table", "write [usual]"
            )
        self.usual = Facts()._replace(**self._facts(None, ("usual",), usual))
        tables = document.get("rules", [])
        if not isinstance(tables, list) or not tables:
            raise self.refusal(1, "there are no rules", "write each under its own [[rules]]")
        rules = tuple(self._rule(index, table) for index, table in enumerate(tables))
        return Draft(name, version, rules)

    def _document(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.text)
        except tomllib.TOMLDecodeError as error:
            cause = str(error)
            found = re.search(r"\(at line (\d+), column \d+\)", cause)
            line = int(found[1]) if found else len(self.text.rstrip("\n").split("\n"))
            mend = "correct this line or the one before it"
            raise self.refusal(line, f"not TOML: {cause}", mend) from error

    def _rule(self, index: int, table: object) -> Rule:
        if not isinstance(table, dict):
            raise self.refusal(1, "a rule is not a table", "write each under its own [[rules]]")
        self._known_keys(index, table, _RULE_KEYS)
        rule_id = self._text(index, table, "id")
        if not _rule_id(rule_id):
            raise self.refusal(
                self.lines.key(index, "id"),
                f"{rule_id!r} cannot be a rule's id",
                "write a capital letter and up to 7 letters and digits, such as R12",
            )
        then = self._member(index, table, "then", Outcome)
        after = self._member(index, table, "after", Outcome) if "after" in table else None
        uncertain = table.get("uncertain", False)
        if not isinstance(uncertain, bool):
            raise self.refusal(
                self.lines.key(index, "uncertain"), "uncertain is yes or no", "write true or false"
            )
        basis = self._text(index, table, "basis") if "basis" in table else ""
        if then is Outcome.FORWARD and not basis:
            raise self.refusal(
                self.lines.rule(index),
                f"{rule_id} forwards and names no legal basis",
                'write basis = "…", for it is kept with every message forwarded',
            )
        return Rule(
            id=rule_id,
            title=self._reasons(index, table, "title"),
            reason=self._reasons(index, table, "reason"),
            source=self._text(index, table, "source"),
            then=then,
            when=self._conditions(index, ("when",), table.get("when", {})),
            any_of=self._any_of(index, table),
            after=after,
            uncertain=uncertain,
            basis=basis,
            examples=self._examples(index, rule_id, table),
        )

    def _any_of(self, index: int, table: dict[str, Any]) -> tuple[Conditions, ...]:
        if "any" not in table:
            return ()
        alternatives = table["any"]
        if not isinstance(alternatives, list) or not alternatives:
            raise self.refusal(
                self.lines.key(index, "any"),
                "any is not a list of alternatives",
                "write any = [{ fact = value }, { fact = value }]",
            )
        read = tuple(self._conditions(index, ("any",), one) for one in alternatives)
        if not all(read):
            raise self.refusal(
                self.lines.key(index, "any"),
                "an alternative of any asks for nothing",
                "remove it, or write a fact into it",
            )
        return read

    def _examples(self, index: int, rule_id: str, table: dict[str, Any]) -> tuple[Example, ...]:
        examples = table.get("examples")
        if not isinstance(examples, list) or not examples:
            raise self.refusal(
                self.lines.key(index, "examples"),
                f"{rule_id} has no worked example",
                "write examples = [{ fact = value, … }] with facts that it decides",
            )
        read = []
        for place, example in enumerate(examples):
            if not isinstance(example, dict):
                raise self.refusal(
                    self.lines.example(index, place),
                    "an example is not a table",
                    "write { fact = value, … }",
                )
            about = example.get("about", "")
            if not isinstance(about, str):
                raise self.refusal(
                    self.lines.example(index, place), "about is not a text", 'write about = "…"'
                )
            facts = {fact: value for fact, value in example.items() if fact != "about"}
            known = self._facts(index, ("examples",), facts)
            read.append(Example(self.usual._replace(**known), about))
        return tuple(read)

    def _conditions(self, index: int, within: tuple[str, ...], table: object) -> Conditions:
        if not isinstance(table, dict):
            raise self.refusal(
                self.lines.key(index, *within),
                f"{within[0]} is not a table of facts",
                "write fact = value, or fact = [value, value]",
            )
        conditions: dict[str, frozenset[Value]] = {}
        for fact, wanted in table.items():
            several = wanted if isinstance(wanted, list) else [wanted]
            if not several:
                raise self.refusal(
                    self.lines.key(index, *within, fact),
                    f"{fact} may have no value at all",
                    "write at least one value, or remove it",
                )
            conditions[fact] = frozenset(
                self._value(index, (*within, fact), fact, one) for one in several
            )
        return conditions

    def _facts(
        self, index: int | None, within: tuple[str, ...], table: dict[str, Any]
    ) -> dict[str, Any]:
        return {
            fact: self._value(index, (*within, fact), fact, value) for fact, value in table.items()
        }

    def _value(self, index: int | None, keys: tuple[str, ...], fact: str, written: object) -> Value:
        if fact not in DOMAINS:
            raise self.refusal(
                self.lines.key(index, *keys),
                f"unknown fact {fact!r}",
                _suggest(fact, tuple(DOMAINS)),
            )
        for value in DOMAINS[fact]:
            # A type of its own for each: 1 is not true, "true" is not true.
            if written == value and isinstance(written, bool) is isinstance(value, bool):
                return value
        raise self.refusal(
            self.lines.key(index, *keys),
            f"unknown value {written!r} of {fact}",
            "write " + " or ".join(_toml(value) for value in DOMAINS[fact]),
        )

    def _reasons(self, index: int, table: dict[str, Any], key: str) -> Reasons:
        reasons = table.get(key, {})
        if not isinstance(reasons, dict):
            raise self.refusal(
                self.lines.key(index, key),
                f"{key} is not in three languages",
                f'write {key}.fi = "…", {key}.sv = "…" and {key}.en = "…"',
            )
        for language in reasons:
            if language not in _LANGUAGES:
                raise self.refusal(
                    self.lines.key(index, key),
                    f"{key} is in an unknown language {language!r}",
                    "write fi, sv and en",
                )
        for language in _LANGUAGES:
            sentence = reasons.get(language)
            if not isinstance(sentence, str) or not sentence.strip():
                raise self.refusal(
                    self.lines.key(index, key),
                    f"{key} is missing in the language {language!r}",
                    f'write {key}.{language} = "…"',
                )
        return Reasons(**reasons)

    def _text(self, index: int | None, table: dict[str, Any], key: str) -> str:
        value = table.get(key)
        if not isinstance(value, str) or not value.strip():
            line = self.lines.key(index, key) if key in table else self._line(index)
            raise self.refusal(line, f"{key} is missing or empty", f'write {key} = "…"')
        return value

    def _member(self, index: int, table: dict[str, Any], key: str, kind: type[_V]) -> _V:
        written = table.get(key)
        for member in kind:
            if member.value == written:
                return member
        line = self.lines.key(index, key) if key in table else self._line(index)
        cause = f"unknown value {written!r} of {key}" if key in table else f"{key} is missing"
        raise self.refusal(line, cause, f"write {key} = " + " or ".join(_toml(one) for one in kind))

    def _known_keys(self, index: int | None, table: dict[str, Any], keys: tuple[str, ...]) -> None:
        for key in table:
            if key not in keys:
                raise self.refusal(
                    self.lines.key(index, key), f"unknown key {key!r}", _suggest(key, keys)
                )

    def _line(self, index: int | None) -> int:
        return 1 if index is None else self.lines.rule(index)


def _suggest(word: str, known: tuple[str, ...]) -> str:
    close = get_close_matches(word, known, n=1)
    return f"did you mean {close[0]}?" if close else f"write one of: {', '.join(known)}"


def _toml(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f'"{value}"'


def show(fact: str, value: Value) -> str:
    """A fact as a rule file writes it."""
    return f"{fact} = {_toml(value)}"
