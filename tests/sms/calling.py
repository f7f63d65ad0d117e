"""Webhooks of incoming messages as each provider calls them, signed as it signs."""

import base64
import secrets
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.hook import jwt
from gateway.hook.plivo import Plivo
from gateway.hook.twilio import Twilio
from gateway.provider import signature
from gateway.provider.request import Request
from tests.hook.bits import document, form, webhook

PUBLIC = "https://hooks.lamisnet.example/sms"
SECRET = "s3cret-of-the-account"
TOPIC = "arn:aws:sns:eu-north-1:123456789012:MyTopic"
OURS = "+358457396016"

ED = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
ED_PUBLIC = base64.b64encode(ED.public_key().public_bytes_raw()).decode()
RSA = rsa.generate_private_key(65537, 2048)


def _certificate() -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, RSA.public_key(), 1)
    builder = builder.not_valid_before(now - timedelta(days=1))
    builder = builder.not_valid_after(now + timedelta(days=1))
    return builder.sign(RSA, SHA256()).public_bytes(Encoding.PEM).decode()


class Said(NamedTuple):
    """What a person writes."""

    text: str
    sender: str
    id: str
    part: tuple[int, int] | None = None


def said(text: str, sender: str, id_: str = "", part: tuple[int, int] | None = None) -> Said:
    return Said(text, sender, id_ or secrets.token_hex(16), part)


def _now() -> int:
    return int(time.time())


def twilio(one: Said) -> Request:
    fields = {"MessageSid": one.id, "From": one.sender, "To": OURS, "Body": one.text}
    return Twilio().resigned(form(*fields.items()), PUBLIC, SECRET)


def plivo(one: Said) -> Request:
    fields = {"MessageUUID": one.id, "From": one.sender[1:], "To": OURS[1:], "Text": one.text}
    shown = {"X-Plivo-Signature-V3": "-", "X-Plivo-Signature-V3-Nonce": secrets.token_hex(8)}
    return Plivo().resigned(form(*fields.items()).with_headers(shown), PUBLIC, SECRET)


def vonage(one: Said) -> Request:
    fields = {
        "msisdn": one.sender[1:],
        "to": OURS[1:],
        "messageId": one.id,
        "text": one.text,
        "timestamp": str(_now()),
    }
    if one.part:
        number, total = map(str, one.part)
        fields |= {"concat": "true", "concat-ref": "7"}
        fields |= {"concat-part": number, "concat-total": total}
    fields["sig"] = signature.vonage(SECRET, tuple(fields.items()), "sha256")
    return form(*fields.items())


def vonage_messages(one: Said) -> Request:
    body = orjson.dumps(
        {
            "channel": "sms",
            "message_type": "text",
            "message_uuid": one.id,
            "to": OURS[1:],
            "from": one.sender[1:],
            "text": one.text,
        }
    )
    token = jwt.written({"iat": _now(), "payload_hash": signature.sha256_hex(body)}, SECRET)
    return document(body, Authorization=f"Bearer {token}")


def messagebird(one: Said) -> Request:
    fields = {"id": one.id, "originator": one.sender[1:], "recipient": OURS[1:], "body": one.text}
    request = form(*fields.items())
    claims = {
        "iss": "MessageBird",
        "nbf": _now() - 1,
        "exp": _now() + 60,
        "payload_hash": signature.sha256_hex(request.body),
        "url_hash": signature.sha256_hex(PUBLIC.encode()),
    }
    return request.with_headers({"MessageBird-Signature-JWT": jwt.written(claims, SECRET)})


def sinch(one: Said) -> Request:
    body = orjson.dumps(
        {
            "type": "mo_text",
            "id": one.id,
            "from": one.sender[1:],
            "to": OURS[1:],
            "body": one.text,
        }
    )
    nonce, stamp, name = "01NONCE", str(_now()), "X-Sinch-Webhook-Signature"
    return document(body).with_headers(
        {
            name: signature.sinch(SECRET, body, nonce, stamp),
            f"{name}-Nonce": nonce,
            f"{name}-Timestamp": stamp,
            f"{name}-Algorithm": "HmacSHA256",
        }
    )


def gatewayapi(one: Said) -> Request:
    fields = {
        "id": one.id,
        "msisdn": int(one.sender[1:]),
        "receiver": int(OURS[1:]),
        "message": one.text,
        "senttime": _now(),
    }
    token = jwt.written(fields, SECRET)
    return document(orjson.dumps(fields)).with_headers({"X-Gwapi-Signature": token})


def telnyx(one: Said) -> Request:
    payload = {
        "id": one.id,
        "type": "SMS",
        "from": {"phone_number": one.sender},
        "to": [{"phone_number": OURS}],
        "text": one.text,
    }
    body = orjson.dumps({"data": {"event_type": "message.received", "payload": payload}})
    stamp = str(_now())
    value = base64.b64encode(ED.sign(f"{stamp}|".encode() + body)).decode()
    shown = {"Telnyx-Signature-Ed25519": value, "Telnyx-Timestamp": stamp}
    return document(body).with_headers(shown)


def sns(one: Said) -> Request:
    message = {
        "originationNumber": one.sender,
        "destinationNumber": OURS,
        "messageKeyword": "",
        "messageBody": one.text,
        "inboundMessageId": one.id,
    }
    fields = {
        "Message": orjson.dumps(message).decode(),
        "MessageId": one.id,
        "Timestamp": "2026-05-02T00:54:06.655Z",
        "TopicArn": TOPIC,
        "Type": "Notification",
    }
    text = "".join(f"{name}\n{value}\n" for name, value in fields.items())
    value = base64.b64encode(RSA.sign(text.encode(), padding.PKCS1v15(), SHA256())).decode()
    fields |= {"SignatureVersion": "2", "Signature": value}
    return webhook("text/plain; charset=UTF-8", orjson.dumps(fields))


def _keyed(request: Request) -> Request:
    return request._replace(query=f"key={SECRET}")


def elks(one: Said) -> Request:
    fields = {"id": one.id, "from": one.sender, "to": OURS, "message": one.text}
    return _keyed(form(*fields.items()))


def infobip(one: Said) -> Request:
    result = {"messageId": one.id, "from": one.sender[1:], "to": OURS[1:], "text": one.text}
    return _keyed(document(orjson.dumps({"results": [result]})))


def link(one: Said) -> Request:
    message = {
        "messageId": one.id,
        "source": one.sender,
        "destination": "FI-16400",
        "content": {"type": "SMS", "userData": one.text},
    }
    return _keyed(document(orjson.dumps(message)))


CALLS: dict[str, Callable[[Said], Request]] = {
    "46elks": elks,
    "gatewayapi": gatewayapi,
    "infobip": infobip,
    "link": link,
    "messagebird": messagebird,
    "plivo": plivo,
    "sinch": sinch,
    "sns": sns,
    "telnyx": telnyx,
    "twilio": twilio,
    "vonage": vonage,
    "vonage_messages": vonage_messages,
}
SECRETS = {"telnyx": ED_PUBLIC, "sns": _certificate()}
"""Of those that do not sign with ``SECRET``."""
