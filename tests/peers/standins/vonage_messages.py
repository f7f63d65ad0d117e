"""Vonage Messages, version 1: as the vendor's OpenAPI document describes it.

https://developer.vonage.com/en/api/messages
"""

import json
import re
import uuid

import aiohttp.web

_ERRORS = "https://developer.vonage.com/api-errors"
_credential = re.compile(
    r"(Basic [0-9A-Za-z+/]+=*|Bearer [\w-]+\.[\w-]+\.[\w-]+)", re.ASCII
).fullmatch
_number = re.compile(r"\d{7,15}").fullmatch
_message = re.compile(r"/v1/messages/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").fullmatch


def _error(
    status: int, kind: str, title: str, detail: str, parameter: str = ""
) -> aiohttp.web.Response:
    document = {
        "type": f"{_ERRORS}{kind}",
        "title": title,
        "detail": detail,
        "instance": uuid.uuid4().hex,
    }
    if parameter:
        document["invalid_parameters"] = [{"name": parameter, "reason": detail}]
    kind = "application/json" if status == 422 else "application/problem+json"
    return aiohttp.web.Response(status=status, text=json.dumps(document), content_type=kind)


def _invalid(parameter: str) -> aiohttp.web.Response:
    detail = f"The value of one or more parameters is invalid: {parameter}"
    return _error(422, "/messages#1120", "Invalid params", detail, parameter)


def _wrong(message: object) -> aiohttp.web.Response | None:
    if not isinstance(message, dict):
        return _invalid("failover")
    for name in ("channel", "message_type", "to", "from"):
        if not isinstance(message.get(name), str) or not message[name]:
            return _invalid(name)
    if message["channel"] == "sms":
        if message["message_type"] != "text":
            return _invalid("message_type")
        if not message.get("text"):
            return _invalid("text")
        if not _number(message["to"]):
            return _invalid("to")
    return None


def _send(body: bytes) -> aiohttp.web.Response:
    try:
        document = json.loads(body)
    except ValueError:
        return _error(422, "#invalid-json", "Bad Request", "The request body did not contain JSON")
    if not isinstance(document, dict):
        return _invalid("channel")
    others = document.get("failover", [])
    if not isinstance(others, list):
        return _invalid("failover")
    for one in (document, *others):
        if wrong := _wrong(one):
            return wrong
    answer = {"message_uuid": str(uuid.uuid4())}
    if others:
        answer["workflow_id"] = f"3{uuid.uuid4().hex}"
    return aiohttp.web.json_response(answer, status=202)


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What Vonage answers at api.nexmo.com."""
    if request.path != "/v1/messages" and not _message(request.path):
        return _error(404, "#not-found", "Not Found", "There is nothing here")
    if not _credential(request.headers.get("Authorization", "")):
        title = "You did not provide correct credentials."
        return _error(401, "#unauthorized", title, "Check that you're using correct credentials")
    if request.path == "/v1/messages" and request.method == "POST":
        if request.content_type != "application/json":
            return _error(415, "#unsupported", "Unsupported Media Type", "Send application/json")
        return _send(body)
    if request.method == "PATCH":
        return aiohttp.web.Response(status=202)
    return _error(405, "#method-not-allowed", "Method Not Allowed", "Use another method")
