"""An event of Mailgun's: what it adds to a list, and whether a webhook is Mailgun's.

https://documentation.mailgun.com/docs/mailgun/user-manual/events/
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
"""

from __future__ import annotations

import hmac
import re
from typing import Any, NamedTuple

from gateway.connector.connector import HookRefused, Place
from gateway.connector.saying import email_of, seconds_ms, text
from gateway.connector.suppression import Reason
from gateway.connector.webhook import expect_fresh, secret_of
from gateway.contacts.contact import Contact

_is_seconds = re.compile(r"[0-9]{10}").fullmatch
_is_token = re.compile(r"[0-9A-Za-z_-]{1,128}").fullmatch
_is_code = re.compile(r"[2-5][0-9]{2}").fullmatch


class Told(NamedTuple):
    """What an event adds to a list."""

    reason: Reason
    contact: Contact
    note: str
    tags: tuple[str, ...]
    """The message's tags."""
    at: int | None
    id: str


def read_event(item: dict[str, Any]) -> Told | None:
    """What an event adds; None where it adds nothing, or cannot be read."""
    contact = email_of(item.get("recipient"))
    kind = text(item, "event")
    if contact is None:
        return None
    if kind == "unsubscribed":
        reason, note = Reason.OBJECTION, kind
    elif kind == "complained":
        reason, note = Reason.COMPLAINT, kind
    elif kind == "failed" and _is_bounce(item):
        reason, note = Reason.BOUNCE, noted(kind, item.get("delivery-status"))
    else:
        return None
    at, id = seconds_ms(item.get("timestamp")), text(item, "id")
    return Told(reason, contact, note, tags_of(item), at, id)


def is_lost(item: dict[str, Any]) -> bool:
    """Whether an event would have added to a list, if it could be read."""
    if email_of(item.get("recipient")) is not None:
        return False
    return text(item, "event") in ("unsubscribed", "complained") or _is_bounce(item)


def tags_of(item: dict[str, Any]) -> tuple[str, ...]:
    """The tags of an event or an entry, which older descriptions of the API give one by one."""
    tags = item.get("tags", [item.get("tag")])
    return tuple([tag for tag in tags if isinstance(tag, str)]) if isinstance(tags, list) else ()


def noted(name: str, item: object) -> str:
    """A name, with the SMTP code where one stands there."""
    code = str(item.get("code", "")) if isinstance(item, dict) else ""
    return f"{name} {code}" if _is_code(code) else name


def verify(document: object, place: Place, now: int) -> None:
    """Raises HookRefused unless Mailgun has signed a webhook, and now (milliseconds)."""
    shown = document.get("signature") if isinstance(document, dict) else None
    if not isinstance(shown, dict):
        raise HookRefused("no signature (webhooks of version 2 are not taken)", http=406)
    key = secret_of(place).encode()
    stamp, token = shown.get("timestamp"), shown.get("token")
    stamp = str(stamp) if type(stamp) is int else stamp
    # Nothing stands between them in what is signed: of fixed forms, so that no digit
    # of the one can be taken for the other's.
    if not isinstance(stamp, str) or not _is_seconds(stamp):
        raise HookRefused("no signed time", http=401)
    if not isinstance(token, str) or not _is_token(token):
        raise HookRefused("no token", http=401)
    right = hmac.digest(key, f"{stamp}{token}".encode(), "sha256").hex().encode()
    # Of a subaccount's domain the main account's key signs a second time.
    values = [text(shown, name) for name in ("signature", "parent-signature")]
    good = [hmac.compare_digest(value.encode(errors="replace"), right) for value in values]
    if not any(good):
        raise HookRefused(
            f"not signed with the key in sync.tools {place.name}: webhook_secret_file",
            http=401,
        )
    expect_fresh(int(stamp), now)


def _is_bounce(item: dict[str, Any]) -> bool:
    """Whether a failure is the address's: not "on our list already", not "taken for spam"."""
    if text(item, "severity") != "permanent" or text(item, "reason") != "bounce":
        return False
    status = item.get("delivery-status")
    refused = text(status, "enhanced-code").startswith("5.7.")
    return not refused and text(status, "bounce-type") != "soft"
