"""Mandrill's rejection lists, by https://mailchimp.com/developer/transactional/api/rejects/."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from datetime import UTC, datetime
from urllib.parse import urlencode

from aiohttp import web

from tests.peers.tools.standin import StandIn, says

KEY = "md-0123456789abcdef0123"
MOST = 1000


class Mandrill(StandIn):
    """Lists of the account (None) and of subaccounts: address -> entry."""

    base = "/api/1.3"

    def __init__(self, *subaccounts: str) -> None:
        super().__init__()
        self.lists: dict[str | None, dict[str, dict]] = {None: {}}
        self.lists |= {name: {} for name in subaccounts}
        self.allowed: set[str] = set()
        self.adds_twice = True
        """Whether adding what is there already is told as added."""

    def add(self, subaccount, email, reason="unsub", at=None, detail="", expired=False):
        at = self.time() if at is None else at
        self.lists[subaccount][email] = {
            "email": email,
            "reason": reason,
            "detail": detail,
            "created_at": _time(at),
            "last_event_at": _time(at),
            "expires_at": None if reason == "custom" else _time(at + 365 * 86_400_000),
            "expired": expired,
            "subaccount": subaccount,
            "sender": None,
        }

    def handle(self, request: web.Request, body: bytes) -> web.Response:
        asked = json.loads(body)
        if asked.get("key") != KEY:
            return _error(-1, "Invalid_Key", "Invalid API key")
        subaccount = asked.get("subaccount")
        if subaccount is not None and subaccount not in self.lists:
            return _error(12, "Unknown_Subaccount", "No subaccount exists with that id")
        match request.path.removeprefix(self.base):
            case "/rejects/list.json":
                return self._list(subaccount, asked)
            case "/rejects/add.json":
                return self._add(subaccount, asked)
        return _error(-1, "Unknown_Method", "no such method")

    def _list(self, subaccount, asked) -> web.Response:
        lists = self.lists.values() if subaccount is None else [self.lists[subaccount]]
        found = [one for entries in lists for one in entries.values()]
        if text := asked.get("email"):
            found = [one for one in found if one["email"] == text]
        if not asked.get("include_expired"):
            found = [one for one in found if not one["expired"]]
        found.sort(key=lambda one: one["last_event_at"], reverse=True)
        return says(found[:MOST])

    def _add(self, subaccount, asked) -> web.Response:
        email = asked["email"]
        if email.startswith("refused"):
            return _error(-2, "ValidationError", "Validation error: email: not a valid address")
        entries = self.lists[subaccount]
        if email in self.allowed or (email in entries and not self.adds_twice):
            return says({"email": email, "added": False})
        if email not in entries:
            self.add(subaccount, email, "custom", detail=asked.get("comment") or "")
        return says({"email": email, "added": True})


def signed(url: str, key: str, events: object) -> tuple[bytes, str]:
    """The body of a webhook and its signature, made by the rules of Mandrill's guide."""
    text = events if isinstance(events, str) else json.dumps(events)
    digest = hmac.new(key.encode(), f"{url}mandrill_events{text}".encode(), hashlib.sha1)
    return urlencode({"mandrill_events": text}).encode(), base64.b64encode(digest.digest()).decode()


def _error(code: int, name: str, text: str) -> web.Response:
    return says({"status": "error", "code": code, "name": name, "message": text}, 500)


def _time(at: int) -> str:
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
