"""A contact as a page shows it: enough to know one's own, for a mail may be passed on."""

from __future__ import annotations

from gateway.contacts.contact import Channel, Contact

_SHOWN = 2
"""Digits at each end of a number that are shown."""


def masked(contact: Contact) -> str:
    """``m…a@example.com`` or ``+35…67``."""
    text = contact.canonical
    if contact.channel is Channel.SMS:
        return f"{text[: _SHOWN + 1]}…{text[-_SHOWN:]}"
    local, _, domain = text.rpartition("@")
    end = local[-1] if len(local) > 2 else ""
    return f"{local[:1]}…{end}@{_readable(domain)}"


def _readable(domain: str) -> str:
    try:
        return domain.encode("ascii").decode("idna")
    except UnicodeError:
        return domain  # one that the older IDNA does not know
