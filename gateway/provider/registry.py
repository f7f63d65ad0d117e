"""The adapters by the names that the settings give them, each loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from gateway.failure import InputError
from gateway.provider.adapter import Adapter

PROVIDERS: Final = {
    "46elks": "Elks",
    "gatewayapi": "GatewayApi",
    "infobip": "Infobip",
    "link": "Link",
    "messagebird": "MessageBird",
    "plivo": "Plivo",
    "sinch": "Sinch",
    "sns": "Sns",
    "telnyx": "Telnyx",
    "twilio": "Twilio",
    "vonage": "Vonage",
    "vonage_messages": "VonageMessages",
}
"""Each provider with the adapter's class; its module bears the provider's name, without
the digits that a module's name cannot begin with."""


def find_adapter(name: str) -> Adapter:
    """The adapter of a provider; raises InputError for a name that is none."""
    if name not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise InputError(f"no provider {name!r}; known are {known}")
    module = import_module(f"gateway.provider.{name.lstrip('0123456789')}")
    return cast("Adapter", getattr(module, PROVIDERS[name])())
