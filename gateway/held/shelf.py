"""Contents and held messages, with the archive opened when a message first needs it.

Most mail needs neither: its record goes by way of the register.  The database's
library is a third of the memory of a worker that has loaded it, and half a second of
its start, so a worker that keeps nothing does without.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterable, AsyncIterator, Collection, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from gateway.failure import InputError, RecordsUnavailable
from gateway.held.message import Held, HeldMessage, State
from gateway.records.seal import Sealer

if TYPE_CHECKING:
    from gateway.held.store import HeldStore
    from gateway.records.content import ContentStore
    from gateway.records.database import Database


class Stores(NamedTuple):
    """The archive database, open, and the stores in it."""

    database: Database
    contents: ContentStore
    held: HeldStore


class Shelf:
    """The stores of one archive, opened once, by whoever asks first.

    Whoever starts a worker has made the archive and checked it; here it is never begun
    anew.  One that cannot be opened fails the caller, and the next caller tries again.
    """

    def __init__(self, place: Path | str, sealer: Sealer, *, timeout: float) -> None:
        self.contents = ShelvedContents(self)
        self.held = ShelvedHeld(self)
        self._place = place
        self._sealer = sealer
        self._timeout = timeout
        self._stores: Stores | None = None
        self._opening: asyncio.Task[Stores] | None = None
        self._closed = False

    async def stores(self) -> Stores:
        """The stores, open.

        Raises:
            RecordsUnavailable: the archive cannot be opened, or not within its timeout;
                or the shelf is closed.

        """
        if self._closed:
            raise RecordsUnavailable("the archive is closed")
        if self._stores is not None:
            return self._stores
        # A task of its own: a caller who leaves does not end it for the others.
        opening = self._opening
        if opening is None:
            opening = self._opening = asyncio.get_running_loop().create_task(self._open())
            opening.add_done_callback(self._opened)
        done, _ = await asyncio.wait({opening}, timeout=self._timeout)
        if not done:
            raise RecordsUnavailable(f"the archive did not open in {self._timeout:g} s")
        return opening.result()

    async def events(self, subjects: Sequence[str]) -> list[str]:
        """The archived events of these digests, in JSON, oldest first.

        Raises:
            RecordsUnavailable: the archive cannot be read.

        """
        database = (await self.stores()).database
        # Late, for it loads the database's library.
        events = import_module("gateway.records.events")
        found: list[str] = await events.EventArchive(database).of(subjects)
        return found

    async def aclose(self) -> None:
        """Let what runs end, within the timeout, and close the archive if it was opened."""
        self._closed = True
        if self._opening is not None:
            await asyncio.wait({self._opening}, timeout=self._timeout)
        if self._stores is not None:
            await self._stores.database.aclose()

    async def _open(self) -> Stores:
        # In a thread: the loop has its turns while the library is read and made.
        database_class, contents_class, held_class = await asyncio.to_thread(_load, self._place)
        try:
            database = await database_class.open(self._place, timeout=self._timeout, create=False)
        except InputError as error:
            # Not the client's fault: the file was exchanged since the start.
            raise RecordsUnavailable(str(error)) from None
        contents = contents_class(database, self._sealer)
        return Stores(database, contents, held_class(database, self._sealer, contents))

    def _opened(self, opening: asyncio.Task[Stores]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            self._stores = opening.result()


def _load(place: Path | str) -> tuple[type[Database], type[ContentStore], type[HeldStore]]:
    from gateway.held.store import HeldStore
    from gateway.records.content import ContentStore
    from gateway.records.database import Database

    # Else loaded by the first connection, in the loop.
    in_file = isinstance(place, Path)
    import_module(f"sqlalchemy.dialects.{'sqlite.aiosqlite' if in_file else 'postgresql.asyncpg'}")
    # It lives as long as the process; to look it through for garbage takes 15 ms a time.
    gc.freeze()
    return Database, ContentStore, HeldStore


class ShelvedContents:
    """:class:`~gateway.records.content.ContentStore` of a shelf, which says what each does."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def put(self, content_id: str, pieces: AsyncIterable[bytes]) -> str:
        """Store the octets under a new id; raises RecordsUnavailable."""
        return await (await self._shelf.stores()).contents.put(content_id, pieces)

    async def open(self, content_id: str) -> AsyncIterator[bytes]:
        """The octets again; raises ContentMissing, RecordsUnavailable."""
        async for piece in (await self._shelf.stores()).contents.open(content_id):
            yield piece

    async def delete(self, content_id: str) -> None:
        """Remove a content, if it is there; raises RecordsUnavailable."""
        await (await self._shelf.stores()).contents.delete(content_id)


class ShelvedHeld:
    """:class:`~gateway.held.store.HeldStore` of a shelf, which says what each method does.

    Every method raises RecordsUnavailable.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def prepare(self, message: HeldMessage) -> str:
        """Store the message, not yet to be released; its id."""
        return await (await self._shelf.stores()).held.prepare(message)

    async def keep(self, *held_ids: str) -> None:
        """Nothing but :meth:`revoke` takes them away any more."""
        await (await self._shelf.stores()).held.keep(*held_ids)

    async def commit(self, *held_ids: str) -> None:
        """The messages wait for a person or their time."""
        await (await self._shelf.stores()).held.commit(*held_ids)

    async def adopt(self, *held_ids: str) -> bool:
        """:meth:`commit` what an earlier request stored; whether all is there."""
        return await (await self._shelf.stores()).held.adopt(*held_ids)

    async def revoke(self, *held_ids: str) -> int:
        """Forget messages that nobody has acted on; how many."""
        return await (await self._shelf.stores()).held.revoke(*held_ids)

    async def list(
        self,
        states: Collection[State] = (State.HELD, State.RELEASING, State.UNCERTAIN),
        *,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Held]:
        """The messages in these states, the newest first."""
        return await (await self._shelf.stores()).held.list(states, limit=limit, before=before)

    async def get(self, held_id: str) -> Held:
        """One message in whatever state; raises HeldStateError when there is none."""
        return await (await self._shelf.stores()).held.get(held_id)

    async def open_content(self, held_id: str) -> AsyncIterator[bytes]:
        """The message's octets; raises HeldStateError, ContentMissing."""
        async for piece in (await self._shelf.stores()).held.open_content(held_id):
            yield piece

    async def due(
        self, now: int, limit: int, without: Collection[str] = ()
    ) -> Sequence[tuple[str, str]]:
        """Messages whose time has come and their clients."""
        return await (await self._shelf.stores()).held.due(now, limit, without)

    async def claim(
        self, held_id: str, *, of: State = State.HELD, until: int | None = None
    ) -> Held:
        """Begin to release; raises HeldStateError."""
        return await (await self._shelf.stores()).held.claim(held_id, of=of, until=until)

    async def hand_over(self, held_id: str, reason: str, rest: HeldMessage | None = None) -> None:
        """Give a claim back, to a person; raises HeldStateError."""
        await (await self._shelf.stores()).held.hand_over(held_id, reason, rest)

    async def put_off(self, held_id: str, until: int, rest: HeldMessage | None = None) -> None:
        """Give a claim back until another time; raises HeldStateError."""
        await (await self._shelf.stores()).held.put_off(held_id, until, rest)

    async def doubt(self, held_id: str, reason: str) -> None:
        """End a claim whose message may have left; raises HeldStateError."""
        await (await self._shelf.stores()).held.doubt(held_id, reason)

    async def unclaim(self, held_id: str) -> None:
        """Give a claim back; raises HeldStateError."""
        await (await self._shelf.stores()).held.unclaim(held_id)

    async def mark_released(self, held_id: str, by: str, reason: str, at: int) -> None:
        """It was sent on at ``at`` (ms); raises HeldStateError."""
        await (await self._shelf.stores()).held.mark_released(held_id, by, reason, at)

    async def mark_stopped(self, held_id: str, by: str, reason: str, at: int) -> None:
        """Nobody may have it any more; raises HeldStateError."""
        await (await self._shelf.stores()).held.mark_stopped(held_id, by, reason, at)
