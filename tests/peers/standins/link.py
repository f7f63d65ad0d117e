"""LINK Mobility's Common platform, as its guide "SMS REST API, MT and Delivery Reports" has it.

https://www.linkmobility.com/developer/
"""

import base64
import json
import re
import secrets

import aiohttp.web

_msisdn = re.compile(r"\+[1-9]\d{6,14}").fullmatch
_SHARED = set(
    re.findall(
        r"\w+",
        "useDeliveryReport deliveryReportGates relativeValidityTime absoluteValidityTime"
        " platformId platformPartnerId ignoreResponse customParameters",
    )
)
_MESSAGE = _SHARED | set(
    re.findall(
        r"\w+",
        "source sourceTON destination destinationTON dcs userDataHeader userData priority refId"
        " tariff currency vat age productDescription productCategory moReferenceId",
    )
)


def _authorised(request: aiohttp.web.Request) -> bool:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return bool(value.strip())
    try:
        name, colon, password = base64.b64decode(value, validate=True).decode().partition(":")
    except ValueError:
        return False
    return scheme.lower() == "basic" and bool(name and colon and password)


def _error(status: int, code: int, description: str) -> aiohttp.web.Response:
    body = {"resultCode": code, "description": description}
    return aiohttp.web.json_response(body, status=status)


def _wrong(message: object) -> tuple[int, str] | None:
    if not isinstance(message, dict) or message.keys() - _MESSAGE:
        return 4001, "Invalid message content"
    if not isinstance(message.get("source"), str) or not message["source"]:
        return 2000, "Invalid source"
    to = message.get("destination")
    if not isinstance(to, str) or not _msisdn(to):
        return 2106, "Number error"
    if not isinstance(message.get("userData"), str):
        return 4003, "Invalid user data"
    return None


def _queued() -> dict:
    message_id = f"D{secrets.token_urlsafe(16)}"
    return {"messageId": message_id, "resultCode": 1005, "description": "Queued"}


def _result(message: object) -> dict:
    if wrong := _wrong(message):
        return {"messageId": "", "resultCode": wrong[0], "description": wrong[1]}
    return _queued()


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What LINK answers."""
    if not _authorised(request):
        return _error(401, 106100, "Invalid authentication")
    if request.method != "POST":
        return _error(405, 106000, "Method not allowed")
    if request.path == "/auth/token":
        token = {"access_token": secrets.token_urlsafe(), "token_type": "bearer"}
        return aiohttp.web.json_response({**token, "expires_in": 3600})
    if request.path not in ("/sms/send", "/sms/sendbatch"):
        return _error(404, 106000, "Not found")
    if request.content_type != "application/json":
        return _error(415, 106000, "JSON is expected")
    try:
        document = json.loads(body)
    except ValueError:
        return _error(400, 106000, "The body is not JSON")
    if not isinstance(document, dict):
        return _error(400, 106000, "An object is expected")
    for name, code in (("platformId", 106200), ("platformPartnerId", 106201)):
        if not document.get(name):
            return _error(400, code, f"Invalid or missing {name}")
    if request.path == "/sms/send":
        if wrong := _wrong(document):
            return _error(400, *wrong)
        answers: object = _queued()
    else:
        messages = document.get("sendRequestMessages")
        if not isinstance(messages, list) or not 1 <= len(messages) <= 1000:
            return _error(400, 106000, "1 to 1000 messages are expected")
        answers = [_result(message) for message in messages]
    if document.get("ignoreResponse") is True:
        return aiohttp.web.Response(status=204)
    return aiohttp.web.json_response(answers)
