"""Read a rule set, and refuse one that is not a sound decision table.

Refused, each with file, line, cause and what to do: a file that is not TOML; an
unknown key, fact or value; a missing language; an id used twice; a table that leaves
some facts undecided; a rule that no facts reach; a worked example that another rule
decides; a table that breaks what the gateway promises whatever the law (``promise``).
So what is loaded is total, has no dead rows and does what its examples say.
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path

from gateway.decision.engine import explain, plant
from gateway.decision.promise import PROMISES
from gateway.decision.reader import Reader, RuleError, show
from gateway.decision.rule import Decision, Rule, RuleSet
from gateway.decision.tree import Gap, Tree, results, shares

__all__ = ["RuleError", "find_rules", "load_rules", "read_rules"]

_set_name = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*").fullmatch


def find_rules(name: str, folder: Path | None = None) -> Path:
    """The file of the rule set called ``name``.

    It is looked for in ``folder``, or where the project keeps its own: ``rules/`` at
    the root of a checkout, ``gateway/rules/`` in an installed wheel.

    Raises:
        RuleError: there is no such file; the text lists those that there are.
    """
    package = Path(__file__).resolve().parents[1]
    folders = (folder,) if folder is not None else (package.parent / "rules", package / "rules")
    for one in folders:
        path = one / f"{name}.toml"
        if _set_name(name) and path.is_file():
            return path
    there = sorted({path.stem for one in folders for path in one.glob("*.toml")})
    raise RuleError(
        f"{folders[0]}: no rule set is called {name!r};"
        f" write one of: {', '.join(there) or '(the folder has none)'}"
    )


def load_rules(path: Path) -> RuleSet:
    """The rule set of a file.

    Raises:
        RuleError: the file cannot be read or is not a sound rule set.
    """
    try:
        content = path.read_bytes()
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise RuleError(
            f"{path}: the rule set cannot be read ({error.strerror}); check the path"
        ) from error
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise RuleError(f"{path}:{line}: not UTF-8; save the file as UTF-8") from error
    return read_rules(path, text, sha256(content).hexdigest())


def read_rules(path: Path, text: str, content_hash: str) -> RuleSet:
    """The rule set of a text that was once in a file, whose hash is known.

    Raises:
        RuleError: the text is not a sound rule set; it names ``path``.
    """
    reader = Reader(path, text)
    draft = reader.read()
    _unique(reader, draft.rules)
    tree = _total(reader, draft.rules)
    _reached(reader, draft.rules, tree)
    rules = RuleSet(draft.name, draft.version, content_hash, draft.rules, tree)
    _kept(reader, rules)
    _worked(reader, rules)
    return rules


def _total(reader: Reader, rules: tuple[Rule, ...]) -> Tree[Decision]:
    try:
        return plant(rules)
    except Gap as gap:
        region = ", ".join(show(fact, value) for fact, value in gap.region.items())
        raise reader.refusal(
            reader.lines.rule(len(rules) - 1),
            f"the table is not total: no rule holds for {region or 'any facts'}",
            "end it with a rule that has no when",
        ) from None


def _unique(reader: Reader, rules: tuple[Rule, ...]) -> None:
    first: dict[str, int] = {}
    for index, rule in enumerate(rules):
        if rule.id in first:
            raise reader.refusal(
                reader.lines.key(index, "id"),
                f"the id {rule.id} is used twice, first in line"
                f" {reader.lines.key(first[rule.id], 'id')}",
                "give one of them another id",
            )
        first[rule.id] = index


def _reached(reader: Reader, rules: tuple[Rule, ...], tree: Tree[Decision]) -> None:
    reached: set[Rule | None] = set()
    for decision in shares(tree):
        reached |= {decision.rule, decision.replaced}
    for index, rule in enumerate(rules):
        if rule in reached:
            continue
        cover = next((one.id for one in rules[:index] if _covers(one, rule)), None)
        cause = (
            f"after {cover}, which decides all that it would"
            if cover is not None
            else "for the other rules decide all that it would, or its facts exclude each other"
        )
        raise reader.refusal(
            reader.lines.rule(index),
            f"{rule.id} is never reached, {cause}",
            "move it up, change its when or remove it",
        )


def _worked(reader: Reader, rules: RuleSet) -> None:
    for index, rule in enumerate(rules.rules):
        for place, example in enumerate(rule.examples):
            steps = explain(example.facts, rules)
            if steps[-1].rule is rule:
                continue
            failed = [one for step in steps if step.rule is rule for one in step.failed]
            kept = " and ".join(show(one.fact, one.value) for one in failed)
            raise reader.refusal(
                reader.lines.example(index, place),
                f"this example of {rule.id} fires {steps[-1].rule.id}"
                + (f", as it has {kept}" if kept else ""),
                "correct the example or the rules",
            )


def _kept(reader: Reader, rules: RuleSet) -> None:
    for promise in PROMISES:
        for decision in results(rules.tree, promise.region):
            if decision.outcome not in promise.never:
                continue
            region = " and ".join(show(fact, value) for fact, value in promise.region.items())
            raise reader.refusal(
                reader.lines.rule(rules.rules.index(decision.rule)),
                f"{decision.rule.id} would {decision.outcome} a message with {region},"
                f" but {promise.text}",
                "let a rule above it decide such messages",
            )


def _covers(earlier: Rule, later: Rule) -> bool:
    """Whether one alternative of the earlier rule holds wherever the later one does."""
    return earlier.after is later.after and any(
        all(
            all(fact in other and other[fact] <= allowed for fact, allowed in conditions.items())
            for other in later.alternatives()
        )
        for conditions in earlier.alternatives()
    )
