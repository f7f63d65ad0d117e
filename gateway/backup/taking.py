"""Take a backup: archive, rule sets, configuration; the keys apart, or not at all."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from gateway import __version__
from gateway.backup.manifest import ARCHIVE, CONFIG, NAME, RULES, FileNote, Manifest, fingerprints
from gateway.backup.transfer import LONG, copy_to_file, sync
from gateway.clock import now_ms
from gateway.decision.load import find_rules
from gateway.failure import InputError
from gateway.records import schema
from gateway.records.act import Act, Action, Detail
from gateway.records.database import Database
from gateway.records.recorder import Recorder
from gateway.records.verification import verify
from gateway.serve.place import archive_place
from gateway.serve.stores import open_stores
from gateway.settings import Settings


async def take(
    settings: Settings,
    config: Path,
    folder: Path,
    *,
    by: str,
    reason: str = "",
    keys: Path | None = None,
) -> Manifest:
    """Make ``folder`` a backup of the archive as it is now, whether a gateway runs or not.

    It is there whole or not at all.  ``keys``: another folder, for digest and content
    keys, and those of links where there are any.  The act is recorded first.

    Raises:
        InputError: a folder is there already and not empty, one lies in the other, or
            a file of the configuration cannot be read.
        GatewayError: register or archive cannot be reached, the disk is full.

    """
    folder, keys = _places(folder, keys)
    place = archive_place(settings)
    source = "sqlite" if isinstance(place, Path) else "postgresql"
    async with open_stores(settings) as stores:
        recorder = Recorder(
            stores.register.connections.wire, stores.seal, timeout=settings.records.timeout
        )
        try:
            detail: dict[str, Detail] = {"with_keys": keys is not None, "source": source}
            await recorder.act(Act(action=Action.BACKUP, actor=by, reason=reason, detail=detail))
        finally:
            await recorder.aclose()
        await stores.catch_up()
    with _becoming(folder) as draft:
        at = now_ms()
        database = await Database.open(place, timeout=LONG)
        try:
            await copy_to_file(database, draft / ARCHIVE)
        finally:
            await database.aclose()
        await asyncio.to_thread(_copy_settings, settings, config, draft)
        manifest = await _manifest(settings, draft, at, source)
        await asyncio.to_thread(_write, draft / NAME, manifest.to_json())
        # Last, when the backup is whole.
        if keys is not None:
            with _becoming(keys) as drafted:
                for path in _key_files(settings).values():
                    await asyncio.to_thread(_copy, path, drafted / path.name)
    return manifest


async def _manifest(settings: Settings, draft: Path, at: int, source: str) -> Manifest:
    copied = await Database.open(draft / ARCHIVE, timeout=LONG, create=False)
    try:
        verification = await verify(copied)
    finally:
        await copied.aclose()
    files = await asyncio.to_thread(
        lambda: {
            str(path.relative_to(draft)): FileNote.of(path)
            for path in sorted(draft.rglob("*"))
            if path.is_file()
        }
    )
    return Manifest(
        at=at,
        made=datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds"),
        gateway=__version__,
        source=source,
        schema=schema.SCHEMA_VERSION,
        seq=verification.links,
        head=verification.head,
        faults=verification.faults,
        keys={kind: fingerprints(path) for kind, path in _key_files(settings).items()},
        files=files,
    )


def _key_files(settings: Settings) -> dict[str, Path]:
    """The files that are copied with the keys, by the manifest's words."""
    digest_keys, content_keys = settings.register.keys_file, settings.records.content_key_file
    if digest_keys is None or content_keys is None:
        raise InputError("register.keys_file and records.content_key_file must be set")
    files = {"digest": digest_keys, "content": content_keys}
    link_keys = settings.unsubscribe.key_file
    if link_keys is not None and link_keys.exists():
        # Made when the first link is sealed.
        files["link"] = link_keys
    return files


def _copy_settings(settings: Settings, config: Path, draft: Path) -> None:
    _copy(config, draft / CONFIG)
    (draft / RULES).mkdir(mode=0o700)
    rules = {find_rules(settings.rules.set, settings.rules.folder)}
    if settings.rules.folder is not None:
        rules |= set(settings.rules.folder.glob("*.toml"))
    for path in rules:
        _copy(path, draft / RULES / path.name)
    sync(draft / RULES)


def _copy(source: Path, target: Path) -> None:
    try:
        _write(target, source.read_bytes())
    except OSError as error:
        raise InputError(f"{source}: {error.strerror}") from None


def _write(path: Path, content: str | bytes) -> None:
    octets = content.encode() if isinstance(content, str) else content
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(octets)
        file.flush()
        os.fsync(file.fileno())


def _places(folder: Path, keys: Path | None) -> tuple[Path, Path | None]:
    """Both folders as absolute paths; raises InputError unless both can be made, apart."""
    folder = folder.absolute()
    _require_free(folder)
    if keys is not None:
        keys = keys.absolute()
        _require_free(keys)
        if keys == folder or folder in keys.parents or keys in folder.parents:
            raise InputError(f"--with-keys {keys}: keep keys and backup in folders apart")
    return folder, keys


def _require_free(folder: Path) -> None:
    """Raise InputError unless a folder can be made there."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder}: is there already; name a new folder for each backup")
    if not folder.parent.is_dir():
        raise InputError(f"{folder.parent}: there is no such folder")


@contextmanager
def _becoming(folder: Path) -> Iterator[Path]:
    """A folder beside it, which takes its name when all has gone well and goes otherwise."""
    try:
        draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    except OSError as error:
        raise InputError(f"{folder.parent}: {error.strerror}") from None
    try:
        yield draft
        sync(draft)
        draft.rename(folder)
        sync(folder.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
