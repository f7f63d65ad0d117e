"""The areas of a tool: streams, audiences, subaccounts, each with a list of its own.

One area is for all mail that the tool sends for us, and each topic that the settings
name may have one of its own.  So an entry's area is its scope, and a ban of the whole
channel belongs into every area.
"""

from __future__ import annotations

from collections.abc import Iterator

from gateway.connector.connector import Place
from gateway.connector.suppression import Suppression
from gateway.connector.topics import Topics
from gateway.contacts.contact import Channel
from gateway.entry.entry import Scope
from gateway.failure import InputError


class Areas:
    """The areas that the settings name; ``main`` is the one of no topic."""

    def __init__(self, place: Place, main: str) -> None:
        """Raise InputError where a topic has the same area as all mail, or none."""
        self.main = main
        for topic, area in place.topics:
            if not area or area == main:
                raise InputError(
                    f"sync.tools {place.name}: topics: {topic} needs a list of its own, "
                    f"other than the tool's place"
                )
        self._topics = Topics(place)
        self.names: tuple[str, ...] = tuple(dict.fromkeys((main, *self._topics.words)))
        """Each once, ``main`` first."""

    @property
    def topics(self) -> frozenset[str]:
        """The topics with an area of their own, in the register's words."""
        return self._topics.names

    def scopes(self) -> frozenset[Scope]:
        """What can be told apart."""
        return self._topics.scopes

    def meanings(self, area: str) -> Iterator[tuple[Scope, str | None]]:
        """The scope and topic of an entry in this area; of each topic that shares it.

        None where the settings do not name the area.
        """
        if area == self.main:
            yield Scope.CHANNEL, None
        for topic in self._topics.known(area):
            yield Scope.TOPIC, topic

    def of(self, entry: Suppression) -> tuple[str, ...]:
        """The areas into which a ban belongs; none where it is of another channel or topic."""
        if entry.contact.channel is not Channel.EMAIL:
            return ()
        if entry.channel not in (None, Channel.EMAIL):
            return ()
        if entry.scope in (Scope.ALL, Scope.CHANNEL):
            return self.names
        if entry.scope is Scope.TOPIC and entry.topic is not None:
            area = self._topics.theirs(entry.topic)
            return () if area is None else (area,)
        return ()
