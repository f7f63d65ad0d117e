"""The keys of people, as the rest of the gateway uses them.

An owner is a contact, by its digest (``key_id:hex``), or a person, ``p:<person id>``.
What is sealed under an owner's key can be read until the key is destroyed and never
after, in no copy and no backup: that is how a person is erased from what may not be
changed.  A destroyed owner never gets a key again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self, TypeVar

from gateway.clock import Clock, now_ms
from gateway.custody.cipher import PERSON, open_sealed, seal
from gateway.custody.postgresql import SCHEMES, PostgresKeys
from gateway.custody.table import KeyTable, Master
from gateway.failure import InputError, RecordsUnavailable, SealError

T = TypeVar("T")

CACHED: Final = 32_768
"""Keys kept in memory at most, some 8 MB."""
_GRACE: Final = 1.0


class KeyDestroyed(SealError):
    """The owner's key was destroyed: the owner was erased."""


class Custody:
    """The keys of people; :meth:`at` opens their file, :meth:`aclose` closes it.

    Every method raises RecordsUnavailable when the file cannot be used in time.  A key
    that any process destroyed is not used once its destruction is durable: every call
    asks the file first.
    """

    def __init__(
        self,
        table: KeyTable | PostgresKeys,
        thread: ThreadPoolExecutor,
        timeout: float,
        clock: Clock = now_ms,
    ) -> None:
        """Use :meth:`at`."""
        self._table = table
        self._timeout = timeout
        self._clock = clock
        self._thread = thread
        self._cache: OrderedDict[str, bytes] = OrderedDict()
        self._destructions = -1

    @classmethod
    async def at(
        cls,
        place: Path | str,
        sealer: Master,
        *,
        create: bool = True,
        timeout: float = 10.0,
        clock: Clock = now_ms,
    ) -> Self:
        """Open the file of keys; made (mode 0600) where it is missing and ``create`` is set.

        ``place`` may be a URL of PostgreSQL's instead, of a database of its own.
        ``sealer`` wraps the keys: the content key.  ``timeout`` bounds every call, in
        seconds.  Raises InputError when the file is none of keys, RecordsUnavailable.
        """
        thread = ThreadPoolExecutor(1, thread_name_prefix="custody")

        def opened() -> KeyTable | PostgresKeys:
            if isinstance(place, str) and place.startswith(SCHEMES):
                return PostgresKeys(place, sealer, timeout, create=create)
            return KeyTable(Path(place), sealer, timeout, create=create)

        try:
            table = await asyncio.get_running_loop().run_in_executor(thread, opened)
        except BaseException:
            thread.shutdown(wait=False)
            raise
        return cls(table, thread, timeout, clock)

    async def aclose(self) -> None:
        """Let what runs end, and close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._table.close)
        self._thread.shutdown(wait=False)

    # -- one text -----------------------------------------------------------------

    async def seal(self, owner: str, data: bytes, context: bytes) -> bytes:
        """The data sealed under the owner's key, which is made where there is none.

        ``context`` binds it to where it belongs.  Raises KeyDestroyed.
        """
        key = (await self.keys([owner]))[owner]
        if key is None:
            raise KeyDestroyed("the person's key was destroyed")
        return seal(PERSON, key, data, context)

    async def open(self, owner: str, sealed: bytes, context: bytes) -> bytes:
        """The data again.  Raises KeyDestroyed, SealError when it cannot be opened."""
        found = await self.keys([owner], make=False)
        if owner not in found:
            raise SealError("the owner has no key")
        key = found[owner]
        if key is None:
            raise KeyDestroyed("the person's key was destroyed")
        return open_sealed(PERSON, key, sealed, context)

    # -- many texts ---------------------------------------------------------------

    async def seal_all(
        self, owners: Sequence[str], data: Sequence[bytes], contexts: Sequence[bytes]
    ) -> list[bytes]:
        """Each datum sealed under the key of the owner at its place.

        An empty text for an owner whose key was destroyed.  Some thousand at once keep
        the loop for some 2 us each.  Raises ValueError unless all are as many.
        """
        keys = await self.keys(owners)
        return [
            b"" if (key := keys[owner]) is None else seal(PERSON, key, datum, context)
            for owner, datum, context in zip(owners, data, contexts, strict=True)
        ]

    async def open_all(
        self, owners: Sequence[str], sealed: Sequence[bytes], contexts: Sequence[bytes]
    ) -> list[bytes | None]:
        """Each text opened with its owner's key; None where it cannot be (any more).

        Raises ValueError unless all are as many.
        """
        keys = await self.keys(owners, make=False)
        return [
            _opened(keys.get(owner), text, context)
            for owner, text, context in zip(owners, sealed, contexts, strict=True)
        ]

    async def keys(self, owners: Iterable[str], *, make: bool = True) -> dict[str, bytes | None]:
        """The owners' keys by owner; None is a destroyed one.

        With ``make`` owners that never had a key have one when this returns, durably;
        else they are left out.
        """
        return await self._run(lambda: self._keys(list(owners), make))

    def _keys(self, owners: list[str], make: bool) -> dict[str, bytes | None]:
        cache = self._cache
        destructions = self._table.destructions()
        if destructions != self._destructions:
            cache.clear()
            self._destructions = destructions
        found: dict[str, bytes | None] = {}
        missing: list[str] = []
        for owner in owners:
            key = cache.get(owner)
            if key is None:
                missing.append(owner)
            else:
                cache.move_to_end(owner)
                found[owner] = key
        if missing:
            if make:
                read = self._table.find_or_make(missing, self._clock())
            else:
                read = self._table.find(missing)
            found |= read
            cache.update((owner, key) for owner, key in read.items() if key is not None)
            while len(cache) > CACHED:
                cache.popitem(last=False)
        return found

    # -- the end of keys ----------------------------------------------------------

    async def destroy(self, owners: Iterable[str], at: int | None = None) -> int:
        """Destroy the owners' keys for good; how many owners had not been destroyed.

        ``at`` is milliseconds since the epoch.  When this returns the keys are gone
        from the file and its log.  Where it raises that is unknown: do it again, which
        is harmless.  Owners that had no key never get one.
        """
        wanted, moment = list(owners), self._clock() if at is None else at

        def work() -> int:
            self._cache.clear()
            try:
                return self._table.destroy(wanted, moment)
            finally:
                self._cache.clear()

        return await self._run(work)

    async def destroyed(self, owners: Iterable[str]) -> dict[str, int]:
        """Those of the owners whose keys were destroyed, and when (ms since the epoch)."""
        wanted = list(owners)
        return await self._run(lambda: self._table.destroyed(wanted))

    async def name(self) -> str:
        """What tells these keys from all others; the archive that they belong to knows it."""
        return await self._run(self._table.name)

    async def backup(self, target: Path) -> None:
        """Copy the keys into a new file.

        Raises InputError where there is a file, or the keys lie in PostgreSQL.
        """
        table = self._table
        if isinstance(table, PostgresKeys):
            raise InputError("people's keys lie in PostgreSQL: back them up with pg_dump")
        await self._run(lambda: table.backup(target), bounded=False)

    async def count(self) -> tuple[int, int]:
        """How many keys there are, and how many were destroyed."""
        return await self._run(self._table.count)

    # -- the key that wraps them --------------------------------------------------

    async def stale(self, is_stale: Callable[[bytes], bool]) -> int:
        """How many keys lie wrapped as ``is_stale`` says of the wrapped text."""
        return await self._run(lambda: self._table.stale(is_stale), bounded=False)

    async def rewrap(
        self, sealer: Master, is_stale: Callable[[bytes], bool] = lambda _: True
    ) -> int:
        """Wrap the keys under this sealer, or those alone that ``is_stale`` says; how many.

        The sealer must open what the one before it sealed.  Takes as long as it takes:
        some 20 us a key.
        """
        return await self._run(lambda: self._table.rewrap(sealer, is_stale), bounded=False)

    async def _run(self, work: Callable[[], T], *, bounded: bool = True) -> T:
        running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        limit = 2 * self._timeout + _GRACE if bounded else None
        done, _ = await asyncio.wait({running}, timeout=limit)
        if not done:
            running.add_done_callback(_forget)
            raise RecordsUnavailable("people's keys: no answer in time")
        return running.result()


def _forget(running: asyncio.Future[T]) -> None:
    if not running.cancelled():
        running.exception()


def _opened(key: bytes | None, sealed: bytes, context: bytes) -> bytes | None:
    if key is None:
        return None
    try:
        return open_sealed(PERSON, key, sealed, context)
    except SealError:
        return None
