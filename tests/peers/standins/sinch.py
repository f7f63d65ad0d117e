"""Sinch SMS: the batches of the XMS API as its OpenAPI description has them.

https://developers.sinch.com/docs/sms/api-reference/sms/batches
"""

import json
import re
import secrets
from datetime import UTC, datetime

import aiohttp.web

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_number = re.compile(r"\+?[0-9][0-9 ()-]{5,24}").fullmatch
_group = re.compile(r"[0-9A-Za-z]{16,26}").fullmatch
_plan = re.compile(r"/xms/v1/([0-9A-Za-z_-]+)(/.*)").fullmatch
_DOCUMENTED = set(
    re.findall(
        r"\w+",
        "to from body type parameters udh campaign_id tags delivery_report send_at expire_at"
        " callback_url client_reference feedback_enabled flash_message truncate_concat"
        " max_number_of_message_parts from_ton from_npi strict_validation",
    )
)


def _ulid() -> str:
    return "01" + "".join(secrets.choice(_ALPHABET) for _ in range(24))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _error(status: int, code: str, text: str) -> aiohttp.web.Response:
    return aiohttp.web.json_response({"code": code, "text": text}, status=status)


def _wrong(document: object) -> tuple[str, str] | None:
    if not isinstance(document, dict):
        return "syntax_invalid_json", "an object is expected"
    unknown = sorted(document.keys() - _DOCUMENTED)
    if unknown:
        return "syntax_constraint_violation", f"unknown field {unknown[0]}"
    to = document.get("to")
    if not isinstance(to, list) or not 1 <= len(to) <= 1000:
        return "syntax_constraint_violation", "'to' must have 1 to 1000 elements"
    if not all(isinstance(one, str) and (_number(one) or _group(one)) for one in to):
        return "syntax_invalid_parameter_format", "'to' must contain MSISDNs or group IDs"
    if document.get("type", "mt_text") not in ("mt_text", "mt_binary", "mt_media"):
        return "syntax_constraint_violation", "unknown type"
    media = document.get("type") == "mt_media"
    if not isinstance(document.get("body"), dict if media else str):
        return "syntax_constraint_violation", "'body' is missing"
    return None


def _batch(document: dict) -> dict:
    now = _now()
    defaults = {
        "canceled": False,
        "type": "mt_text",
        "delivery_report": "none",
        "feedback_enabled": False,
        "flash_message": False,
    }
    return {
        "id": _ulid(),
        **defaults,
        **document,
        "to": ["".join(re.findall(r"\w", one)) for one in document["to"]],
        "created_at": now,
        "modified_at": now,
    }


_EXAMPLE = {"to": ["46700000001"], "from": "Acme", "body": "Hello"}


async def answer(request: aiohttp.web.Request, body: bytes) -> aiohttp.web.Response:
    """What Sinch answers."""
    if not re.fullmatch(r"Bearer [\w.~+/=-]+", request.headers.get("Authorization", "")):
        return aiohttp.web.Response(status=401)
    found = _plan(request.path)
    if not found:
        return aiohttp.web.Response(status=404)
    place = found[2]
    if request.method == "GET":
        return _read(place)
    one = re.fullmatch(r"/batches/([0-9A-Za-z]{10,})(/delivery_feedback)?", place)
    if request.method == "DELETE" and one and not one[2]:
        return aiohttp.web.json_response(_batch(_EXAMPLE) | {"id": one[1], "canceled": True})
    if request.content_type != "application/json":
        return _error(415, "unsupported_media_type", "application/json is expected")
    try:
        document = json.loads(body)
    except ValueError:
        return _error(400, "syntax_invalid_json", "the body is not JSON")
    if (request.method, place) == ("POST", "/batches"):
        if wrong := _wrong(document):
            return _error(400, *wrong)
        return aiohttp.web.json_response(_batch(document), status=201)
    if (request.method, place) == ("POST", "/batches/dry_run"):
        if wrong := _wrong(document):
            return _error(400, *wrong)
        count = len(document["to"])
        return aiohttp.web.json_response(
            {"number_of_recipients": count, "number_of_messages": count}
        )
    if request.method == "POST" and one and one[2]:
        return aiohttp.web.Response(status=202)
    if request.method == "POST" and one:
        changed = {name: value for name, value in document.items() if name in _DOCUMENTED}
        to = [*_EXAMPLE["to"], *document.get("to_add", [])]
        return aiohttp.web.json_response(_batch({**_EXAMPLE, **changed, "to": to}))
    if request.method == "PUT" and one:
        return aiohttp.web.json_response(_batch({**_EXAMPLE, **document}))
    return aiohttp.web.Response(status=404)


def _read(place: str) -> aiohttp.web.Response:
    paged = {"count": 1, "page": 0, "page_size": 30}
    if place == "/batches":
        return aiohttp.web.json_response({**paged, "batches": [_batch(_EXAMPLE)]})
    if found := re.fullmatch(r"/batches/([0-9A-Za-z]{10,})", place):
        return aiohttp.web.json_response(_batch(_EXAMPLE) | {"id": found[1]})
    if found := re.fullmatch(r"/batches/([0-9A-Za-z]{10,})/delivery_report", place):
        status = {"code": 0, "status": "Delivered", "count": 1}
        return aiohttp.web.json_response(
            {
                "type": "delivery_report_sms",
                "batch_id": found[1],
                "total_message_count": 1,
                "statuses": [status],
            }
        )
    if place == "/delivery_reports":
        return aiohttp.web.json_response({**paged, "count": 0, "delivery_reports": []})
    if place == "/inbounds":
        return aiohttp.web.json_response({**paged, "count": 0, "inbounds": []})
    if place == "/groups":
        return aiohttp.web.json_response({**paged, "count": 0, "groups": []})
    return aiohttp.web.Response(status=404)
