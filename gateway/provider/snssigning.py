"""The signature under what Amazon SNS delivers.

It is made with a key whose certificate the message itself names by URL.  Nothing is
fetched from there: the certificates are given (PEM, several where AWS changes them), by
an operator who has fetched and looked at them.
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any, Final

from gateway.provider.signature import exact_base64

VERSIONS: Final = {"1": "SHA1", "2": "SHA256"}
"""The hash of each ``SignatureVersion``."""
_NOTIFICATION = ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
_CONFIRMATION = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")
_SIGNED: Final = {
    "Notification": _NOTIFICATION,
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}


def signed_text(message: Mapping[str, Any]) -> str:
    """What is signed of a message: its members, names and values, a line each.

    ``Message`` alone may itself have several lines, or another message would have the same
    text: a subject left out and written behind the id.  Raises ValueError where a member is
    no text or has several lines, or the type is unknown.
    """
    kind = message.get("Type")
    names = _SIGNED.get(kind) if isinstance(kind, str) else None
    if names is None:
        raise ValueError("another type")
    present = [name for name in names if name in message]
    if not all(isinstance(message[name], str) for name in present):
        raise ValueError("a member that is no text")
    if any("\n" in message[name] for name in present if name != "Message"):
        raise ValueError("a member of several lines")
    return "".join(f"{name}\n{message[name]}\n" for name in present)


def signed_by(
    message: Mapping[str, Any], certificates: str, now: int, versions: Container[str]
) -> bool:
    """Whether one of these certificates, valid now, has signed a message.

    Raises ValueError where the message or the certificates cannot be read.
    """
    from cryptography import x509

    version, shown = message.get("SignatureVersion"), message.get("Signature")
    if not isinstance(version, str) or not isinstance(shown, str):
        return False
    if version not in versions or version not in VERSIONS:
        return False
    octets = exact_base64(shown)
    text = signed_text(message).encode()
    known = x509.load_pem_x509_certificates(certificates.encode())
    return any(_good(one, octets, text, VERSIONS[version], now) for one in known)


def _good(certificate: Any, octets: bytes, text: bytes, name: str, now: int) -> bool:  # noqa: ANN401
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    key = certificate.public_key()
    if not begin.timestamp() * 1000 <= now <= end.timestamp() * 1000:
        return False
    if not isinstance(key, RSAPublicKey):
        return False
    try:
        key.verify(octets, text, PKCS1v15(), getattr(hashes, name)())
    except InvalidSignature:
        return False
    return True
