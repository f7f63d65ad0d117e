"""GatewayAPI: ``/rest/mtsms`` as its documentation has it.

https://gatewayapi.com/docs/apis/rest/ and its index of errors
"""

import base64
import json
import re
import uuid
from collections import Counter
from urllib.parse import parse_qsl

import aiohttp.web

_msisdn = re.compile(r"(?:\+|00)?[1-9]\d{6,14}").fullmatch
_MESSAGE = set(
    re.findall(
        r"\w+",
        "class message sender sendtime tags userref priority validity_period encoding destaddr"
        " payload udh callback_url label max_parts extra_details recipients",
    )
)
_next_id = iter(range(421_332_671, 1 << 53))


def _error(status: int, code: str, message: str, *variables: str) -> aiohttp.web.Response:
    document: dict = {"incident_uuid": str(uuid.uuid4()), "message": message}
    if code:
        document["code"] = code
    if variables:
        document["variables"] = list(variables)
    return aiohttp.web.json_response(document, status=status)


def _authorised(request: aiohttp.web.Request, fields: dict[str, str]) -> bool:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            name, colon, _ = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:
            return False
        return bool(name and colon)
    if scheme.lower() == "token":
        return bool(value.strip())
    if scheme.lower() == "oauth":
        # Signed for another host than the provider's own, it is not valid.
        return request.host == "gatewayapi.com" and "oauth_signature=" in value
    shown = dict(request.query) | fields
    return bool(shown.get("token") or (shown.get("user") and shown.get("password")))


def _unflattened(pairs: list[tuple[str, str]]) -> dict:
    """The document that a form's dotted names describe."""
    message: dict = {}
    recipients: dict[int, dict] = {}
    tags: dict[int, str] = {}
    for name, value in pairs:
        if found := re.fullmatch(r"recipients\.(\d+)\.(\w+)(?:\.(\w+))?", name):
            recipient = recipients.setdefault(int(found[1]), {})
            if found[2] == "msisdn":
                recipient["msisdn"] = value
            elif found[2] == "tagvalues":
                recipient.setdefault("tagvalues", []).append(value)
            else:
                recipient.setdefault(found[2], {})[found[3]] = value
        elif found := re.fullmatch(r"tags\.(\d+)", name):
            tags[int(found[1])] = value
        elif name not in ("token", "user", "password"):
            message[name] = value
    message["recipients"] = [one for _, one in sorted(recipients.items())]
    if tags:
        message["tags"] = [one for _, one in sorted(tags.items())]
    return message


def _wrong(message: object) -> aiohttp.web.Response | None:
    if not isinstance(message, dict):
        return _error(422, "", "Invalid json request body")
    unknown = sorted(message.keys() - _MESSAGE)
    if unknown:
        return _error(400, "0x0220", "Unsupported parameter %1", unknown[0])
    if not message.get("message") and not message.get("payload"):
        return _error(400, "0x0222", "Missing required parameter %1", "message")
    recipients = message.get("recipients")
    if not isinstance(recipients, list) or not recipients:
        return _error(400, "0x0222", "Missing required parameter %1", "recipients")
    numbers = [str(one.get("msisdn", "")) if isinstance(one, dict) else "" for one in recipients]
    if not all(map(_msisdn, numbers)):
        return _error(400, "0x0308", "Invalid argument")
    twice = [number for number, count in Counter(numbers).items() if count > 1]
    if twice:
        text = "A message contains the same recipient more than once. MSISDNs %1 is duplicated"
        return _error(400, "0x0310", text, ",".join(twice))
    if "tags" in message and any(
        len(one.get("tagvalues", ())) != len(message["tags"]) for one in recipients
    ):
        return _error(400, "0x0308", "Tags and tagvalues do not match")
    return None


def _sent(messages: list) -> aiohttp.web.Response:
    for message in messages:
        if wrong := _wrong(message):
            return wrong
    count = sum(len(message["recipients"]) for message in messages)
    usage = {"countries": {"DK": count}, "currency": "DKK", "total_cost": round(0.12 * count, 2)}
    ids = [next(_next_id) for _ in messages]
    return aiohttp.web.json_response({"ids": ids, "usage": usage})


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What GatewayAPI answers."""
    form = request.content_type == "application/x-www-form-urlencoded"
    pairs = parse_qsl(body.decode(), keep_blank_values=True) if form else []
    if not _authorised(request, dict(pairs)):
        return _error(401, "0x0213", "Unauthorized")
    if request.path == "/rest/me" and request.method == "GET":
        return aiohttp.web.json_response({"credit": 1234.56, "currency": "DKK", "id": 1})
    if request.path == "/rest/mosms" and request.method == "GET":
        document = {"messages": [], "page": 1, "pages": 1, "per_page": 50, "results": 0}
        return aiohttp.web.json_response(document)
    if re.fullmatch(r"/rest/mtsms/\d+", request.path):
        if request.method == "DELETE":
            return aiohttp.web.Response(status=204)
        return _error(404, "", "SMS is not found, or is not yet transferred to datastore.")
    if request.path != "/rest/mtsms" or request.method not in ("GET", "POST"):
        return _error(404, "", "Not found")
    query = list(request.query.items())
    if request.method == "GET" or form:
        return _sent([_unflattened([*query, *pairs])])
    try:
        document = json.loads(body)
    except ValueError:
        return _error(422, "", "Invalid json request body")
    return _sent(document if isinstance(document, list) else [document])
