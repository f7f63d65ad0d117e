"""Postmark's suppression lists, by https://postmarkapp.com/developer/api/suppressions-api."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

from aiohttp import web

from tests.peers.tools.standin import StandIn, says

TOKEN = "b1c2d3e4-server-token"
_PATH = re.compile(r"/message-streams/([^/]+)/suppressions(/dump)?")


class Postmark(StandIn):
    """Streams with lists: address -> (reason, origin, when in ms)."""

    def __init__(self, *streams: str) -> None:
        super().__init__()
        self.streams: dict[str, dict[str, tuple[str, str, int]]] = {
            name: {} for name in streams or ("outbound", "broadcast")
        }
        self.twice = False
        """Whether a dump names each entry twice."""

    def add(self, stream, address, reason="ManualSuppression", origin="Recipient", at=None):
        self.streams[stream][address] = (reason, origin, self.time() if at is None else at)

    def handle(self, request: web.Request, body: bytes) -> web.Response:
        if request.headers.get("X-Postmark-Server-Token") != TOKEN:
            return _error(401, 10, "No Account or Server API tokens were supplied.")
        match = _PATH.fullmatch(request.path)
        if match is None:
            return _error(404, 0, "Not found")
        stream = self.streams.get(match[1])
        if stream is None:
            return _error(422, 1226, "The message stream for the provided 'ID' was not found.")
        if match[2]:
            return self._dump(stream, request.query)
        return self._create(stream, json.loads(body))

    def _dump(self, stream, query) -> web.Response:
        first, last = query.get("fromdate", "0001-01-01"), query.get("todate", "9999-12-31")
        found = [
            {
                "EmailAddress": address,
                "SuppressionReason": reason,
                "Origin": origin,
                "CreatedAt": _time(at),
            }
            for address, (reason, origin, at) in stream.items()
            if first <= _time(at)[:10] <= last
        ]
        return says({"Suppressions": found * (2 if self.twice else 1)})

    def _create(self, stream, asked) -> web.Response:
        entries = asked["Suppressions"]
        if len(entries) > 50:
            return _error(422, 1227, "You can't send more than 50 recipients in one request.")
        told = []
        for entry in entries:
            address = entry["EmailAddress"]
            if address.startswith("refused"):
                text = "An invalid email address was provided."
                told.append({"EmailAddress": address, "Status": "Failed", "Message": text})
                continue
            if address.startswith("spoiling"):
                return _error(422, 300, "Invalid email address.")
            if address not in stream:
                stream[address] = ("ManualSuppression", "Customer", self.time())
            told.append({"EmailAddress": address, "Status": "Suppressed", "Message": None})
        return says({"Suppressions": told})


def _error(status: int, code: int, text: str) -> web.Response:
    return says({"ErrorCode": code, "Message": text}, status)


def _time(at: int) -> str:
    """With hundreds of nanoseconds, as Postmark writes times."""
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f") + "1Z"
