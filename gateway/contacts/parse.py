"""One text, one contact: the door for callers that take both kinds."""

from __future__ import annotations

from gateway.contacts.contact import Contact
from gateway.contacts.email import parse_domain, parse_email
from gateway.contacts.phone import parse_phone

__all__ = ["parse_contact", "parse_domain", "parse_email", "parse_phone"]


def parse_contact(text: str, region: str | None = None) -> Contact:
    """The contact that ``text`` stands for: with an ``@`` an e-mail address.

    ``region`` is as in :func:`~gateway.contacts.phone.parse_phone`.

    Raises:
        ContactError: the text is neither an address nor a number.
    """
    return parse_email(text) if "@" in text else parse_phone(text, region)
