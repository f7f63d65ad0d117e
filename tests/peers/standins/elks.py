"""46elks: SMS as its documentation has it; errors are plain text.

https://46elks.com/docs/send-sms and /docs/sms-delivery-reports
"""

import base64
import re
import secrets
from datetime import UTC, datetime
from urllib.parse import parse_qs

import aiohttp.web

_e164 = re.compile(r"\+[1-9]\d{6,14}").fullmatch
_sender = re.compile(r"\+[1-9]\d{3,14}|[A-Za-z][A-Za-z0-9]{1,10}").fullmatch


def _authorised(request: aiohttp.web.Request) -> bool:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    try:
        name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return False
    return scheme.lower() == "basic" and bool(name and colon and password)


def _error(status: int, text: str) -> aiohttp.web.Response:
    return aiohttp.web.Response(status=status, text=text)


def _message(fields: dict[str, str], **more: object) -> dict:
    return {
        "status": "created",
        "direction": "outgoing",
        "from": fields["from"],
        "created": datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="microseconds"),
        "parts": 1,
        "to": fields["to"],
        "cost": 3500,
        "message": fields["message"],
        "id": f"s{secrets.token_hex(16)}",
        **more,
    }


_EXAMPLE = {"from": "Acme", "to": "+46700000001", "message": "Hello"}


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What 46elks answers."""
    if not _authorised(request):
        return _error(401, "API access requires Basic HTTP authentication")
    path = request.path.lower()
    if request.method == "GET":
        if path == "/a1/me":
            document = {"id": f"u{secrets.token_hex(16)}", "balance": 1000000, "currency": "SEK"}
            return aiohttp.web.json_response(document)
        if path == "/a1/sms":
            return aiohttp.web.json_response({"data": [_message(_EXAMPLE)]})
        if found := re.fullmatch(r"/a1/sms/(s[0-9a-f]{32})", path):
            return aiohttp.web.json_response(_message(_EXAMPLE, id=found[1]))
    if request.method != "POST" or path not in ("/a1/sms", "/a1/mms", "/a1/calls"):
        return _error(404, "Not found")
    if request.content_type != "application/x-www-form-urlencoded":
        return _error(415, "Expected application/x-www-form-urlencoded")
    fields = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
    for name in ("from", "to", "message"):
        if not fields.get(name):
            return _error(400, f"Missing key {name}")
    if not _e164(fields["to"]):
        return _error(400, "Invalid to number")
    if not _sender(fields["from"]):
        return _error(400, "Invalid from")
    if fields.get("dryrun") == "yes":
        dry = _message(fields, estimated_cost=3500)
        return aiohttp.web.json_response({k: v for k, v in dry.items() if k != "id"})
    return aiohttp.web.json_response(_message(fields))
