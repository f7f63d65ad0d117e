"""Contacts as a request names them."""

from __future__ import annotations

from gateway.api.problem import BadMember, bad_request
from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.parse import parse_contact, parse_domain


def contact_at(text: str, pointer: str) -> Contact:
    """The contact that a member of the request names; raises Problem naming the member."""
    try:
        return parse_contact(text)
    except ContactError as error:
        raise bad_request("a contact cannot be read", BadMember(pointer, str(error))) from None


def target_at(text: str, pointer: str) -> Contact | str:
    """The contact, or the organisation's domain where it begins with ``@``."""
    if not text.startswith("@"):
        return contact_at(text, pointer)
    try:
        return parse_domain(text[1:])
    except ContactError as error:
        raise bad_request("a domain cannot be read", BadMember(pointer, str(error))) from None
