"""Brevo's contacts and blocked contacts, by https://developers.brevo.com/reference/."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from aiohttp import web

from tests.peers.tools.standin import StandIn, says

KEY = "xkeysib-0123456789abcdef"


class Brevo(StandIn):
    """Contacts in the order in which they were made, and the blocked ones."""

    base = "/v3"

    def __init__(self) -> None:
        super().__init__()
        self.contacts: list[dict] = []
        self.blocked: list[dict] = []
        self.between = lambda: None
        """What happens after each page."""
        self._of: dict[str, dict] = {}

    def add(self, email=None, sms=None, at=None, made=None, lists=(), **flags):
        at = self.time() if at is None else at
        contact = {
            "id": len(self.contacts) + 1,
            "emailBlacklisted": False,
            "smsBlacklisted": False,
            "createdAt": _time(at if made is None else made),
            "modifiedAt": _time(at),
            "listIds": [7],
            "listUnsubscribed": list(lists) or None,
            "attributes": {"SMS": sms} if sms else {},
        } | flags
        if email:
            contact["email"] = email
            self._of[email] = contact
        if sms:
            self._of[sms] = contact
        self.contacts.append(contact)
        return contact

    def block(self, email, code="unsubscribedViaEmail", sender=None, at=None):
        self.blocked.append(
            {
                "email": email,
                "senderEmail": sender,
                "reason": {"code": code, "message": "in words"},
                "blockedAt": _time(self.time() if at is None else at),
            }
        )

    def handle(self, request: web.Request, body: bytes) -> web.Response:
        if request.headers.get("api-key") != KEY:
            return _error(401, "unauthorized", "Key not found")
        match request.method, request.path.removeprefix(self.base):
            case "GET", "/contacts":
                answer = self._contacts(request.query)
            case "GET", "/smtp/blockedContacts":
                answer = self._blocked(request.query)
            case "POST", "/contacts":
                return self._create(json.loads(body))
            case "POST", "/contacts/batch":
                return self._batch(json.loads(body))
            case _:
                return _error(404, "document_not_found", "no such path")
        self.between()
        return answer

    def _contacts(self, query) -> web.Response:
        found = self.contacts
        if since := query.get("modifiedSince"):
            found = [one for one in found if _at(one["modifiedAt"]) > _at(since)]
        if since := query.get("createdSince"):
            found = [one for one in found if _at(one["createdAt"]) > _at(since)]
        found = sorted(found, key=lambda one: _at(one["createdAt"]))
        return _page(found, query, 50, 1000)

    def _blocked(self, query) -> web.Response:
        first, last = query.get("startDate"), query.get("endDate")
        if (first is None) != (last is None):
            return _error(400, "missing_parameter", "startDate and endDate go together")
        today = _time(self.time())[:10]
        if first and (first > today or last > today or first > last):
            return _error(400, "invalid_parameter", "a date lies in the future")
        found = [
            one for one in self.blocked if first is None or first <= one["blockedAt"][:10] <= last
        ]
        return _page(found, query, 50, 100)

    def _create(self, asked) -> web.Response:
        email, sms = asked.get("email"), (asked.get("attributes") or {}).get("SMS")
        if (email or "").startswith("refused") or (sms or "").startswith("+999"):
            return _error(400, "invalid_parameter", "Invalid email address or phone number")
        if (email or "").startswith("odd"):
            return _error(400, "account_in_process", "try later")
        known = self._of.get(email or sms.removeprefix("+"))
        if known is None:
            made = self.add(email, sms.removeprefix("+") if sms else None)
            made |= _flags(asked)
            return says({"id": made["id"]}, 201)
        if not asked.get("updateEnabled") or (not email and known.get("email")):
            text = "SMS is already associated with another Contact"
            return _error(400, "duplicate_parameter", text)
        known |= _flags(asked) | {"modifiedAt": _time(self.time())}
        return web.Response(status=204)

    def _batch(self, asked) -> web.Response:
        failed = []
        for one in asked["contacts"]:
            key = one.get("email") or (one.get("sms") or "").removeprefix("+")
            if (known := self._of.get(key)) is None:
                failed.append(key)
                continue
            known |= _flags(one) | {"modifiedAt": _time(self.time())}
        if failed:
            return says({"failureIds": [1], "successIds": []}, 207)
        return web.Response(status=204)


def _flags(asked) -> dict:
    return {name: asked[name] for name in ("emailBlacklisted", "smsBlacklisted") if name in asked}


def _page(found, query, usual: int, most: int) -> web.Response:
    limit, offset = int(query.get("limit", usual)), int(query.get("offset", 0))
    if limit > most:
        return _error(400, "out_of_range", "limit exceeds the maximum")
    if query.get("sort", "desc") == "desc":
        found = found[::-1]
    return says({"contacts": found[offset : offset + limit], "count": len(found)})


def _error(status: int, code: str, text: str) -> web.Response:
    return says({"code": code, "message": text}, status)


def _time(at: int) -> str:
    text = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()
