"""An operator of one's own, as docs/sms-providers.md describes it."""

import json
import re
import uuid

import aiohttp.web

_number = re.compile(r"[1-9]\d{7,14}").fullmatch


def _error(status: int, code: str, message: str) -> aiohttp.web.Response:
    body = {"error": {"code": code, "message": message}}
    return aiohttp.web.json_response(body, status=status)


def _wrong(document: object) -> str:
    """What is wrong with a request to send; empty: nothing."""
    if not isinstance(document, dict) or not isinstance(document.get("from"), str):
        return "from is missing"
    if document.keys() - {"from", "validity", "send_at", "messages"}:
        return "unknown member"
    messages = document.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages is missing"
    for message in messages:
        if not isinstance(message, dict) or message.keys() - {"to", "text", "reference"}:
            return "unknown member of a message"
        if not isinstance(message.get("text"), str):
            return "text is missing"
        to = message.get("to")
        if not isinstance(to, list) or not to:
            return "to is missing"
        if not all(isinstance(one, str) and _number(one) for one in to):
            return "a recipient is no number"
    return ""


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What the operator answers."""
    if not re.fullmatch(r"[\w-]{8,}", request.headers.get("X-Api-Key", "")):
        return _error(401, "unauthorised", "the key is missing")
    if (request.method, request.path) == ("GET", "/v2/balance"):
        return aiohttp.web.json_response({"balance": "12.50", "currency": "EUR"})
    if (request.method, request.path) != ("POST", "/v2/messages"):
        return _error(404, "unknown_path", "there is nothing here")
    if request.content_type != "application/json":
        return _error(415, "wrong_type", "JSON is asked for")
    try:
        document = json.loads(body)
    except ValueError:
        return _error(400, "malformed", "the body is not JSON")
    if wrong := _wrong(document):
        return _error(422, "malformed", wrong)
    return aiohttp.web.json_response({"id": str(uuid.uuid4()), "status": "queued"}, status=202)
