"""What a reload cannot change: it stays as it is until a restart, and is named in the log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import structlog

from gateway.serve.slot import has_front, sms_addresses
from gateway.settings import Settings

log = structlog.get_logger(__name__)

_FIXED: Final = ("data_dir", "register", "records", "http", "workers")
_LISTENING: Final = ("api", "public", "inbound")
"""Tables whose addresses, and whether there is TLS, are fixed."""


def keeping_fixed(settings: Settings, old: Settings) -> Settings:
    """New settings with those that need a restart as they were."""
    changed = [name for name in _FIXED if getattr(settings, name) != getattr(old, name)]
    kept: dict[str, Any] = {name: getattr(old, name) for name in changed}
    smtp: dict[str, Any] = {name: getattr(old.smtp, name) for name in ("listen", "listen_tls")}
    if any(getattr(settings.smtp, name) != value for name, value in smtp.items()):
        changed.append("smtp.listen")
    if (settings.smtp.tls is None) != (old.smtp.tls is None):
        # The sockets stay what they are, and so does what a replaced worker says on them.
        smtp["tls"] = old.smtp.tls
        changed.append("smtp.tls")
    for name in _LISTENING:
        new, before = getattr(settings, name), getattr(old, name)
        if new.listen != before.listen or (new.tls is None) != (before.tls is None):
            kept[name] = before
            changed.append(f"{name}: listen, tls")
    if settings.sync.tools and not has_front(old):
        # There is no process that could drive them.
        kept["sync"] = old.sync
        changed.append("sync.tools")
    if [*sms_addresses(settings)] != [*sms_addresses(old)] or (settings.sms.tls is None) != (
        old.sms.tls is None
    ):
        kept["sms"] = old.sms
        changed.append("sms: listen, tls, or the routes' own addresses")
    if changed:
        log.warning("reload_needs_restart", settings=changed)
    return replace(settings, **kept, smtp=replace(settings.smtp, **smtp))
