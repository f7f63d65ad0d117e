"""Addresses as the command line takes them."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.contacts.contact import Contact
from gateway.contacts.email import parse_email
from gateway.contacts.phone import parse_phone
from gateway.failure import InputError

Address = Annotated[
    str, typer.Argument(help="An e-mail address, a number (+358…), or @domain for an organisation.")
]


def read_contact(text: str) -> Contact:
    """The contact that a text names.

    Raises:
        InputError: repeating the text, which its writer has before their eyes.

    """
    if "@" not in text and any(character.isalpha() for character in text):
        raise InputError(f"{text}: an e-mail address has an @, a number begins with + and digits")
    try:
        return parse_email(text) if "@" in text else parse_phone(text)
    except InputError as error:
        raise InputError(f"{text}: {error}") from None
