"""Infobip: SMS API versions 2 and 3 as the vendor's OpenAPI documents describe them.

https://www.infobip.com/docs/api/channels/sms
"""

import json
import re
import secrets

import aiohttp.web

_credential = re.compile(
    r"(App [0-9A-Za-z-]{8,}|Basic [0-9A-Za-z+/]+=*|(Bearer|IBSSO) \S+)"
).fullmatch
_number = re.compile(r"\+?\d{3,15}").fullmatch

_PENDING = {
    "description": "Message sent to next instance",
    "groupId": 1,
    "groupName": "PENDING",
    "id": 26,
    "name": "PENDING_ACCEPTED",
}
_REJECTED = {
    "description": "Invalid destination address.",
    "groupId": 5,
    "groupName": "REJECTED",
    "id": 52,
    "name": "REJECTED_DESTINATION",
}


def _error(status: int, name: str, text: str) -> aiohttp.web.Response:
    error = {"serviceException": {"messageId": name, "text": text}}
    return aiohttp.web.json_response({"requestError": error}, status=status)


def _id() -> str:
    return str(secrets.randbelow(10**20)).rjust(20, "2")


def _message_items(message: dict, v3: bool) -> list[dict]:
    if v3 and not isinstance(message["content"], dict):
        raise TypeError
    items = []
    for one in message["destinations"]:
        to = one["to"]
        status = _PENDING if _number(to) else _REJECTED
        item = {"messageId": one.get("messageId") or _id(), "status": status}
        if v3:
            items.append({**item, "destination": to, "details": {"messageCount": 1}})
        else:
            items.append({"to": to, **item})
    return items


def _send(body: bytes, v3: bool) -> aiohttp.web.Response:
    try:
        document = json.loads(body)
        messages = document["messages"]
        items = [item for one in messages for item in _message_items(one, v3)]
    except (ValueError, KeyError, TypeError, AttributeError):
        return _error(400, "BAD_REQUEST", "Bad Request")
    if not items:
        return _error(400, "BAD_REQUEST", "Bad Request")
    schedule = (document.get("options") or {}).get("schedule") or {}
    bulk = (schedule if v3 else document).get("bulkId")
    answer = {"messages": items}
    if bulk or len(items) > 1:
        answer = {"bulkId": bulk or _id(), **answer}
    return aiohttp.web.json_response(answer)


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What Infobip answers."""
    if not _credential(request.headers.get("Authorization", "")):
        return _error(401, "UNAUTHORIZED", "Invalid login details")
    path, method = request.path, request.method
    if path in ("/sms/3/messages", "/sms/2/text/advanced"):
        if method != "POST":
            return _error(405, "METHOD_NOT_ALLOWED", "Method not allowed")
        if request.content_type != "application/json":
            return _error(415, "UNSUPPORTED_MEDIA_TYPE", "Unsupported media type")
        return _send(body, v3=path == "/sms/3/messages")
    if method == "POST" and path == "/sms/1/preview":
        preview = {"textPreview": "", "messageCount": 1, "charactersRemaining": 160}
        return aiohttp.web.json_response({"originalText": "", "previews": [preview]})
    if method == "GET" and re.fullmatch(r"/sms/[123]/(reports|logs|inbox/reports)", path):
        return aiohttp.web.json_response({"results": []})
    if method == "GET" and path == "/account/1/balance":
        return aiohttp.web.json_response({"balance": 47.79134, "currency": "EUR"})
    return _error(404, "NOT_FOUND", "Not Found")
