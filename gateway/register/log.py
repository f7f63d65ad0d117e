"""The register's event log, read: one contact's events, and where the log ends."""

from __future__ import annotations

from gateway.contacts.digest import Digest
from gateway.entry.event import Event
from gateway.failure import RegisterUnavailable
from gateway.register.layout import EVENT, Layout, event_streams
from gateway.register.reply import members_of, stream_id
from gateway.register.wire import Wire

_PAGE = b"1000"
# XINFO also knows the id of events that the archiver has trimmed; a script, because
# the Cluster client finds the key of no command with a subcommand.
_LAST_ID_SCRIPT = b"""\
if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
local facts = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #facts, 2 do if facts[i] == 'last-generated-id' then return facts[i+1] end end
"""


class Log:
    """Reads the shards' event streams through the wire."""

    def __init__(self, wire: Wire, layout: Layout, within: float) -> None:
        """Take the wire, the layout, and the seconds each round trip may take."""
        self._wire = wire
        self._layout = layout
        self._within = within

    async def position(self) -> str:
        """Return the id of the latest event, ``0-0`` of an empty log.

        Raises RegisterUnavailable when the register does not answer.
        """
        commands = [(b"EVAL", _LAST_ID_SCRIPT, b"1", stream) for stream in event_streams()]
        last = (0, 0)
        for reply in await self._wire.exchange(commands, self._within):
            if not isinstance(reply, bytes):
                raise RegisterUnavailable("the register does not tell its position")
            last = max(last, stream_id(reply))
        return f"{last[0]}-{last[1]}"

    async def waiting(self) -> int:
        """Return how many events the archiver has not moved away yet.

        Raises RegisterUnavailable when the register does not answer.
        """
        commands = [(b"XLEN", stream) for stream in event_streams()]
        total = 0
        for reply in await self._wire.exchange(commands, self._within):
            if type(reply) is not int:
                raise RegisterUnavailable("the register does not tell how many events wait")
            total += reply
        return total

    async def of(self, digest: Digest) -> list[Event]:
        """Return the events of a digest that are still in the log, oldest first.

        Raises RegisterUnavailable when the register does not answer.
        """
        return [event for _, event in await self.numbered(digest)]

    async def numbered(self, digest: Digest) -> list[tuple[bytes, Event]]:
        """Return what :meth:`of` does, each with its id in the stream."""
        stream = self._layout.place(digest).stream
        subject = str(digest).encode()
        start = b"-"
        events: list[tuple[bytes, Event]] = []
        while True:
            command = (b"XRANGE", stream, start, b"+", b"COUNT", _PAGE)
            (page,) = await self._wire.exchange([command], self._within)
            if not isinstance(page, list):
                raise RegisterUnavailable("the register does not give its log")
            for at, members in page:
                text = members_of(members)[EVENT]
                if subject in text:
                    event = Event.from_json(text)
                    if event.subject == str(digest):
                        events.append((bytes(at), event))
            if len(page) < int(_PAGE):
                return events
            start = b"(" + page[-1][0]
