"""Mailgun's lists and events of one domain, as its API reference describes them.

https://documentation.mailgun.com/docs/mailgun/api-reference/openapi-final/tag/Bounces/
https://documentation.mailgun.com/docs/mailgun/user-manual/events/
"""

import base64
import bisect
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import unquote, urlencode

import orjson
from aiohttp import web

from tests.peers.tools.standin import StandIn


class MailgunDomain(StandIn):
    """The lists of one domain."""

    def __init__(self, key: str = "key-1", domain: str = "mg.example.com"):
        super().__init__()
        self.key, self.domain = key, domain
        self.lists: dict[str, dict[str, dict]] = {
            "bounces": {},
            "unsubscribes": {},
            "complaints": {},
        }
        self.events: list[dict] = []
        self.replaces = True
        """Whether new tags take the place of the old ones: nobody says that they do not."""
        self.elsewhere = ""
        """Another host that pages are said to be at."""
        self.between = lambda: None
        """Called after each page of a list."""

    def add(self, name: str, address: str, at: float | None = None, **more) -> None:
        """An entry of a list, without an event."""
        when = datetime.fromtimestamp(self.now() if at is None else at, UTC)
        created = when.strftime("%a, %d %b %Y %H:%M:%S UTC")
        entry = {"address": address, "created_at": created, **more}
        if name == "unsubscribes" and "tag" not in more:
            entry.setdefault("tags", ["*"])
        self.lists[name][address] = entry

    def happen(self, event: str, address: str, at: float | None = None, **more) -> None:
        """An event; with the entry that it makes."""
        stamp = self.now() if at is None else at
        number = len(self.events)
        self.events.append(
            {"event": event, "id": f"id{number}", "recipient": address, "timestamp": stamp, **more}
        )

    def throttled(self) -> web.Response:
        return web.json_response(
            {"message": "Too Many Requests"}, status=429, headers={"Retry-After": "1"}
        )

    def handle(self, request: web.Request, body: bytes) -> web.Response:
        pair = base64.b64encode(f"api:{self.key}".encode()).decode()
        if request.headers.get("Authorization") != f"Basic {pair}":
            return web.Response(status=401, text="Forbidden")
        found = re.fullmatch(r"/v3/([^/]+)/(\w+)(?:/(.*))?", request.raw_path.partition("?")[0])
        if not found or found[1] != self.domain:
            return message(404, "Domain not found")
        name, rest = found[2], unquote(found[3] or "")
        if name == "events" and request.method == "GET":
            return self._events(request, rest)
        if name not in self.lists:
            return message(404, "not found")
        if request.method == "POST":
            return self._post(name, request, body)
        if rest:
            entry = self.lists[name].get(rest)
            return (
                web.json_response(entry)
                if entry
                else message(404, f"Address not found in {name} table")
            )
        return self._list(name, request)

    def _list(self, name: str, request: web.Request) -> web.Response:
        limit = int(request.query.get("limit", 100))
        if not 1 <= limit <= 1000:
            return message(400, "The 'limit' parameter is not valid")
        # In the order of the alphabet, from an address on.
        addresses = sorted(self.lists[name])
        page, pivot = request.query.get("page", ""), request.query.get("address", "")
        first = bisect.bisect_right(addresses, pivot) if page == "next" else 0
        shown = addresses[first : first + limit]
        link = self._link(request, f"/v3/{self.domain}/{name}")
        paging = {
            "first": link(page="first", limit=limit),
            "next": link(page="next", address=shown[-1] if shown else pivot, limit=limit),
            "previous": link(page="previous", address=shown[0] if shown else pivot, limit=limit),
            "last": link(page="last", limit=limit),
        }
        found = web.json_response(
            {"items": [self.lists[name][one] for one in shown], "paging": paging}
        )
        self.between()
        return found

    def _events(self, request: web.Request, token: str) -> web.Response:
        if token:
            asked = orjson.loads(base64.urlsafe_b64decode(token))
        else:
            asked = dict(request.query)
            if asked.get("ascending") != "yes" or "begin" not in asked:
                return message(400, "a time range is needed")
        limit = min(int(asked.get("limit", 100)), 300)
        wanted = [word.strip() for word in asked.get("event", "").split(" OR ")]
        chosen = [
            one
            for one in sorted(self.events, key=lambda one: (one["timestamp"], one["id"]))
            if one["timestamp"] >= float(asked["begin"])
            and (wanted == [""] or one["event"] in wanted)
            and asked.get("severity", one.get("severity")) == one.get("severity")
            and (one["timestamp"], one["id"]) > tuple(asked.get("after", (0, "")))
        ]
        shown = chosen[:limit]
        after = asked.get("after", [0, ""])
        if shown:
            after = [shown[-1]["timestamp"], shown[-1]["id"]]
        encoded = base64.urlsafe_b64encode(orjson.dumps(asked | {"after": after})).decode()
        where = f"{self._host(request)}/v3/{self.domain}/events/{encoded}"
        return web.json_response({"items": shown, "paging": {"next": where, "previous": where}})

    def _post(self, name: str, request: web.Request, body: bytes) -> web.Response:
        if request.content_type == "application/json":
            items = orjson.loads(body)
            items = items if isinstance(items, list) else [items]
        else:
            form = dict(re.findall(r'name="(\w+)"\r\n\r\n(.*?)\r\n', body.decode()))
            if not form:
                form = {
                    unquote(pair.partition("=")[0]): unquote(pair.partition("=")[2])
                    for pair in body.decode().split("&")
                }
            if "tag" in form:
                form["tags"] = [form.pop("tag")]
            items = [form]
        if len(items) > 1000:
            return message(400, "Batch size should be less than 1000")
        if not all("@" in one.get("address", "") and one["address"].isascii() for one in items):
            return message(400, "Invalid format for parameter address")
        for one in items:
            more = {key: one[key] for key in ("code", "error", "tags") if key in one}
            there = self.lists[name].get(one["address"])
            if there and "tags" in more and not self.replaces:
                more["tags"] = sorted({*there["tags"], *more["tags"]})
            at = (
                parsedate_to_datetime(one["created_at"]).timestamp()
                if "created_at" in one
                else None
            )
            self.add(name, one["address"], at, **more)
        if len(items) == 1:
            text = f"Address has been added to the {name} table"
            return web.json_response({"address": items[0]["address"], "message": text})
        return message(200, f"{len(items)} addresses have been added to the {name} table")

    def _host(self, request: web.Request) -> str:
        return self.elsewhere or f"http://{request.host}"

    def _link(self, request: web.Request, path: str):
        return lambda **pairs: f"{self._host(request)}{path}?{urlencode(pairs)}"


def message(status: int, text: str) -> web.Response:
    """An answer of words."""
    return web.json_response({"message": text}, status=status)
