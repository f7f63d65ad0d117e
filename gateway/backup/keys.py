"""The keys that a backup was made with, looked for where the configuration has them."""

from __future__ import annotations

from gateway.backup.manifest import Manifest, fingerprints
from gateway.failure import InputError
from gateway.settings import Settings


def require_keys(settings: Settings, manifest: Manifest) -> None:
    """Raise InputError unless the keys that the backup was made with are in their place."""
    for kind, path in (
        ("digest", settings.register.keys_file),
        ("content", settings.records.content_key_file),
    ):
        if path is None:
            raise InputError(f"the file of the {kind} keys is not set")
        there = fingerprints(path)
        for key_id, fingerprint in manifest.keys.get(kind, {}).items():
            if there.get(key_id) != fingerprint:
                raise InputError(
                    f"{path}: not the {kind} key {key_id!r} that the backup was made with; "
                    "put the keys back first, from where they are kept"
                )


def missing_links(settings: Settings, manifest: Manifest) -> str:
    """Where keys of links are missing; empty: they are not.

    The archive can be read without them, and one may have been retired since: that is told
    and stops nothing.  Raises InputError for a file that cannot be read.
    """
    noted, path = manifest.keys.get("link", {}), settings.unsubscribe.key_file
    if not noted or path is None:
        return ""
    there = fingerprints(path) if path.exists() else {}
    return str(path) if noted.items() - there.items() else ""
