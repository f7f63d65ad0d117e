"""Plivo: the Message API as its reference and the SDKs' fixtures show it.

https://www.plivo.com/docs/messaging/api/message/send-a-message and .../bulk-messaging
"""

import base64
import binascii
import json
import re
import uuid

import aiohttp.web

_path = re.compile(
    r"/v1/Account/((?:MA|SA)[A-Z0-9]{18})/(?:(Message)/(?:([0-9a-f-]{36})/(Media/)?)?)?"
).fullmatch
_number = re.compile(r"[1-9]\d{4,13}").fullmatch


def _error(status: int, text: str) -> aiohttp.web.Response:
    return aiohttp.web.json_response({"api_id": str(uuid.uuid4()), "error": text}, status=status)


def _authorized(request: aiohttp.web.Request, account: str) -> bool:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    try:
        name, _, token = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return False
    return scheme == "Basic" and name == account and bool(token)


def _send(body: bytes) -> aiohttp.web.Response:
    try:
        document = json.loads(body)
        given = str(document["dst"]).split("<")
    except (ValueError, KeyError, TypeError):
        return _error(400, "dst parameter not present")
    if bool(document.get("src")) == bool(document.get("powerpack_uuid")):
        return _error(400, "either src or powerpack_uuid is required")
    if not document.get("text") and not document.get("media_urls"):
        return _error(400, "text parameter not present")
    valid, invalid = [], []
    for one in given:
        number = re.sub(r"[/.+()\s-]", "", one)
        if not _number(number):
            invalid.append(one)
        elif number not in valid:
            valid.append(number)
    if len(valid) > 1000:
        return _error(400, "more than 1000 destination numbers")
    if not valid:
        return _error(400, f"{','.join(invalid)} is not a valid phone number")
    answer = {
        "api_id": str(uuid.uuid4()),
        "message": "message(s) queued",
        "message_uuid": [str(uuid.uuid4()) for _ in valid],
    }
    if invalid:
        answer["invalid_number"] = invalid
    return aiohttp.web.json_response(answer, status=202)


def _resource(account: str, message_uuid: str) -> dict:
    return {
        "error_code": None,
        "from_number": "14156667777",
        "message_direction": "outbound",
        "message_state": "sent",
        "message_time": "2026-05-22 21:36:14+05:30",
        "message_type": "sms",
        "message_uuid": message_uuid,
        "resource_uri": f"/v1/Account/{account}/Message/{message_uuid}/",
        "to_number": "14157778888",
        "total_amount": "0.00250",
        "total_rate": "0.00250",
        "units": 1,
    }


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What Plivo answers."""
    match = _path(request.path)
    if match is None:
        return _error(404, "not found")
    account, messages, message_uuid, media = match.groups()
    if not _authorized(request, account):
        return aiohttp.web.Response(
            status=401, text="Could not verify your access level for that URL."
        )
    if messages and not message_uuid and request.method == "POST":
        if request.content_type != "application/json":
            return _error(415, "Content-Type must be application/json")
        return _send(body)
    if request.method != "GET":
        return _error(405, "method not allowed")
    api_id = str(uuid.uuid4())
    if media:
        return aiohttp.web.json_response({"api_id": api_id, "objects": []})
    if message_uuid:
        resource = _resource(account, message_uuid)
        return aiohttp.web.json_response({"api_id": api_id, **resource})
    if not messages:
        return aiohttp.web.json_response({"api_id": api_id, "auth_id": account, "state": "active"})
    meta = {"limit": 20, "next": None, "offset": 0, "previous": None, "total_count": 1}
    listed = [_resource(account, str(uuid.uuid4()))]
    return aiohttp.web.json_response({"api_id": api_id, "meta": meta, "objects": listed})
