"""Which connector is of which kind."""

from __future__ import annotations

from importlib import import_module

from gateway.connector.connector import Connector, Place
from gateway.failure import InputError

_CLASSES = {
    "ses": "Ses",
    "sendgrid": "SendGrid",
    "mailgun": "Mailgun",
    "postmark": "Postmark",
    "mailchimp": "Mailchimp",
    "mandrill": "Mandrill",
    "brevo": "Brevo",
    "listmonk": "Listmonk",
    "mautic": "Mautic",
    "twilio": "Twilio",
    "http": "Http",
    "file": "File",
}
"""The class of each kind, in the module of the kind's name; loaded when it is used."""


def connector_of(kind: str, place: Place) -> Connector:
    """The connector of a tool; raises InputError as the connector itself does."""
    if kind not in _CLASSES:
        raise InputError(f"{kind}: no such kind of tool; known are {', '.join(_CLASSES)}")
    module = import_module(f"gateway.connector.{kind}")
    made: Connector = getattr(module, _CLASSES[kind])(place)
    return made
