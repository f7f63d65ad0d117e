"""Who signs the chain, and when: after so many minutes or rows, and at the end."""

from __future__ import annotations

import asyncio

import structlog

from gateway.clock import Clock, now_ms
from gateway.failure import GatewayError
from gateway.records.archive import Archive
from gateway.records.checkpoint import Checkpoint, CheckpointFile
from gateway.records.signing import Signer

log = structlog.get_logger(__name__)


class Checkpointer:
    """Signs the end of an archive's chain into the archive and beside it.

    ``every``: milliseconds, ``rows``: journal rows, after which it is due.
    """

    def __init__(
        self,
        archive: Archive,
        signer: Signer,
        file: CheckpointFile | None = None,
        *,
        every: int = 600_000,
        rows: int = 100_000,
        clock: Clock = now_ms,
    ) -> None:
        self._archive = archive
        self._signer = signer
        self._file = file
        self._every = every
        self._rows = rows
        self._clock = clock
        self._due_at = 0
        self._counted = 0
        self._noted: int | None = None
        """Up to where the file has all; None: it has not been read."""
        self._failing = False

    async def turn(self, rows: int) -> None:
        """Sign if it is due, after ``rows`` more were added; raises RecordsUnavailable."""
        self._counted += rows
        if self._counted < self._rows and self._clock() < self._due_at:
            return
        await self.now()

    async def now(self) -> Checkpoint | None:
        """Sign the end of the chain; the last checkpoint, None of an empty archive.

        What has been signed already is not signed again.  That the file cannot be
        written is logged, and what it lacks written the next time.  Raises
        RecordsUnavailable.
        """
        made = await self._archive.checkpoint(self._signer, self._clock())
        if made is not None:
            self._counted = 0
            self._due_at = self._clock() + self._every
            try:
                await self.note(made)
                self._failing = False
            except GatewayError as error:
                if not self._failing:
                    log.error("checkpoint_not_noted", cause=str(error))
                self._failing = True
        return made

    async def note(self, made: Checkpoint) -> None:
        """Write into the file what it lacks up to this one.

        Raises InputError for a file that is none of checkpoints, RecordsUnavailable.
        """
        file, noted = self._file, self._noted
        if file is None:
            return
        if noted is None:
            there = await asyncio.to_thread(file.read)
            # Of an archive that was restored the file knows later ones: it keeps them.
            noted = max((one.seq for one in there if one.seq <= made.seq), default=0)
        missing = await self._archive.checkpoints(after=noted)
        await asyncio.to_thread(file.append, missing)
        self._noted = made.seq
