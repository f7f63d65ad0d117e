"""A system that speaks the gateway's own protocol of ``docs/sync/http.md``."""

import hashlib
import hmac
import json
from datetime import datetime
from typing import Any

import aiohttp.web


class Ledger:
    """Entries in the order in which they changed; a cursor is how many came before."""

    def __init__(self, token: str = "t0ken", rows: int = 100) -> None:
        self.credential = f"Bearer {token}"
        self.rows = rows
        self.entries: list[dict[str, Any]] = []
        self.busy = 0
        """How many requests more are put off with 429."""
        self.refused: set[str] = set()
        self.later: set[str] = set()
        self.back: int | None = None
        """The cursor to which its last page leads, as if there were more."""
        self.calls: list[tuple[str, str]] = []
        self.app = aiohttp.web.Application(middlewares=[self._known])
        self.app.router.add_get("/suppressions", self._tell)
        self.app.router.add_post("/suppressions", self._take)

    def webhook(self, secret: str, seconds: int, *entries: dict[str, Any]) -> dict[str, Any]:
        """``headers`` and ``body`` of a call."""
        body = json.dumps({"entries": list(entries)}).encode()
        mac = hmac.new(secret.encode(), f"{seconds}.".encode() + body, hashlib.sha256)
        headers = {
            "Content-Type": "application/json",
            "Gateway-Signature": f"t={seconds},v1={mac.hexdigest()}",
        }
        return {"headers": headers, "body": body}

    @aiohttp.web.middleware
    async def _known(
        self, request: aiohttp.web.Request, handler: Any
    ) -> aiohttp.web.StreamResponse:
        self.calls.append((request.method, request.path_qs))
        if request.headers.get("Authorization") != self.credential:
            return aiohttp.web.Response(status=401)
        if self.busy:
            self.busy -= 1
            return aiohttp.web.Response(status=429, headers={"Retry-After": "0"})
        return await handler(request)

    async def _tell(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        start = int(request.query.get("after", 0))
        if "since" in request.query:
            since = datetime.fromisoformat(request.query["since"])
            start = next(
                (
                    index
                    for index, entry in enumerate(self.entries)
                    if entry.get("at") and datetime.fromisoformat(entry["at"]) >= since
                ),
                len(self.entries),
            )
        end = min(start + min(int(request.query["limit"]), self.rows), len(self.entries))
        shown, more = self.entries[start:end], end < len(self.entries)
        if self.back is not None and shown and not more:
            end, more = self.back, True
        document = {"entries": shown, "cursor": str(end), "more": more}
        return aiohttp.web.json_response(document)

    async def _take(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        asked = (await request.json())["entries"]
        assert len(asked) <= 500
        results = []
        for entry in asked:
            if entry["contact"] in self.refused:
                results.append({"status": "refused"})
            elif entry["contact"] in self.later:
                results.append({"status": "later"})
            else:
                if entry not in self.entries:
                    self.entries.append(entry)
                results.append({"status": "done"})
        return aiohttp.web.json_response({"results": results})
