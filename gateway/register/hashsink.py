"""Exported bans as hashes of a partner's scheme, sorted, so that their order tells nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO

from gateway.contacts.contact import Channel
from gateway.contacts.hashed import Scheme
from gateway.entry.entry import Scope
from gateway.entry.standing import Standing
from gateway.register.export import One


class HashSink:
    """Hashes of everybody who has a ban, sorted, one a line in hex.

    A delivery suppression is no ban: that mail to somebody bounces is nobody else's
    concern, and is not told.
    """

    def __init__(
        self,
        file: IO[str],
        scheme: Scheme,
        scope: Scope | None,
        channel: Channel | None,
        topic: str | None,
        now: int,
    ) -> None:
        """``scope`` None takes whatever stops all marketing of the scheme's channel."""
        self._file = file
        self._scheme = scheme
        self._scope = scope
        self._channel = channel or scheme.channel
        self._topic = topic
        self._now = now
        self._hashes: set[bytes] = set()

    @property
    def count(self) -> int:
        """How many hashes there are so far."""
        return len(self._hashes)

    async def take(self, batch: Sequence[One]) -> int:
        """Remember the hashes of those who are banned."""
        count = 0
        for one in batch:
            if one.contact is None or one.contact.channel is not self._scheme.channel:
                continue
            if self._banned(one.standing):
                count += 1
                self._hashes.update(self._scheme.hashes(one.contact))
        return count

    def finish(self) -> None:
        """Write the hashes."""
        for value in sorted(self._hashes):
            self._file.write(value.hex() + "\n")

    def _banned(self, standing: Standing) -> bool:
        if self._scope is Scope.DISCLOSURE:
            return standing.disclosure_banned
        facts = standing.facts(self._channel, self._topic, None, self._now)
        if self._scope is Scope.CONTACT:
            return facts.ban_contact
        if self._scope is Scope.ALL:
            return facts.ban_all
        if self._scope is Scope.TOPIC:
            return facts.ban_topic
        if self._scope is Scope.CHANNEL:
            return facts.ban_channel
        return facts.ban_all or facts.ban_channel or facts.ban_organisation
