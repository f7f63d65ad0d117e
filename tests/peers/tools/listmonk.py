"""listmonk's API over a small database: expressions are run as SQL, as listmonk runs them.

https://listmonk.app/docs/apis/subscribers/, /apis/bounces/.  What is asked beside the
pages' words (409, the order, which statements move which times) is as in listmonk's
``queries/subscribers.sql`` and ``cmd/subscribers.go``.
"""

import base64
import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp.web

_SCHEMA = """
CREATE TABLE subscribers (
    id INTEGER PRIMARY KEY, email TEXT UNIQUE, name TEXT, status TEXT, updated_at REAL);
CREATE TABLE subscriber_lists (
    subscriber_id INTEGER, list_id INTEGER, status TEXT, updated_at REAL,
    PRIMARY KEY (subscriber_id, list_id));
CREATE TABLE bounces (
    id INTEGER PRIMARY KEY, subscriber_id INTEGER, type TEXT, created_at REAL);
"""


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _failed(status: int, message: str) -> aiohttp.web.Response:
    return aiohttp.web.json_response({"message": message}, status=status)


class Listmonk:
    """``rows`` is what one page has at the most, whatever is asked for."""

    def __init__(self, user: str = "gateway", token: str = "t0ken", rows: int = 50) -> None:
        self.credential = "Basic " + base64.b64encode(f"{user}:{token}".encode()).decode()
        self.rows = rows
        self.skew = 0.0
        """Seconds by which its clock is ahead."""
        self.old_duplicates = False
        """Whether somebody known is answered 400, as by older versions."""
        self.busy = 0
        """How many requests more are put off with 429."""
        self.broken: dict[int, int] = {}
        """By the number of the call: the status of 5xx that it is answered with."""
        self.calls: list[tuple[str, str]] = []
        self.database = sqlite3.connect(":memory:")
        self.database.executescript(_SCHEMA)
        self.database.create_function("to_timestamp", 1, float)
        self.database.create_function("decode", 2, lambda text, _: bytes.fromhex(text))
        self.database.create_function("convert_from", 2, lambda octets, _: octets.decode())
        self.app = aiohttp.web.Application(middlewares=[self._known])
        self.app.router.add_get("/api/subscribers", self._query)
        self.app.router.add_post("/api/subscribers", self._create)
        self.app.router.add_put("/api/subscribers/query/blocklist", self._blocklist)
        self.app.router.add_put("/api/subscribers/query/lists", self._manage)
        self.app.router.add_get("/api/bounces", self._bounces)

    def now(self) -> float:
        return time.time() + self.skew

    # -- what happens in listmonk ----------------------------------------------------

    def add(
        self, email: str, status: str = "enabled", lists: tuple[int, ...] = (), ago: float = 0
    ) -> int:
        """A subscriber, of these lists, as it has stood for so many seconds."""
        at = self.now() - ago
        found = self.database.execute(
            "INSERT INTO subscribers (email, name, status, updated_at) VALUES (?, ?, ?, ?)",
            (email, "Somebody", status, at),
        ).lastrowid
        assert found is not None
        for number in lists:
            self.database.execute(
                "INSERT INTO subscriber_lists VALUES (?, ?, 'confirmed', ?)", (found, number, at)
            )
        return found

    def unsubscribed_by_link(
        self, number: int, *, everywhere: bool, lists: tuple[int, ...]
    ) -> None:
        """A person's click: the subscriber's own time stays as it was."""
        if everywhere:
            self.database.execute(
                "UPDATE subscribers SET status = 'blocklisted' WHERE id = ?", (number,)
            )
        for one in lists:
            self.database.execute(
                "UPDATE subscriber_lists SET status = 'unsubscribed', updated_at = ?"
                " WHERE subscriber_id = ? AND list_id = ?",
                (self.now(), number, one),
            )

    def bounced(self, number: int, kind: str, *, blocklisted: bool = False, ago: float = 0) -> None:
        """A bounce, by which listmonk may blocklist; times of subscribers stay."""
        self.database.execute(
            "INSERT INTO bounces (subscriber_id, type, created_at) VALUES (?, ?, ?)",
            (number, kind, self.now() - ago),
        )
        if blocklisted:
            self.database.execute(
                "UPDATE subscribers SET status = 'blocklisted' WHERE id = ?", (number,)
            )

    def status(self, email: str) -> str:
        """A subscriber's status; "" for nobody."""
        found = self.database.execute(
            "SELECT status FROM subscribers WHERE email = ?", (email,)
        ).fetchone()
        return found[0] if found else ""

    def subscription(self, email: str, number: int) -> str:
        """The status on a list; "" where it is not on it."""
        found = self.database.execute(
            "SELECT l.status FROM subscriber_lists l JOIN subscribers s"
            " ON s.id = l.subscriber_id WHERE s.email = ? AND l.list_id = ?",
            (email, number),
        ).fetchone()
        return found[0] if found else ""

    # -- the API ---------------------------------------------------------------------

    @aiohttp.web.middleware
    async def _known(
        self, request: aiohttp.web.Request, handler: Any
    ) -> aiohttp.web.StreamResponse:
        self.calls.append((request.method, request.path_qs))
        if self.busy:
            self.busy -= 1
            return aiohttp.web.Response(status=429, headers={"Retry-After": "0"})
        if status := self.broken.get(len(self.calls)):
            return _failed(status, "broken")
        if request.headers.get("Authorization") != self.credential:
            return _failed(403, "invalid API credentials")
        return await handler(request)

    def _page(self, request: aiohttp.web.Request) -> tuple[int, int]:
        size = min(int(request.query.get("per_page", 20)), self.rows)
        return size, (int(request.query.get("page", 1)) - 1) * size

    async def _query(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        condition = request.query.get("query") or "TRUE"
        order = "ASC" if request.query.get("order") == "asc" else "DESC"
        size, offset = self._page(request)
        try:
            [total] = self.database.execute(
                f"SELECT COUNT(*) FROM subscribers WHERE TRUE AND {condition}"
            ).fetchone()
            rows = self.database.execute(
                "SELECT id, email, name, status, updated_at FROM subscribers"
                f" WHERE TRUE AND {condition} ORDER BY subscribers.id {order} LIMIT ? OFFSET ?",
                (size, offset),
            ).fetchall()
        except sqlite3.Error:
            return _failed(400, "error preparing the query")
        results = [
            {
                "id": number,
                "created_at": _time(at),
                "updated_at": _time(at),
                "uuid": f"00000000-0000-4000-8000-{number:012}",
                "email": email,
                "name": name,
                "attribs": {},
                "status": status,
                "lists": [
                    {
                        "id": one,
                        "subscription_status": its,
                        "subscription_updated_at": _time(then),
                        "name": f"List {one}",
                        "type": "public",
                    }
                    for one, its, then in self.database.execute(
                        "SELECT list_id, status, updated_at FROM subscriber_lists"
                        " WHERE subscriber_id = ?",
                        (number,),
                    )
                ],
            }
            for number, email, name, status, at in rows
        ]
        return self._told(request, results, total, size)

    def _told(
        self, request: aiohttp.web.Request, results: list[Any], total: int, size: int
    ) -> aiohttp.web.Response:
        data = {
            "results": results,
            "query": request.query.get("query", ""),
            "total": total,
            "per_page": size,
            "page": int(request.query.get("page", 1)),
        }
        return aiohttp.web.json_response({"data": data})

    async def _create(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        asked = await request.json()
        email = asked["email"].strip().lower()
        if not asked.get("name"):
            return _failed(400, "Invalid length for name.")
        if not email.isascii() or email.endswith((".invalid", "@blocked.example")):
            return _failed(400, "Invalid email.")
        if self.status(email):
            return _failed(400 if self.old_duplicates else 409, "E-mail already exists.")
        number = self.add(email, asked.get("status") or "enabled", tuple(asked.get("lists") or ()))
        return aiohttp.web.json_response({"data": {"id": number, "email": email}})

    async def _blocklist(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        asked = await request.json()
        for number in self._subscribers(asked["query"]):
            self.database.execute(
                "UPDATE subscribers SET status = 'blocklisted', updated_at = ? WHERE id = ?",
                (self.now(), number),
            )
            self.database.execute(
                "UPDATE subscriber_lists SET status = 'unsubscribed', updated_at = ?"
                " WHERE subscriber_id = ?",
                (self.now(), number),
            )
        return aiohttp.web.json_response({"data": True})

    async def _manage(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        asked = await request.json()
        statement = {
            "add": "INSERT INTO subscriber_lists VALUES (:who, :list, :status, :at)"
            " ON CONFLICT DO NOTHING",
            "unsubscribe": "UPDATE subscriber_lists SET status = 'unsubscribed', updated_at = :at"
            " WHERE subscriber_id = :who AND list_id = :list",
        }.get(asked["action"])
        if statement is None or not asked["target_list_ids"]:
            return _failed(400, "Invalid action.")
        for number in self._subscribers(asked["query"]):
            for one in asked["target_list_ids"]:
                values = {"who": number, "list": one, "at": self.now()}
                status = asked.get("status") or "unconfirmed"
                self.database.execute(statement, values | {"status": status})
        return aiohttp.web.json_response({"data": True})

    def _subscribers(self, condition: str) -> list[int]:
        found = self.database.execute(f"SELECT id FROM subscribers WHERE TRUE AND {condition}")
        return [number for (number,) in found.fetchall()]

    async def _bounces(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        size, offset = self._page(request)
        order = "DESC" if request.query.get("order") == "desc" else "ASC"
        [total] = self.database.execute("SELECT COUNT(*) FROM bounces").fetchone()
        results = [
            {
                "id": number,
                "type": kind,
                "source": "api",
                "meta": {},
                "created_at": _time(at),
                "email": email,
                "subscriber_id": subscriber,
                "campaign": None,
            }
            for number, kind, at, email, subscriber in self.database.execute(
                "SELECT b.id, b.type, b.created_at, s.email, s.id FROM bounces b"
                " JOIN subscribers s ON s.id = b.subscriber_id"
                f" ORDER BY b.created_at {order} LIMIT ? OFFSET ?",
                (size, offset),
            )
        ]
        return self._told(request, results, total, size)
