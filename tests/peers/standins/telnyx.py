"""Telnyx Messaging v2 as its OpenAPI description and its list of errors have it.

https://developers.telnyx.com/api/messaging/send-message
"""

import json
import re
import uuid
from datetime import UTC, datetime

import aiohttp.web

_e164 = re.compile(r"\+[1-9]\d{6,14}").fullmatch
_short_code = re.compile(r"\d{4,8}").fullmatch
_DOCUMENTED = set(
    re.findall(
        r"\w+",
        "to from messaging_profile_id text subject media_urls type encoding auto_detect send_at"
        " webhook_url webhook_failover_url use_profile_webhooks",
    )
)
_UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_OTHERS = ("group_mms", "long_code", "number_pool", "short_code", "alphanumeric_sender_id")


def _error(
    status: int, code: str, title: str, detail: str, pointer: str = ""
) -> aiohttp.web.Response:
    error: dict = {"code": code, "title": title, "detail": detail}
    if pointer:
        error["source"] = {"pointer": pointer}
    return aiohttp.web.json_response({"errors": [error]}, status=status)


def _message(document: dict) -> dict:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    to = document["to"]
    return {
        "record_type": "message",
        "direction": "outbound",
        "id": str(uuid.uuid4()),
        "type": document.get("type", "SMS"),
        "organization_id": str(uuid.uuid4()),
        "messaging_profile_id": document.get("messaging_profile_id", str(uuid.uuid4())),
        "from": {"phone_number": document.get("from"), "carrier": "", "line_type": ""},
        "to": [
            {
                "phone_number": one,
                "status": "scheduled" if document.get("send_at") else "queued",
                "carrier": "",
                "line_type": "",
            }
            for one in (to if isinstance(to, list) else [to])
        ],
        "cc": [],
        "text": document.get("text"),
        "media": [],
        "webhook_url": document.get("webhook_url"),
        "webhook_failover_url": document.get("webhook_failover_url"),
        "encoding": "GSM-7",
        "parts": 1,
        "tags": [],
        "cost": {"amount": "0.0040", "currency": "USD"},
        "received_at": now,
        "sent_at": None,
        "completed_at": None,
        "valid_until": now,
        "errors": [],
    }


def _wrong(document: object) -> aiohttp.web.Response | None:
    if not isinstance(document, dict):
        return _error(400, "10015", "Bad Request", "The body must be an object")
    unknown = sorted(document.keys() - _DOCUMENTED)
    if unknown:
        return _error(422, "10015", "Bad Request", "Unknown parameter", f"/{unknown[0]}")
    to = document.get("to")
    if not to:
        return _error(422, "10004", "Missing required parameter", "'to' is missing", "/to")
    if not isinstance(to, str) or not (_e164(to) or _short_code(to)):
        detail = "The specified phone number parameter must be in +E.164 format."
        return _error(400, "10016", "Phone number must be in +E.164 format", detail, "/to")
    if not document.get("from") and not document.get("messaging_profile_id"):
        return _error(422, "10004", "Missing required parameter", "'from' is missing", "/from")
    if not document.get("text") and not document.get("media_urls"):
        return _error(422, "10004", "Missing required parameter", "'text' is missing", "/text")
    return None


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What Telnyx answers."""
    if not re.fullmatch(r"Bearer [\w-]+", request.headers.get("Authorization", "")):
        detail = "The required authentication headers were either invalid or not included."
        return _error(401, "10009", "Authentication failed", detail)
    asked = (request.method, request.path)
    one = re.fullmatch(rf"/v2/messages/({_UUID})", request.path)
    if request.method in ("GET", "DELETE") and one:
        example = {"to": "+46700000001", "from": "Acme", "text": "Hello"}
        data = _message(example) | {"id": one[1]}
        return aiohttp.web.json_response({"data": data} if request.method == "GET" else data)
    if asked == ("GET", "/v2/messaging_optouts"):
        meta = {"page_number": 1, "page_size": 20, "total_pages": 0, "total_results": 0}
        return aiohttp.web.json_response({"data": [], "meta": meta})
    if asked == ("GET", "/v2/balance"):
        data = {"record_type": "balance", "balance": "300.00", "currency": "USD"}
        return aiohttp.web.json_response({"data": data})
    others = [f"/v2/messages/{name}" for name in _OTHERS]
    if request.method != "POST" or request.path not in ("/v2/messages", *others):
        detail = "The requested resource or URL could not be found."
        return _error(404, "10005", "Resource not found", detail)
    if request.content_type != "application/json":
        return _error(415, "10014", "Unsupported Media Type", "JSON is expected")
    try:
        document = json.loads(body)
    except ValueError:
        return _error(400, "10015", "Bad Request", "The request was not well-formed JSON")
    if request.path == "/v2/messages" and (wrong := _wrong(document)):
        return wrong
    return aiohttp.web.json_response({"data": _message(document)})
