"""The hooks by the names of their providers, each loaded when it is asked for."""

from __future__ import annotations

from importlib import import_module
from typing import Final, cast

from gateway.failure import InputError
from gateway.hook.hook import Hook

HOOKS: Final = {
    "46elks": ("elks", "Elks"),
    "gatewayapi": ("gatewayapi", "GatewayApi"),
    "infobip": ("infobip", "Infobip"),
    "link": ("link", "Link"),
    "messagebird": ("messagebird", "MessageBird"),
    "plivo": ("plivo", "Plivo"),
    "sinch": ("sinch", "Sinch"),
    "sns": ("sns", "Sns"),
    "telnyx": ("telnyx", "Telnyx"),
    "twilio": ("twilio", "Twilio"),
    "vonage": ("vonage", "Vonage"),
    "vonage_messages": ("vonage", "VonageMessages"),
}
"""Each with its module of this package and the class in it."""


def find_hook(name: str) -> Hook:
    """The hook of a provider; raises InputError for a name that is none."""
    if name not in HOOKS:
        known = ", ".join(sorted(HOOKS))
        raise InputError(f"no provider {name!r} with a webhook; known are {known}")
    module, kind = HOOKS[name]
    return cast("Hook", getattr(import_module(f"gateway.hook.{module}"), kind)())
