"""MessageBird: the classic REST API as its reference and the SDKs' fixtures show it.

https://developers.messagebird.com/api/sms-messaging
"""

import json
import re
import secrets
from datetime import UTC, datetime

import aiohttp.web

_credential = re.compile(r"AccessKey [0-9A-Za-z_-]{8,}").fullmatch
_number = re.compile(r"\+?\d{7,17}").fullmatch
_one = re.compile(r"/messages/([0-9a-f]{32})").fullmatch


def _errors(status: int, *errors: tuple[int, str, str | None]) -> aiohttp.web.Response:
    listed = [
        {"code": code, "description": description, "parameter": parameter}
        for code, description, parameter in errors
    ]
    return aiohttp.web.json_response({"errors": listed}, status=status)


def _message(message_id: str, document: dict, numbers: list[int]) -> dict:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    later = document.get("scheduledDatetime")
    items = [
        {
            "recipient": number,
            "status": "scheduled" if later else "sent",
            "statusDatetime": now,
            "messagePartCount": 1,
        }
        for number in numbers
    ]
    return {
        "id": message_id,
        "href": f"https://rest.messagebird.com/messages/{message_id}",
        "direction": "mt",
        "type": document.get("type", "sms"),
        "originator": document.get("originator"),
        "body": document.get("body"),
        "reference": document.get("reference"),
        "validity": document.get("validity"),
        "gateway": 10,
        "typeDetails": {},
        "datacoding": "plain",
        "mclass": 1,
        "scheduledDatetime": later,
        "createdDatetime": now,
        "recipients": {
            "totalCount": len(items),
            "totalSentCount": 0 if later else len(items),
            "totalDeliveredCount": 0,
            "totalDeliveryFailedCount": 0,
            "items": items,
        },
    }


def _send(body: bytes) -> aiohttp.web.Response:
    try:
        document = json.loads(body)
        listed = document.get("recipients") or []
    except (ValueError, AttributeError):
        return _errors(422, (21, "JSON is not a valid format", None))
    each = listed if isinstance(listed, list) else str(listed).split(",")
    numbers = [int(str(one)) for one in each if _number(str(one))]
    errors: list[tuple[int, str, str | None]] = []
    if not numbers and not document.get("groupIds"):
        errors.append((9, "no (correct) recipients found", "recipients"))
    if not document.get("originator"):
        errors.append((9, "originator is required", "originator"))
    if not document.get("body"):
        errors.append((9, "body is required", "body"))
    if len(each) > 50:
        errors.append((10, "recipients is invalid", "recipients"))
    if errors:
        return _errors(422, *errors)
    message = _message(secrets.token_hex(16), document, numbers)
    return aiohttp.web.json_response(message, status=201)


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What MessageBird answers at rest.messagebird.com."""
    if not _credential(request.headers.get("Authorization", "")):
        return _errors(401, (2, "Request not allowed (incorrect access_key)", "access_key"))
    sample = {"originator": "MessageBird", "body": "Hi!"}
    if request.path == "/messages" and request.method == "POST":
        return _send(body)
    if request.path == "/messages" and request.method == "GET":
        page = {"offset": 0, "limit": 20, "count": 0, "totalCount": 0, "links": {}, "items": []}
        return aiohttp.web.json_response(page)
    if request.path == "/balance" and request.method == "GET":
        balance = {"payment": "prepaid", "type": "euros", "amount": 9.2}
        return aiohttp.web.json_response(balance)
    if (match := _one(request.path)) and request.method == "GET":
        return aiohttp.web.json_response(_message(match[1], sample, [31612345678]))
    if _one(request.path) and request.method == "DELETE":
        return aiohttp.web.Response(status=204)
    return _errors(404, (20, "resource not found", None))
