"""SendGrid's suppression lists, as its published OpenAPI document describes them.

https://github.com/twilio/sendgrid-oai (spec/json/tsg_suppressions_v3.json)
"""

import re
import time

import orjson
from aiohttp import web

from tests.peers.tools.standin import StandIn

COUNTED = ("unsubscribes", "bounces", "spam_reports", "invalid_emails", "blocks")


class SendGridLists(StandIn):
    """The lists of one account."""

    def __init__(self, key: str = "SG.key"):
        super().__init__()
        self.key = key
        self.lists: dict[str, list[dict]] = {name: [] for name in COUNTED}
        """Each in the order in which it is shown."""
        self.groups: dict[int, list[dict]] = {}
        self.names: dict[int, str] = {}
        self.between = lambda: None
        """Called after each page."""
        self.pages = True
        """Whether offsets are heeded at all."""
        self.on_behalf: list[str] = []

    def add(self, name: str, email: str, at: float | None = None, **more) -> None:
        """Add to the front: the newest is shown first."""
        created = int(self.now() if at is None else at)
        self.lists[name].insert(0, {"created": created, "email": email, **more})

    def make_group(self, number: int, name: str) -> None:
        self.groups[number], self.names[number] = [], name

    def add_to_group(self, number: int, email: str, at: float | None = None) -> None:
        created = int(self.now() if at is None else at)
        self.groups[number].append({"email": email, "created_at": created})

    def throttled(self) -> web.Response:
        reset = str(int(time.time()) + 3)
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        return web.json_response(
            {"errors": [{"field": None, "message": "too many requests"}]},
            status=429,
            headers=headers,
        )

    def handle(self, request: web.Request, body: bytes) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return fault(401, "The provided authorization grant is invalid, expired, or revoked")
        self.on_behalf.append(request.headers.get("on-behalf-of", ""))
        path, method = request.path, request.method
        if method == "GET" and (found := re.fullmatch(r"/v3/suppression/(\w+)", path)):
            return self._counted(found[1], request)
        if path == "/v3/asm/groups" and method == "GET":
            return web.json_response(
                [
                    {
                        "id": number,
                        "name": self.names[number],
                        "description": "one",
                        "is_default": False,
                        "unsubscribes": len(entries),
                    }
                    for number, entries in self.groups.items()
                ]
            )
        if path == "/v3/asm/suppressions" and method == "GET":
            return web.json_response(
                [
                    {**entry, "group_id": number, "group_name": self.names[number]}
                    for number, entries in self.groups.items()
                    for entry in entries
                ]
            )
        if path == "/v3/asm/suppressions/global" and method == "POST":
            return self._post("", body)
        if found := re.fullmatch(r"/v3/asm/groups/(\d+)/suppressions", path):
            if method == "POST":
                return self._post(found[1], body)
            return web.json_response([one["email"] for one in self.groups[int(found[1])]])
        return fault(404, "not found")

    def _counted(self, name: str, request: web.Request) -> web.Response:
        if name not in self.lists:
            return fault(404, "not found")
        start = int(request.query.get("start_time", 0))
        end = int(request.query.get("end_time", 2**40))
        limit, offset = int(request.query.get("limit", 500)), int(request.query.get("offset", 0))
        if not 1 <= limit <= 500:
            return fault(400, "limit should be less than or equal to 500")
        chosen = [one for one in self.lists[name] if start <= one["created"] <= end]
        shown = chosen[offset : offset + limit] if self.pages else chosen
        found = web.json_response(shown)
        self.between()
        return found

    def _post(self, group: str, body: bytes) -> web.Response:
        addresses = orjson.loads(body).get("recipient_emails")
        if not addresses or not all("@" in one and one.isascii() for one in addresses):
            return fault(400, "invalid email address")
        for one in addresses:
            if group and int(group) in self.groups:
                self.add_to_group(int(group), one)
            elif all(each["email"] != one for each in self.lists["unsubscribes"]):
                # A group that does not exist: the global list.
                self.add("unsubscribes", one)
        return web.json_response({"recipient_emails": addresses}, status=201)


def fault(status: int, message: str) -> web.Response:
    """An error as SendGrid says it."""
    return web.json_response({"errors": [{"field": None, "message": message}]}, status=status)
