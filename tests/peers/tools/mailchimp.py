"""Mailchimp's audiences, by https://mailchimp.com/developer/marketing/api/."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import datetime
from hashlib import md5

from aiohttp import web

from tests.peers.tools.standin import StandIn, iso, says

KEY = "0123456789abcdef0123456789abcdef-us19"
_MEMBERS = re.compile(r"/3\.0/lists/([^/]+)/members(?:/([0-9a-f]{32}))?")
_LIST = re.compile(r"/3\.0/lists/([^/]+)")


class Mailchimp(StandIn):
    """Audiences: id -> hash -> member, each with ``at``, when it last changed in ms."""

    base = "/3.0"

    def __init__(self, *audiences: str) -> None:
        super().__init__()
        self.audiences: dict[str, dict[str, dict]] = {name: {} for name in audiences}
        self.between: Callable[[], None] = lambda: None
        """What happens after each page."""
        self.tells_total = True

    def add(self, audience, address, status="unsubscribed", at=None):
        at = self.time() if at is None else at
        member = {"email_address": address, "status": status, "at": at // 1000 * 1000}
        self.audiences[audience][_hash(address)] = member

    def handle(self, request: web.Request, body: bytes) -> web.Response:
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic" or base64.b64decode(pair).decode().partition(":")[2] != KEY:
            return _problem(401, "API Key Invalid", "Your API key may be invalid.")
        match = _MEMBERS.fullmatch(request.path) or _LIST.fullmatch(request.path)
        members = self.audiences.get(match[1]) if match else None
        if members is None:
            return _problem(404, "Resource Not Found", "The requested resource could not be found.")
        if match.re is _LIST and request.method == "POST":
            return self._batch(members, json.loads(body), request.query)
        if match.re is _MEMBERS and match[2] and request.method == "PUT":
            return self._set(members, match[2], json.loads(body))
        if match.re is _MEMBERS and match[2]:
            found = members.get(match[2])
            return says(_shown(found)) if found else _problem(404, "Resource Not Found", "")
        answer = self._page(members, request.query)
        self.between()
        return answer

    def _page(self, members, query) -> web.Response:
        count, offset = int(query.get("count", 10)), int(query.get("offset", 0))
        if count > 1000:
            return _problem(400, "Invalid Resource", "count is too large")
        found = list(members.values())
        if status := query.get("status"):
            found = [one for one in found if one["status"] == status]
        if since := query.get("since_last_changed"):
            after = datetime.fromisoformat(since).timestamp() * 1000
            found = [one for one in found if one["at"] > after]
        if query.get("sort_field") == "last_changed":
            found.sort(key=lambda one: one["at"], reverse=query.get("sort_dir") == "DESC")
        page = [_shown(one) for one in found[offset : offset + count]]
        return says({"members": page} | ({"total_items": len(found)} if self.tells_total else {}))

    def _set(self, members, key, asked) -> web.Response:
        if key != _hash(asked["email_address"]):
            return _problem(400, "Invalid Resource", "The subscriber hash does not match.")
        known = members.get(key)
        status = asked.get("status") or asked["status_if_new"]
        if known and known["status"] == "unsubscribed" and status == "subscribed":
            return _problem(400, "Member In Compliance State", _compliance(asked["email_address"]))
        members[key] = {
            "email_address": asked["email_address"],
            "status": status,
            "at": self.time() // 1000 * 1000,
        }
        return says(_shown(members[key]))

    def _batch(self, members, asked, query) -> web.Response:
        if len(asked["members"]) > 500:
            return _problem(400, "Invalid Resource", "too many members")
        if any(one["email_address"].startswith("spoiling") for one in asked["members"]):
            return _problem(400, "Invalid Resource", "Please provide a valid email address.")
        created, updated, errors = [], [], []
        for one in asked["members"]:
            text = one["email_address"]
            why = {
                "refused": f"{text} looks fake or invalid, please enter a real email address.",
                "complying": _compliance(text),
                "forgotten": f"{text} was permanently deleted and cannot be re-imported.",
                "odd": "Something else.",
            }.get(re.match("[a-z]*", text)[0])
            known = members.get(_hash(text))
            if known and not asked.get("update_existing"):
                why = f"{text} is already a list member"
            if why:
                errors.append({"email_address": text, "error": why, "error_code": "ERROR_GENERIC"})
                continue
            if known and known["status"] == one["status"]:
                updated.append(_shown(known))
                continue
            self.add_into(members, text, one["status"])
            (updated if known else created).append(_shown(members[_hash(text)]))
        return says(
            {
                "new_members": created,
                "updated_members": updated,
                "errors": errors,
                "total_created": len(created),
                "total_updated": len(updated),
                "error_count": len(errors),
            }
        )

    def add_into(self, members, address, status):
        at = self.time() // 1000 * 1000
        members[_hash(address)] = {"email_address": address, "status": status, "at": at}


def _compliance(text: str) -> str:
    return (
        f"{text} is in a compliance state due to unsubscribe, bounce, or compliance review "
        "and cannot be subscribed."
    )


def _hash(address: str) -> str:
    return md5(address.lower().encode(), usedforsecurity=False).hexdigest()


def _shown(one) -> dict:
    return {
        "id": _hash(one["email_address"]),
        "email_address": one["email_address"],
        "status": one["status"],
        "last_changed": iso(one["at"]),
    }


def _problem(status: int, title: str, detail: str) -> web.Response:
    document = {"type": "https://mailchimp.com/developer/", "title": title, "status": status}
    return says(document | {"detail": detail, "instance": "5f0a1b2c"}, status)
