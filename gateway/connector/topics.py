"""The register's topics and what a tool calls them."""

from __future__ import annotations

from gateway.connector.connector import Place
from gateway.entry.entry import Scope, normal_name


class Topics:
    """The settings' table of a tool's topics, read both ways."""

    def __init__(self, place: Place) -> None:
        self._tool = place.name
        self._theirs = {normal_name(topic): theirs for topic, theirs in place.topics}
        self._ours: dict[str, tuple[str, ...]] = {}
        for topic, theirs in self._theirs.items():
            self._ours[theirs] = (*self._ours.get(theirs, ()), topic)
        self._alike = {normal_name(theirs): topic for topic, theirs in self._theirs.items()}

    @property
    def names(self) -> frozenset[str]:
        """The register's topics that have a name there."""
        return frozenset(self._theirs)

    @property
    def scopes(self) -> frozenset[Scope]:
        """What a list can tell apart that has a name for each of them, and none for others."""
        narrow = {Scope.TOPIC} if self._theirs else set()
        return frozenset({Scope.ALL, Scope.CHANNEL, *narrow})

    @property
    def words(self) -> tuple[str, ...]:
        """What the tool calls them, each once, in the settings' order."""
        return tuple(self._ours)

    def theirs(self, topic: str | None) -> str | None:
        """What the tool calls a topic; None where the settings do not say."""
        return self._theirs.get(normal_name(topic or ""))

    def known(self, theirs: str) -> tuple[str, ...]:
        """The register's topics for a tool's word; none where the settings do not say."""
        return self._ours.get(theirs, ())

    def ours(self, theirs: str) -> tuple[str, ...]:
        """The register's topics for a tool's word.

        For one that the settings do not name it is a topic of the tool's own,
        ``TOOL:WORD``: what a person refused there is kept, and forbids no more than that.
        """
        return self.known(theirs) or (f"{self._tool}:{theirs}",)

    def alike(self, theirs: str) -> str | None:
        """The register's topic for a word that is written by hand, in whatever case."""
        return self._alike.get(normal_name(theirs))
