"""Twilio: the message resource as its API reference describes it.

https://www.twilio.com/docs/messaging/api/message-resource
"""

import base64
import binascii
import re
import secrets
from datetime import UTC, datetime
from email.utils import format_datetime
from urllib.parse import parse_qs

import aiohttp.web

_path = re.compile(
    r"/2010-04-01/Accounts/(AC[0-9a-f]{32})(\.json|/Messages\.json|/Messages/([SM]M[0-9a-f]{32})\.json)"
).fullmatch
_e164 = re.compile(r"\+[1-9]\d{1,14}").fullmatch
_short_code = re.compile(r"\d{3,8}").fullmatch


def _error(status: int, code: int, message: str) -> aiohttp.web.Response:
    return aiohttp.web.json_response(
        {
            "code": code,
            "message": message,
            "more_info": f"https://www.twilio.com/docs/errors/{code}",
            "status": status,
        },
        status=status,
    )


def _wrong_credential(request: aiohttp.web.Request) -> aiohttp.web.Response | None:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    try:
        name, _, secret = base64.b64decode(value, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        name = secret = ""
    if scheme != "Basic" or not secret or not re.fullmatch(r"(AC|SK)[0-9a-f]{32}", name):
        return _error(401, 20003, "Authenticate")
    return None


def _resource(account: str, sid: str, fields: dict[str, str]) -> dict[str, object]:
    now = format_datetime(datetime.now(UTC))
    uri = f"/2010-04-01/Accounts/{account}/Messages/{sid}"
    service = fields.get("MessagingServiceSid")
    return {
        "account_sid": account,
        "api_version": "2010-04-01",
        "body": fields.get("Body", ""),
        "date_created": now,
        "date_sent": None,
        "date_updated": now,
        "direction": "outbound-api",
        "error_code": None,
        "error_message": None,
        "from": fields.get("From"),
        "messaging_service_sid": service,
        "num_media": "0",
        "num_segments": "0" if service else "1",
        "price": None,
        "price_unit": None,
        "sid": sid,
        "status": "accepted" if service else "queued",
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "tags": None,
        "to": fields["To"],
        "uri": f"{uri}.json",
    }


def _send(account: str, body: bytes) -> aiohttp.web.Response:
    fields = {name: values[-1] for name, values in parse_qs(body.decode()).items()}
    to = fields.get("To", "")
    if not to:
        return _error(400, 21604, "A 'To' phone number is required.")
    if not (_e164(to) or _short_code(to)):
        return _error(400, 21211, f"The 'To' number {to} is not a valid phone number.")
    if not fields.get("From") and not fields.get("MessagingServiceSid"):
        return _error(400, 21603, "A 'From' phone number is required.")
    if not any(fields.get(name) for name in ("Body", "MediaUrl", "ContentSid")):
        return _error(400, 21602, "Message body is required.")
    sid = f"SM{secrets.token_hex(16)}"
    return aiohttp.web.json_response(_resource(account, sid, fields), status=201)


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What Twilio answers."""
    match = _path(request.path)
    if match is None:
        return _error(404, 20404, f"The requested resource {request.path} was not found")
    if wrong := _wrong_credential(request):
        return wrong
    account, what, sid = match.groups()
    if what == "/Messages.json" and request.method == "POST":
        return _send(account, body)
    sample = {"To": "+15558675310", "From": "+15017122661", "Body": "Hi there"}
    if request.method == "DELETE" and sid:
        return aiohttp.web.Response(status=204)
    if sid:
        return aiohttp.web.json_response(_resource(account, sid, sample))
    if request.method != "GET":
        return _error(405, 20004, "Method not allowed")
    if what == ".json":
        return aiohttp.web.json_response({"sid": account, "status": "active", "type": "Full"})
    return aiohttp.web.json_response(
        {
            "end": 0,
            "first_page_uri": f"{request.path}?PageSize=50&Page=0",
            "messages": [_resource(account, f"SM{secrets.token_hex(16)}", sample)],
            "next_page_uri": None,
            "page": 0,
            "page_size": 50,
            "previous_page_uri": None,
            "start": 0,
            "uri": f"{request.path}?PageSize=50&Page=0",
        }
    )
