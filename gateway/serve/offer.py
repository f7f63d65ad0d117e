"""From settings to the means to refuse that are added to marketing, and the keys for it."""

from __future__ import annotations

import os

from gateway.failure import InputError
from gateway.keyfile import KEY_OCTETS
from gateway.message.signature import SigningKey
from gateway.settings import Settings
from gateway.settings.failure import SettingsError
from gateway.unsubscribe.header import Offer
from gateway.unsubscribe.link import Links


def offer(settings: Settings) -> Offer | None:
    """The means to refuse that are added; None where ``unsubscribe.add`` is not set.

    The keys of links are made on first use.

    Raises:
        InputError: ``public.url`` cannot stand in mail, or a key file is missing,
            malformed or, with links, open to others.

    """
    keys = signing_keys(settings)
    if not settings.unsubscribe.add:
        return None
    return _offer(settings, links_of(settings), keys)


def check_offer(settings: Settings) -> None:
    """Try what :func:`offer` rests on, and make nothing; raises what it raises."""
    keys, path = signing_keys(settings), settings.unsubscribe.key_file
    if path is not None and path.exists():
        links = Links.load_or_create(path)
    else:
        links = Links({"k1": os.urandom(KEY_OCTETS)}, "k1")
    if settings.unsubscribe.add:
        _offer(settings, links, keys)


def links_of(settings: Settings) -> Links:
    """The keys that seal and open links, made on first use; raises InputError."""
    path = settings.unsubscribe.key_file
    if path is None:
        raise InputError("unsubscribe.key_file is not set")
    return Links.load_or_create(path)


def _offer(settings: Settings, links: Links, keys: dict[str, SigningKey]) -> Offer:
    return Offer(links, settings.public.url, settings.unsubscribe.address, keys)


def signing_keys(settings: Settings) -> dict[str, SigningKey]:
    """The keys that mail is signed with, by domain; raises InputError."""
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
