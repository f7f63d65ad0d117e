"""Bring a backup back: checked first, made beside, put in place in one step."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, select

from gateway.backup.gap import Gap, gaps, pass_over
from gateway.backup.keys import missing_links, require_keys
from gateway.backup.manifest import ARCHIVE, CONFIG, RULES, Manifest
from gateway.backup.succession import Carried, append, carry, doubt, end_of
from gateway.backup.transfer import (
    LONG,
    is_empty,
    load_into_server,
    make_single,
    others_connected,
    sync,
)
from gateway.custody.custody import Custody
from gateway.failure import GatewayError, InputError, RecordsUnavailable
from gateway.records import schema
from gateway.records.act import Act, Action
from gateway.records.belonging import belong, keys_of
from gateway.records.database import Database
from gateway.records.journal import act_line
from gateway.records.line import COLUMNS
from gateway.records.verification import Verification, verify
from gateway.register.lock import FolderLock
from gateway.serve.keys import sealer
from gateway.serve.place import archive_place, keys_place
from gateway.settings import Settings
from gateway.settings.load import load_settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What a restore did, and what is to be known of it."""

    manifest: Manifest
    verification: Verification
    """Of the archive that is in place now."""
    carried: Carried | None
    """What was taken along from the archive that was replaced; None: nothing was."""
    replaced: str
    """Where the replaced archive is kept; empty: there was none."""
    doubted: int
    """Held messages that may have been sent since the backup, and are not sent any more."""
    gaps: tuple[Gap, ...] | None
    """What the register wrote and no archive has; None: the register is not there."""
    placed: tuple[Path, ...]
    """Files of the configuration that were missing and came from the backup."""
    differs: tuple[Path, ...]
    """Files that are there and are not those of the backup."""
    keyless: str
    """Where people's keys are missing; empty: they are there, or the archive has none."""
    linkless: str
    """Where keys of links are missing that the backup was made with; empty: none are."""


async def restore(
    config: Path,
    folder: Path,
    *,
    by: str,
    reason: str = "",
    force: bool = False,
    backup_only: bool = False,
) -> Restored:
    """Put a backup's archive where the configuration has its archive.

    An archive that is there is replaced only with ``force``.  It is kept beside, and
    what was archived in it since the backup is taken along, unless ``backup_only``.

    Raises:
        InputError: the backup is not whole, a gateway runs, an archive is there, the
            keys are missing or others; nothing has changed.
        RecordsUnavailable: a database failed; nothing has changed.

    """
    manifest = Manifest.read(folder)
    await asyncio.to_thread(manifest.check_files, folder)
    with _configuration(config, folder) as placed:
        settings = load_settings(config)
        require_keys(settings, manifest)
        linkless = missing_links(settings, manifest)
        with _alone(settings.data_dir):
            work = _Restore(settings, manifest, folder, force=force, backup_only=backup_only)
            act = Act(
                action=Action.RESTORE,
                actor=by,
                reason=reason,
                detail={"backup_at": manifest.at, "backup_seq": manifest.seq, "force": force},
            )
            await work.run(act)
            found = None
            if work.carried is None:
                found = await gaps(settings, work.cursors)
                if found:
                    await _pass_over(archive_place(settings), found)
            rules, differs = _rules(settings, folder)
    if not placed and _differs(config, folder / CONFIG):
        differs = (config, *differs)
    return Restored(
        manifest=manifest,
        verification=work.verification,
        carried=work.carried,
        replaced=work.replaced,
        doubted=work.doubted,
        gaps=None if found is None else tuple(found),
        placed=(*placed, *rules),
        differs=differs,
        keyless=work.keyless,
        linkless=linkless,
    )


class _Restore:
    """One restore under way."""

    verification: Verification
    carried: Carried | None = None
    replaced = ""
    doubted = 0
    keyless = ""

    def __init__(
        self,
        settings: Settings,
        manifest: Manifest,
        folder: Path,
        *,
        force: bool,
        backup_only: bool,
    ) -> None:
        self._settings = settings
        self._manifest = manifest
        self._backup = folder / ARCHIVE
        self._force = force
        self._backup_only = backup_only
        self._place = archive_place(settings)
        # A file of ours until it is in place: what is left of an earlier try is no loss.
        if isinstance(self._place, Path):
            self._draft = self._place.with_name(f"{self._place.name}.restoring")
        else:
            self._draft = settings.data_dir / "archive.restoring"
        self._stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S_%fZ")
        self.cursors: dict[str, str] = {}

    async def run(self, act: Act) -> None:
        """Do it."""
        self._draft.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            await asyncio.to_thread(self._copy)
            async with AsyncExitStack() as stack:
                new = await Database.open(self._draft, timeout=LONG)
                stack.push_async_callback(new.aclose)
                await self._check(new)
                self.keyless = await _people(self._settings, new)
                old = await self._old()
                if old is not None:
                    stack.push_async_callback(old.aclose)
                await self._unite(old, new)
                await new.bulk(partial(_record, act=act))
                self.verification = await verify(new)
                self.cursors = await new.bulk(_cursors)
                end = None if old is None else await end_of(old)
                keep = old is not None and not await is_empty(old)
                if isinstance(self._place, str) and old is not None and end is not None:
                    await new.aclose()
                    await asyncio.to_thread(make_single, self._draft)
                    aside = f"replaced_{self._stamp.lower()}"
                    await load_into_server(old, self._draft, end.seq, aside, keep=keep)
                    self.replaced = f"the schema {aside} of the same database" if keep else ""
            if isinstance(self._place, Path):
                await asyncio.to_thread(self._exchange, self._place)
        finally:
            for path in _with_companions(self._draft):
                path.unlink(missing_ok=True)

    def _copy(self) -> None:
        for path in _with_companions(self._draft):
            path.unlink(missing_ok=True)
        try:
            shutil.copyfile(self._backup, self._draft)
            self._draft.chmod(0o600)
        except OSError as error:
            raise InputError(f"{self._draft}: {error.strerror}") from None

    async def _check(self, new: Database) -> None:
        """Require the chain to be what the manifest says, and whole."""
        found = await verify(new)
        if (found.links, found.head) != (self._manifest.seq, self._manifest.head):
            raise InputError(f"{self._backup}: its chain ends elsewhere than the manifest says")
        if set(found.faults) - set(self._manifest.faults):
            raise InputError(f"{self._backup}: {found.faults[0]}")
        if found.faults and not self._force:
            raise InputError(
                f"{self._backup}: was not whole when the backup was made "
                f"({found.faults[0]}); --force takes it as it is"
            )

    async def _old(self) -> Database | None:
        """The archive that is to be replaced, open; None: there is none to be looked into.

        Raises:
            InputError: it must not be replaced, or cannot be read.

        """
        place = self._place
        there = isinstance(place, str) or (place.exists() and place.stat().st_size > 0)
        if not there:
            return None
        if isinstance(place, Path) and self._backup_only:
            self._require_force()
            return None
        try:
            old = await Database.open(place, timeout=LONG)
        except GatewayError as error:
            raise InputError(
                f"the archive that is there cannot be read ({error}); "
                "--from-backup-only leaves it aside unread, with all archived since the backup"
            ) from None
        try:
            if isinstance(place, str):
                await self._require_alone(old)
            if not await is_empty(old):
                self._require_force()
        except BaseException:
            await old.aclose()
            raise
        return old

    @staticmethod
    async def _require_alone(old: Database) -> None:
        if await others_connected(old):
            raise InputError("somebody is connected to the archive: stop every gateway first")

    def _require_force(self) -> None:
        if not self._force:
            raise InputError(
                "there is an archive already; --force puts the backup in its place, keeps it "
                "beside, and takes along what was archived in it since the backup"
            )

    async def _unite(self, old: Database | None, new: Database) -> None:
        if old is not None and not self._backup_only and not await is_empty(old):
            try:
                self.carried = await carry(old, new)
            except GatewayError as error:
                raise InputError(
                    f"the archive that is there cannot be read to its end ({error}); mend it, or "
                    "leave what was archived in it since the backup behind: --from-backup-only"
                ) from None
            return
        made = self._manifest.made
        self.doubted = await doubt(new, f"waited in a backup of {made}: it may have been sent")

    def _exchange(self, place: Path) -> None:
        """Have the new file at its place, and the old one beside, in one step."""
        kept = place.with_name(f"{place.name}.replaced-{self._stamp}")
        try:
            make_single(self._draft)
            if place.exists():
                self._keep(place, kept)
            self._draft.replace(place)
        except OSError as error:
            raise RecordsUnavailable(f"{place}: {error.strerror}; nothing has changed") from None
        finally:
            # The same file still, under two names: nothing was exchanged.
            if kept.exists() and place.exists() and kept.samefile(place):
                kept.unlink()
        sync(place.parent)
        self.replaced = str(kept) if kept.exists() else ""

    @staticmethod
    def _keep(place: Path, kept: Path) -> None:
        # One that cannot be opened any more keeps its log beside it.
        with contextlib.suppress(sqlite3.Error):
            make_single(place)
        kept.hardlink_to(place)
        wal = place.with_name(f"{place.name}-wal")
        if wal.exists():
            kept.with_name(f"{kept.name}-wal").hardlink_to(wal)
        sync(place.parent)
        for companion in _with_companions(place)[1:]:
            companion.unlink(missing_ok=True)


async def _people(settings: Settings, new: Database) -> str:
    """Where people's keys are missing, which are copied apart; empty: they are not.

    Raises:
        InputError: they are others than the archive was written with.

    """
    if await keys_of(new) is None:
        return ""
    place = keys_place(settings)
    where = "records.keys_url" if isinstance(place, str) else str(place)
    if isinstance(place, Path) and not place.exists():
        return where
    custody = await Custody.at(place, sealer(settings), create=False)
    try:
        await belong(new, await custody.name(), where)
    finally:
        await custody.aclose()
    return ""


async def _pass_over(place: Path | str, found: list[Gap]) -> None:
    database = await Database.open(place, timeout=LONG)
    try:
        await pass_over(database, found)
    finally:
        await database.aclose()


def _record(connection: Connection, act: Act) -> None:
    """The restore itself is an act, and the first row behind what was restored."""
    values, _ = act_line(act)
    append(connection, "act", [dict(zip(COLUMNS["act"], values, strict=True))])


def _cursors(connection: Connection) -> dict[str, str]:
    return {row.stream: row.last for row in connection.execute(select(schema.cursor))}


def _with_companions(path: Path) -> list[Path]:
    return [path, *(path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal"))]


@contextmanager
def _alone(data_dir: Path) -> Iterator[None]:
    """Keep every gateway out of a data folder; raises InputError where one runs."""
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"data_dir: {data_dir}: {error.strerror}") from None
    with FolderLock(data_dir / "gateway.lock") as lock:
        if not lock.try_exclusive():
            raise InputError(f"a gateway runs in {data_dir}: stop it first")
        yield


@contextmanager
def _configuration(config: Path, folder: Path) -> Iterator[tuple[Path, ...]]:
    """The backup's configuration where none is, taken back if anything goes wrong."""
    if config.exists():
        yield ()
        return
    try:
        shutil.copyfile(folder / CONFIG, config)
    except OSError as error:
        raise InputError(f"{config}: {error.strerror}") from None
    try:
        yield (config,)
    except BaseException:
        config.unlink(missing_ok=True)
        raise


def _rules(settings: Settings, folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...]]:
    """Put rule sets of one's own back where they are missing; those placed, those that differ."""
    own = settings.rules.folder
    if own is None:
        return (), ()
    placed, differs = [], []
    own.mkdir(parents=True, exist_ok=True)
    for path in sorted((folder / RULES).glob("*.toml")):
        target = own / path.name
        if not target.exists():
            shutil.copyfile(path, target)
            placed.append(target)
        elif _differs(target, path):
            differs.append(target)
    return tuple(placed), tuple(differs)


def _differs(one: Path, other: Path) -> bool:
    return one.read_bytes() != other.read_bytes()
