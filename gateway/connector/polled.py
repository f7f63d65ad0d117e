"""What the tools have in common that are asked, by one key, what is new since a time."""

from __future__ import annotations

import orjson

from gateway.clock import Clock, now_ms
from gateway.connector.connector import Connector, HookRefused, Place, Put
from gateway.connector.suppression import Suppression
from gateway.failure import InputError
from gateway.provider.request import JSON, Request

FOREIGN = Put(done=False, cause="this list holds no such ban", final=True)
"""A ban of another channel, or of a topic that has no list there."""
UNTOLD = Put(
    done=False,
    cause="this list cannot tell a bounce or a complaint from an objection",
    final=True,
)
"""A bounce or complaint that would be read back as a legal ban."""
UNANSWERED = Put(done=False, cause="the tool's answer leaves this entry out")
DONE = Put(done=True)


class Polled(Connector):
    """A tool with one key.  ``clock`` tells where the first reading begins, and how far back
    the next one must look."""

    key: str
    """What the tool calls its key, for whoever has to write it down."""

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        super().__init__(place)
        self.clock = clock
        if not place.secret:
            raise InputError(
                f"sync.tools {place.name}: secret_file: name a file that holds {self.key}"
            )


def unheld(entry: Suppression) -> Put | None:
    """Why an entry is not put into a list that has no reasons; None: it is."""
    return None if entry.reason.legal else UNTOLD


def get(path: str, query: str = "") -> Request:
    """A request that asks."""
    return Request("GET", path, query, (("Accept", JSON),))


def post(path: str, document: object, query: str = "") -> Request:
    """A request that brings a JSON document."""
    headers = (("Accept", JSON), ("Content-Type", JSON))
    return Request("POST", path, query, headers, orjson.dumps(document))


def hook_json(request: Request) -> object:
    """The JSON that a webhook brings; raises HookRefused."""
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise HookRefused("the body is not JSON") from None


def hook_list(value: object, most: int = 10_000) -> list[object]:
    """Events, of which there may be many or one; raises HookRefused."""
    events = value if isinstance(value, list) else [value]
    if len(events) > most:
        raise HookRefused(f"more than {most} events")
    return events
