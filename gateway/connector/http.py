"""Any system that speaks the gateway's own small protocol (``docs/sync/http.md``).

``GET {url}/suppressions`` tells entries in the order in which they changed, from a
cursor on; ``POST {url}/suppressions`` takes entries; a webhook tells of them at once.
The cursor is the other system's: it stands for all that was told before it.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from gateway.clock import DAY_MS, Clock, now_ms
from gateway.connector.answer import object_in, objects_at
from gateway.connector.asking import sent
from gateway.connector.connector import (
    Connector,
    Exchange,
    Holds,
    HookRefused,
    Page,
    Place,
    Put,
    ToolUnreadable,
)
from gateway.connector.row import RowError, change_of, row_of
from gateway.connector.setting import need, setting
from gateway.connector.suppression import DELIVERY, Change, Said, Suppression
from gateway.connector.topics import Topics
from gateway.connector.webhook import called, expect_fresh, secret_of
from gateway.contacts.contact import Channel
from gateway.provider.request import Request

SIGNATURE: Final = "Gateway-Signature"
"""``t=SECONDS,v1=HEX``: HMAC-SHA256 of the seconds, a full stop and the body."""

_PATH: Final = "/suppressions"
_ROWS: Final = 1000
_CURSOR: Final = 4000
"""Characters of a cursor at the most."""
_HOOKED: Final = 10_000
_signature = re.compile(r"t=([0-9]{1,12})((?:,v1=[0-9a-f]{64}){1,4})").fullmatch
_RESULTS = {
    "done": Put(True),
    "refused": Put(False, "the tool does not take such an entry", final=True),
    "later": Put(False, "the tool puts the entry off"),
}


class Http(Connector):
    """A bearer token; topics as the settings name them."""

    kind: ClassVar[str] = "http"
    title: ClassVar[str] = "the tool"
    url: str = ""
    most: ClassVar[int] = 500

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        super().__init__(place, clock)
        need(place, "url", place.url, "the URL below which /suppressions is")
        need(place, "secret_file", place.secret, "a file with the tool's bearer token")
        self._topics = Topics(place)

    @property
    def holds(self) -> Holds:
        """Everything but the topics that the settings do not name."""
        topics = self._topics
        return Holds(topics.scopes, frozenset(Channel), topics.names, delivery=DELIVERY)

    def warnings(self) -> list[str]:
        """Whether it can be heard at once."""
        if self.place.webhook_secret:
            return []
        return [f"{setting(self.place, 'webhook_secret_file')} is not set: webhooks are refused"]

    def prepare(self, request: Request, now: int) -> Request:
        """With the bearer token (RFC 6750)."""
        return request.with_headers({"Authorization": f"Bearer {self.place.secret}"})

    # -- reading ----------------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """What changed since the cursor, or since a day ago where there is none yet."""
        if cursor:
            return (yield from self._page([("after", cursor)], cursor))
        since = datetime.fromtimestamp((self.clock() - DAY_MS) // 1000, UTC)
        text = since.isoformat().replace("+00:00", "Z")
        return (yield from self._page([("since", text)], cursor))

    def listing(self, cursor: str) -> Exchange[Page]:
        """The entries from the first one on, without those that are gone."""
        page = yield from self._page([("after", cursor)] if cursor else [], cursor)
        there = tuple(change for change in page.changes if change.said is Said.ADDED)
        return Page(there, page.cursor, page.more, page.bad)

    def _page(self, asked: list[tuple[str, str]], before: str) -> Exchange[Page]:
        answer = yield Request("GET", _PATH, urlencode([*asked, ("limit", str(_ROWS))]))
        document = object_in(answer, self)
        cursor, more = document.get("cursor"), document.get("more")
        if not isinstance(cursor, str) or not 0 < len(cursor) <= _CURSOR:
            raise ToolUnreadable(f"cursor is no text of at most {_CURSOR} characters")
        if not isinstance(more, bool):
            raise ToolUnreadable("more is neither true nor false")
        if more and cursor == before:
            raise ToolUnreadable("there is more, and the cursor stays")
        rows = objects_at(document, "entries", self)
        found, bad = self._read(rows)
        return Page(tuple(found), cursor, more, bad)

    def _read(self, rows: Sequence[Mapping[str, Any]]) -> tuple[list[Change], int]:
        """The entries, and how many could not be read."""
        found: list[Change] = []
        bad = 0
        for row in rows:
            try:
                found.append(change_of(row, self._topics))
            except RowError:
                bad += 1
        return found, bad

    # -- writing ----------------------------------------------------------------------

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """All in one request; the answer has a result for each, in order."""
        results: list[Put | None] = []
        rows = []
        for entry in entries:
            try:
                rows.append(row_of(entry, self._topics))
                results.append(None)
            except RowError as error:
                results.append(Put(False, str(error), final=True))
        told: list[Put] = []
        if rows:
            answer = yield sent("POST", _PATH, {"entries": rows})
            document = object_in(answer, self)
            told = [_result(one) for one in objects_at(document, "results", self)]
            if len(told) != len(rows):
                raise ToolUnreadable("results are not as many as the entries")
        answers = iter(told)
        return [next(answers) if result is None else result for result in results]

    # -- webhooks ---------------------------------------------------------------------

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """``{"entries": […]}``; one entry that cannot be read, and none is taken."""
        self._signed(request, now)
        rows = called(request).get("entries")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise HookRefused("entries is no list of objects")
        if len(rows) > _HOOKED:
            raise HookRefused(f"entries are more than {_HOOKED}")
        found = []
        for number, row in enumerate(rows, start=1):
            try:
                found.append(change_of(row, self._topics))
            except RowError as error:
                raise HookRefused(f"entry {number}: {error}") from None
        return tuple(found)

    def replays(self, request: Request) -> str:
        """The signature as it ought to be, whatever else the header says."""
        parts = _signature(request.header(SIGNATURE.lower()))
        return signed(self.place.webhook_secret, parts[1], request.body) if parts else ""

    def _signed(self, request: Request, now: int) -> None:
        secret = secret_of(self.place)
        parts = _signature(request.header(SIGNATURE.lower()))
        if parts is None:
            raise HookRefused(f"{SIGNATURE} is not t=SECONDS,v1=HEX", http=401)
        right = signed(secret, parts[1], request.body)
        shown = parts[2].removeprefix(",v1=").split(",v1=")
        if not any(hmac.compare_digest(right, one) for one in shown):
            raise HookRefused("the signature is not the tool's", http=401)
        expect_fresh(int(parts[1]), now)


def signed(secret: str, seconds: str, body: bytes) -> str:
    """The ``v1`` of a webhook: HMAC-SHA256 in hexadecimal digits."""
    return hmac.digest(secret.encode(), seconds.encode() + b"." + body, "sha256").hex()


def _result(told: Mapping[str, Any]) -> Put:
    status = told.get("status")
    result = _RESULTS.get(status) if isinstance(status, str) else None
    if result is None:
        raise ToolUnreadable(f"status is none of {', '.join(_RESULTS)}")
    return result
