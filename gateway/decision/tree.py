"""A list of conditions, first match wins, as a decision tree.

Asked rule by rule, a decision would test the same facts again and again.  The tree
tests each fact at most once on the way down, and it is exact knowledge of the whole
list: every path is one region of the facts' full product, the regions do not overlap
and together they are the product.  So what holds on every path holds for every
combination of facts, and a rule without a path is one that no facts reach.

Equal subtrees are one object, which keeps a tree of millions of paths small.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Generic, TypeAlias, TypeVar

from gateway.decision.domain import DOMAINS, Value
from gateway.decision.facts import Facts

T = TypeVar("T")

Conditions: TypeAlias = Mapping[str, frozenset[Value]]
"""For each fact that matters, the values it may have."""

_Residual: TypeAlias = tuple[tuple[int, tuple[tuple[str, frozenset[Value]], ...]], ...]


class Gap(Exception):
    """No conditions hold for the facts in ``region``."""

    def __init__(self, region: Mapping[str, Value]) -> None:
        super().__init__("no conditions hold")
        self.region = dict(region)


class Branch(Generic[T]):
    """A test of one fact; ``children`` has a subtree for each of its values."""

    __slots__ = ("children", "fact", "next", "place")

    def __init__(self, fact: str, children: dict[Value, Tree[T]]) -> None:
        self.fact = fact
        self.children = children
        self.place = Facts._fields.index(fact)
        self.next = {id(value): child for value, child in children.items()}
        """The children by their values' ids: each value is one object that lasts, and an
        enum's own hash is a call in Python."""


Tree: TypeAlias = Branch[T] | T
"""A branch, or the result at the end of a path."""


def grow(entries: Sequence[tuple[Conditions, T]]) -> Tree[T]:
    """The tree of ``entries``: of the first whose conditions all hold, the result.

    Raises:
        Gap: for some facts no entry's conditions hold.
    """
    grown: dict[_Residual, Tree[T]] = {}

    def subtree(open_: _Residual, region: dict[str, Value]) -> Tree[T]:
        if not open_:
            raise Gap(region)
        index, conditions = open_[0]
        if not conditions:
            return entries[index][1]
        if open_ not in grown:
            fact = conditions[0][0]
            children = {
                value: subtree(_narrowed(open_, fact, value), region | {fact: value})
                for value in DOMAINS[fact]
            }
            first, *others = children.values()
            same = all(child is first for child in others)
            grown[open_] = first if same else Branch(fact, children)
        return grown[open_]

    start = tuple(
        (
            index,
            tuple(
                (fact, allowed)
                for fact, allowed in conditions.items()
                if not allowed.issuperset(DOMAINS[fact])
            ),
        )
        for index, (conditions, _) in enumerate(entries)
    )
    return subtree(_closed(start), {})


def walk(tree: Tree[T], facts: Facts) -> T:
    """The result for ``facts``."""
    while isinstance(tree, Branch):
        tree = tree.next[id(facts[tree.place])]
    return tree


def paths(tree: Tree[T]) -> Iterator[tuple[dict[str, Value], T]]:
    """Every path: the region of facts it is for, and its result."""
    if not isinstance(tree, Branch):
        yield {}, tree
        return
    for value, child in tree.children.items():
        for region, result in paths(child):
            yield {tree.fact: value, **region}, result


def results(tree: Tree[T], region: Mapping[str, Value]) -> list[T]:
    """Every result that some facts of ``region`` lead to, each once, in tree order."""
    seen: set[int] = set()
    found: list[T] = []

    def visit(node: Tree[T]) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        if not isinstance(node, Branch):
            found.append(node)
        elif node.fact in region:
            visit(node.children[region[node.fact]])
        else:
            for child in node.children.values():
                visit(child)

    visit(tree)
    return found


def shares(tree: Tree[T]) -> dict[T, Fraction]:
    """What part of the full product each result has; the parts add up to one."""
    known: dict[int, dict[T, Fraction]] = {}

    def of(node: Tree[T]) -> dict[T, Fraction]:
        if not isinstance(node, Branch):
            return {node: Fraction(1)}
        if id(node) not in known:
            total: dict[T, Fraction] = {}
            for child in node.children.values():
                for result, share in of(child).items():
                    part = share / len(node.children)
                    total[result] = total.get(result, Fraction(0)) + part
            known[id(node)] = total
        return known[id(node)]

    return of(tree)


def _narrowed(open_: _Residual, fact: str, value: Value) -> _Residual:
    """What is left to be asked once ``fact`` is known."""
    return _closed(
        tuple(
            (index, tuple(condition for condition in conditions if condition[0] != fact))
            for index, conditions in open_
            if all(value in allowed for name, allowed in conditions if name == fact)
        )
    )


def _closed(open_: _Residual) -> _Residual:
    """Without what stands behind an entry that has nothing left to be asked."""
    for place, (_, conditions) in enumerate(open_):
        if not conditions:
            return open_[: place + 1]
    return open_
