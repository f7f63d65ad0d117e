"""Twilio's ``/v1/Consents/Bulk``, as its page and its OpenAPI document describe it.

https://www.twilio.com/docs/messaging/features/consent-api, /docs/api/errors/30646
"""

import base64
import json
import re
from typing import Any

import aiohttp.web

_e164 = re.compile(r"\+[1-9]\d{6,14}").fullmatch
_sender = re.compile(r"MG[0-9a-f]{32}|\+[1-9]\d{6,14}").fullmatch
_hex = re.compile(r"[0-9a-f]{32}").fullmatch
ACCOUNT = "AC" + "0" * 32
SERVICE = "MG" + "1" * 32


class TwilioConsents:
    """``consents`` are (sender, number) to their status."""

    def __init__(self, token: str = "t0ken") -> None:
        self.credential = "Basic " + base64.b64encode(f"{ACCOUNT}:{token}".encode()).decode()
        self.consents: dict[tuple[str, str], str] = {}
        self.items: list[dict[str, Any]] = []
        self.busy = 0
        """How many requests more are put off with 429."""
        self.failing: set[str] = set()
        """Numbers at which it fails by itself."""
        self.app = aiohttp.web.Application()
        self.app.router.add_post("/v1/Consents/Bulk", self._bulk)

    async def _bulk(self, request: aiohttp.web.Request) -> aiohttp.web.Response:
        if request.headers.get("Authorization") != self.credential:
            return _error(401, 20003, "Authenticate")
        if self.busy:
            self.busy -= 1
            return aiohttp.web.Response(status=429, headers={"Retry-After": "0"})
        assert request.content_type == "application/x-www-form-urlencoded"
        form = await request.post()
        items = [json.loads(str(one)) for one in form.getall("Items", [])]
        if not 0 < len(items) <= 25:
            return _error(400, 20001, "Items must be 1 to 25")
        self.items += items
        told = [{"correlation_id": item["correlation_id"]} | self._one(item) for item in items]
        return aiohttp.web.json_response({"items": told}, status=201)

    def _one(self, item: dict[str, Any]) -> dict[str, Any]:
        wrong = []
        if not _hex(item["correlation_id"]):
            wrong.append("INVALID_CORRELATION_ID")
        if not _sender(item["sender_id"]):
            wrong.append("INVALID_SENDER_ID")
        if not _e164(item["contact_id"]):
            wrong.append("INVALID_CONTACT_ID")
        if item["status"] not in ("opt-in", "opt-out"):
            wrong.append("INVALID_STATUS")
        sources = ("website", "offline", "opt-in-message", "opt-out-message", "others")
        if item["source"] not in sources:
            wrong.append("INVALID_SOURCE")
        if item["contact_id"] in self.failing:
            wrong.append("INTERNAL_SERVER_ERROR")
        if wrong:
            texts = [f"{one}: {item['contact_id']}" for one in wrong]
            return {"error_code": 30646, "error_messages": texts}
        self.consents[item["sender_id"], item["contact_id"]] = item["status"]
        return {"error_code": 0, "error_messages": []}


def _error(status: int, code: int, message: str) -> aiohttp.web.Response:
    document = {"code": code, "message": message, "status": status}
    return aiohttp.web.json_response(document, status=status)
