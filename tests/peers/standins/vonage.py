"""Vonage SMS: as the vendor's OpenAPI document and its list of errors describe it.

https://developer.vonage.com/en/api/sms

Errors of a send have HTTP status 200.
"""

import base64
import binascii
import json
import re
import uuid
from urllib.parse import parse_qs

import aiohttp.web

_number = re.compile(r"\+?\d{7,15}").fullmatch


def _answer(**item: str) -> aiohttp.web.Response:
    document = {
        "message-count": "1",
        "messages": [{name.replace("_", "-"): value for name, value in item.items()}],
    }
    return aiohttp.web.json_response(document)


def _credential(request: aiohttp.web.Request, fields: dict[str, str]) -> str:
    """What is wrong with the credential: a code of the vendor's; "" for nothing."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Basic":
        try:
            name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "4"
        return "" if name and secret else "4"
    if scheme or not fields.get("api_key"):
        return "4"
    if fields.get("sig"):
        if fields.get("api_secret"):
            return "32"
        hexadecimal = re.fullmatch("([0-9A-Fa-f]{32}|[0-9A-Fa-f]{40,128})", fields["sig"])
        return "" if hexadecimal and fields.get("timestamp") else "14"
    return "" if fields.get("api_secret") else "2"


def _read(request: aiohttp.web.Request, body: bytes) -> dict[str, str]:
    if request.content_type == "application/json":
        return {name: str(value) for name, value in json.loads(body).items()}
    return {name: values[-1] for name, values in parse_qs(body.decode()).items()}


def _send(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    try:
        fields = _read(request, body)
    except (ValueError, AttributeError):
        return _answer(status="2", error_text="Missing api_key")
    if wrong := _credential(request, fields):
        return _answer(status=wrong, error_text="Bad Credentials")
    for name in ("to", "from"):
        if not fields.get(name):
            return _answer(status="2", error_text=f"Missing {name} param")
    if not any(fields.get(name) for name in ("text", "body", "url", "vcard", "vcal")):
        return _answer(status="2", error_text="Missing text param")
    if not _number(fields["to"]):
        return _answer(status="3", error_text="to address is not numeric")
    item = {
        "to": fields["to"].removeprefix("+"),
        "message_id": str(uuid.uuid4()),
        "status": "0",
        "remaining_balance": "15.53590000",
        "message_price": "0.03330000",
        "network": "23410",
    }
    item |= {name: fields[name] for name in ("client-ref", "account-ref") if fields.get(name)}
    return _answer(**item)


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What Vonage answers at rest.nexmo.com."""
    if request.path == "/sms/json" and request.method == "POST":
        return _send(request, body)
    if request.method == "GET" and request.path == "/account/get-balance":
        if _credential(request, dict(request.query)):
            error = {"error-code": "401", "error-code-label": "authentication failed"}
            return aiohttp.web.json_response(error, status=401)
        return aiohttp.web.json_response({"value": 15.5359, "autoReload": False})
    if request.method == "GET" and request.path == "/account/numbers":
        return aiohttp.web.json_response({"count": 0, "numbers": []})
    return aiohttp.web.Response(status=404, text="", content_type="text/html")
