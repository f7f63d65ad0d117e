"""Mautic's API of contacts and their "do not contact" entries, and its webhooks.

https://devdocs.mautic.org/en/latest/rest_api/contacts.html, /stats.html,
/authentication.html and /webhooks/.  Whole numbers of a table come as texts, empty
objects as lists, and errors of a table with 200, as PHP and ``StatsApiController`` have it.
"""

import base64
import hashlib
import hmac
import html
import itertools
import json
import re
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp.web

_where = re.compile(r"where\[(\d+)\]\[(col|expr|val)\]").fullmatch
VERBS = {0: "contactable", 1: "unsubscribed", 2: "bounced", 3: "manual"}


def _errors(status: int, message: str) -> aiohttp.web.Response:
    return aiohttp.web.json_response(
        {"errors": [{"code": status, "message": message}]}, status=status
    )


class Mautic:
    """Contacts by their ids: fields and entries."""

    def __init__(self, user: str = "gateway", password: str = "t0ken") -> None:
        self.credential = "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
        self.client = ("1_client", "client/secret+")
        """The id and secret of a client of OAuth 2."""
        self.tokens: list[str] = []
        """Every token that was given to it, the oldest first."""
        self.lasts: object = 3600
        """Seconds for which it says that a token lasts."""
        self.good: set[str] = set()
        """The tokens that let requests in."""
        self.grants: dict[str, Any] = {}
        """What it says of a token otherwise than it should."""
        self.broken = 0
        """How many requests for a token more it breaks at (500)."""
        self.skew = 0.0
        """Seconds by which its clock is ahead."""
        self.viewer = True
        """Whether the user may view all contacts."""
        self.busy = 0
        """How many requests more are put off with 429."""
        self.forgets_entries = False
        """Whether a new contact comes without the entries that were asked for."""
        self.contacts: dict[int, dict[str, str]] = {}
        self.entries: dict[int, dict[str, Any]] = {}
        """By the id, 1 and so on: ``lead_id``, ``channel``, ``reason``, ``at`` (seconds)."""
        self._places: dict[tuple[int, str], int] = {}
        self.calls: list[tuple[str, str]] = []
        self._ids = itertools.count(1)
        self.app = aiohttp.web.Application(middlewares=[self._known])
        self.app.router.add_post("/oauth/v2/token", self._grant)
        self.app.router.add_get("/api/stats/lead_donotcontact", self._stats)
        self.app.router.add_get("/api/contacts", self._list)
        self.app.router.add_post("/api/contacts/new", self._new)
        self.app.router.add_post("/api/contacts/{id}/dnc/{channel}/add", self._add)

    def now(self) -> float:
        return time.time() + self.skew

    # -- what happens in Mautic ------------------------------------------------------

    def contact(self, **fields: str) -> int:
        """A new contact with these fields."""
        number = next(self._ids)
        self.contacts[number] = fields
        return number

    def enter(self, contact: int, channel: str, reason: int, ago: float = 0) -> None:
        """An entry; one that the person asked for is not overwritten."""
        at = self.now() - ago
        number = self._places.setdefault((contact, channel), len(self.entries) + 1)
        entry = self.entries.get(number)
        if entry is None:
            self.entries[number] = {
                "lead_id": contact,
                "channel": channel,
                "reason": reason,
                "at": at,
            }
        elif entry["reason"] not in (1, reason):
            entry |= {"reason": reason, "at": at}

    def _of(self, contact: int) -> list[tuple[int, dict[str, Any]]]:
        """A contact's entries and their ids."""
        places = [self._places.get((contact, one)) for one in ("email", "sms", "notification")]
        return [(number, self.entries[number]) for number in places if number]

    def held(self, contact: int) -> dict[str, int]:
        """A contact's reasons by the channel."""
        return {entry["channel"]: entry["reason"] for _, entry in self._of(contact)}

    def told(self, contact: int) -> dict[str, Any]:
        """A contact as the API and the webhooks tell it."""
        fields = self.contacts[contact]
        entries = [
            {
                "id": number,
                "reason": entry["reason"],
                "comments": "",
                "channel": entry["channel"],
                "channelId": None,
            }
            for number, entry in self._of(contact)
        ]
        core = {
            name: {"id": "1", "alias": name, "type": "text", "group": "core", "value": value}
            for name, value in fields.items()
        }
        return {
            "id": contact,
            "isPublished": True,
            "fields": {
                "core": core or [],
                "social": [],
                "personal": [],
                "professional": [],
                "all": dict(fields) or [],
            },
            "tags": [],
            "doNotContact": entries,
        }

    def webhook(
        self, secret: str, *changes: tuple[int, str, int, int], at: float | None = None
    ) -> tuple[dict[str, str], bytes]:
        """Headers and body that tell of (contact, channel, old reason, new reason)."""
        when = datetime.fromtimestamp(self.now() if at is None else at, UTC)
        events = [
            {
                "contact": self.told(contact),
                "channel": channel,
                "old_status": VERBS[old],
                "new_status": VERBS[new],
                "timestamp": when.isoformat(timespec="seconds"),
            }
            for contact, channel, old, new in changes
        ]
        body = json.dumps({"mautic.lead_channel_subscription_changed": events}).encode()
        digest = hmac.new(secret.encode(), body, hashlib.sha256).digest()
        signature = base64.b64encode(digest).decode()
        return {"Content-Type": "application/json", "Webhook-Signature": signature}, body

    # -- the API ---------------------------------------------------------------------

    @aiohttp.web.middleware
    async def _known(
        self, request: aiohttp.web.Request, handler: Any
    ) -> aiohttp.web.StreamResponse:
        self.calls.append((request.method, request.path_qs))
        if self.busy:
            self.busy -= 1
            return aiohttp.web.Response(status=429, headers={"Retry-After": "0"})
        if request.path == "/oauth/v2/token":
            assert "Authorization" not in request.headers
            return await handler(request)
        shown = request.headers.get("Authorization", "")
        if shown.removeprefix("Bearer ") in self.good or shown == self.credential:
            return await handler(request)
        return _errors(401, "The access token provided has expired.")

    async def _grant(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        if self.broken:
            self.broken -= 1
            return aiohttp.web.Response(status=500)
        form = await request.post()
        shown = (form.get("client_id"), form.get("client_secret"))
        if shown != self.client or form.get("grant_type") != "client_credentials":
            wrong = {"error": "invalid_client", "error_description": "The client credentials are"}
            return aiohttp.web.json_response(wrong, status=400)
        token = f"token-{len(self.tokens) + 1}"
        self.tokens.append(token)
        self.good.add(token)
        told = {"access_token": token, "expires_in": self.lasts, "token_type": "bearer"}
        return aiohttp.web.json_response(told | {"scope": ""} | self.grants)

    async def _stats(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        if not self.viewer:
            message = "You do not have the view permission to load data from the lead table"
            return aiohttp.web.json_response({"errors": [{"message": message, "code": 403}]})
        assert request.query["order[0][col]"] == "id"
        assert request.query["order[0][dir]"] == "asc"
        above, since = 0, ""
        for column, expression, value in _conditions(request):
            if (column, expression) == ("id", "gt"):
                above = int(value)
            else:
                assert (column, expression) == ("date_added", "gte")
                since = value
        ids = [
            number
            for number in range(above + 1, len(self.entries) + 1)
            if not since or _written(self.entries[number]["at"]) >= since
        ]
        start, limit = int(request.query["start"]), int(request.query["limit"])
        rows = [
            {
                "id": str(number),
                "lead_id": str(self.entries[number]["lead_id"]),
                "channel": self.entries[number]["channel"],
                "channel_id": None,
                "comments": "",
                "date_added": _written(self.entries[number]["at"]),
                "reason": str(self.entries[number]["reason"]),
            }
            for number in ids[start : start + limit]
        ]
        return aiohttp.web.json_response({"total": len(ids), "stats": rows})

    async def _list(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        [(column, expression, value)] = _conditions(request)
        assert expression in ("in", "eq")
        # As PHP's FILTER_SANITIZE_SPECIAL_CHARS writes it; turned back for lists alone.
        written = "".join(f"&#{ord(one)};" if one in "'\"<>&" else one for one in value)
        wanted = html.unescape(written).split(",") if expression == "in" else [written]
        if column == "id":
            numbers = [int(one) for one in wanted if int(one) in self.contacts]
        else:
            numbers = [
                number
                for number, fields in self.contacts.items()
                if fields.get(column, "").lower() in wanted
            ]
        found = {str(number): self.told(number) for number in numbers}
        start, limit = int(request.query["start"]), int(request.query["limit"])
        page = dict(list(found.items())[start : start + limit])
        return aiohttp.web.json_response({"total": str(len(found)), "contacts": page or []})

    async def _new(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        asked = await request.json()
        entries = asked.pop("doNotContact", [])
        if asked.get("email", "").endswith(".invalid"):
            return _errors(400, "email: The email is not valid.")
        number = self.contact(**asked)
        for entry in entries if not self.forgets_entries else ():
            self.enter(number, entry["channel"], entry["reason"])
        return aiohttp.web.json_response({"contact": self.told(number)}, status=201)

    async def _add(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        number = int(request.match_info["id"])
        if number not in self.contacts:
            return _errors(404, "Item was not found.")
        asked = await request.json()
        self.enter(number, request.match_info["channel"], int(asked["reason"]))
        return aiohttp.web.json_response({"contact": self.told(number)})


def _written(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _conditions(request: aiohttp.web.Request) -> list[tuple[str, str, str]]:
    found: dict[int, dict[str, str]] = {}
    for name, value in request.query.items():
        if match := _where(name):
            found.setdefault(int(match[1]), {})[match[2]] = value
    return [(one["col"], one["expr"], one["val"]) for _, one in sorted(found.items())]
