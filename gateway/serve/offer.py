"""From settings to the means to refuse that are added to marketing, and the keys for it."""

from __future__ import annotations

from gateway.failure import InputError
from gateway.message.signature import SigningKey
from gateway.settings import Settings
from gateway.settings.failure import SettingsError
from gateway.unsubscribe.header import Offer
from gateway.unsubscribe.link import Links


def offer(settings: Settings) -> Offer | None:
    """The means to refuse that are added; None where ``unsubscribe.add`` is not set.

    The keys of links are made on first use.

    Raises:
        InputError: a key file is unreadable, malformed or, with links, open to others.

    """
    keys = _signing_keys(settings)
    unsubscribe = settings.unsubscribe
    if not unsubscribe.add:
        return None
    if unsubscribe.key_file is None:
        raise InputError("unsubscribe.key_file is not set")
    links = Links.load_or_create(unsubscribe.key_file)
    return Offer(links, settings.public.url, unsubscribe.address, keys)


def _signing_keys(settings: Settings) -> dict[str, SigningKey]:
    """The keys that mail is signed with, by domain."""
    keys: dict[str, SigningKey] = {}
    for number, dkim in enumerate(settings.dkim):
        setting = f"dkim[{number}].key_file: {dkim.key_file}"
        try:
            keys[dkim.domain] = SigningKey.read(
                dkim.domain, dkim.selector, dkim.key_file.read_bytes()
            )
        except OSError as error:
            raise SettingsError(f"{setting}: {error.strerror}") from None
        except InputError as error:
            raise SettingsError(f"{setting}: {error}") from None
    return keys
