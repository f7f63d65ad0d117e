"""Carries out the imports that were handed over by the API, one after the other.

Beside what is asked of the API, in the same process: the rows are read in threads and the
register is written as any import writes it.  A process that is killed leaves its job to
the next, which begins again; since an import only adds, that ends as if it had been done
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from gateway.failure import GatewayError, InputError, RecordsUnavailable, RegisterUnavailable
from gateway.records.identifier import new_id
from gateway.records.intake import ImportJob, Intake, JobState, Options, Report
from gateway.records.seal import SealError
from gateway.register.importing import ImportResult, import_file
from gateway.register.register import Register
from gateway.register.table import Given

log = structlog.get_logger(__name__)

_BEAT: Final = 1.0
"""Seconds between words of a job's progress; far below the lease."""
_LOOK: Final = 5.0
"""Seconds between looks for a job that another process left."""
_LIST: Final = "the list"
_named = re.compile(r"""['"][^'"]*(?:@|[0-9]{5,})""").search


class Importer:
    """Takes lists, tells how far they are, and carries them out while it runs."""

    def __init__(
        self, intake: Intake, register: Register, drain: Callable[[], Awaitable[int]]
    ) -> None:
        self._intake = intake
        self._register = register
        self._drain = drain
        self._owner = new_id()
        self._more = asyncio.Event()
        self._under_way: tuple[str, ImportResult] | None = None

    # -- what the API asks ------------------------------------------------------------

    async def begin(self, account: str, octets: bytes, options: Options) -> ImportJob:
        """Keep a list, sealed, for its turn; raises Overloaded when too many wait."""
        job = await self._intake.add(account, octets, options)
        self._more.set()
        return job

    async def index(self, limit: int) -> Sequence[ImportJob]:
        """The newest ones."""
        return await self._intake.index(limit)

    async def get(self, job_id: str) -> ImportJob:
        """One of them; raises JobMissing."""
        return await self._intake.get(job_id)

    async def cancel(self, job_id: str) -> ImportJob:
        """End one that waits or runs; what is applied stays.  Raises JobMissing."""
        return await self._intake.cancel(job_id)

    # -- carrying out -----------------------------------------------------------------

    async def run(self) -> None:
        """Carry out job after job until cancelled; a job under way begins again later."""
        while True:
            self._more.clear()
            pause = _LOOK
            try:
                claimed = await self._intake.claim(self._owner)
                if claimed is not None:
                    pause = await self._carry_out(*claimed)
            except RecordsUnavailable as error:
                log.error("imports_not_carried_out", cause=str(error))
            except Exception:
                log.exception("imports_not_carried_out")
            with contextlib.suppress(TimeoutError):
                if pause:
                    await asyncio.wait_for(self._more.wait(), pause)

    async def _carry_out(self, job: ImportJob, sealed: bytes | None) -> float:
        """Carry one out; seconds to wait before the next."""
        result = ImportResult()
        try:
            octets = await self._intake.open(job.id, sealed or b"")
        except SealError:
            cause = "its rows cannot be opened: the content key they were sealed under is gone"
            await self._intake.end(job.id, self._owner, JobState.FAILED, Report(cause=cause))
            return 0
        work = asyncio.ensure_future(self._import(job, octets, result))
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=_BEAT)
                if not await self._intake.beat(job.id, self._owner, _report(result)):
                    work.cancel()
                    await asyncio.wait({work})
                    await self._intake.note(job.id, self._owner, _report(result))
                    log.info("import_cancelled", job=job.id, rows=result.written)
                    return 0
            return await self._end(job, work, result)
        except asyncio.CancelledError:
            await self._stopped(job, work, result)
            raise
        finally:
            if not work.done():
                work.cancel()
                await asyncio.wait({work})

    async def _stopped(
        self, job: ImportJob, work: asyncio.Future[None], result: ImportResult
    ) -> None:
        """The process ends: leave the job to the next one, without its lease."""
        work.cancel()
        await asyncio.wait({work})
        report = _report(result, "the gateway was stopped meanwhile; it is begun again")
        with contextlib.suppress(GatewayError):
            await self._intake.yield_up(job.id, self._owner, report)

    async def _import(self, job: ImportJob, octets: bytes, result: ImportResult) -> None:
        options = job.options
        await import_file(
            Given(_LIST, octets),
            self._register,
            actor=job.account,
            source=options.source,
            mapping=options.columns,
            region=options.region,
            skip_bad=options.skip_bad,
            drain=self._drain,
            # The time when it was handed over, however often it is begun.
            clock=lambda: job.created,
            result=result,
        )

    async def _end(self, job: ImportJob, work: asyncio.Future[None], result: ImportResult) -> float:
        """Write down what came of it."""
        cause, state = "", JobState.DONE if result.applied else JobState.REFUSED
        try:
            work.result()
            if not result.applied:
                cause = "rows are bad and nothing is applied; mend them or skip them (skip_bad)"
        except (RegisterUnavailable, RecordsUnavailable) as error:
            log.warning("import_waits", job=job.id, cause=str(error))
            report = _report(result, "the register or the archive is away; it is begun again")
            await self._intake.yield_up(job.id, self._owner, report)
            return _LOOK
        except InputError as error:
            cause, state = _plain(str(error)), JobState.REFUSED
        except GatewayError as error:
            log.error("import_failed", job=job.id, cause=str(error))
            cause, state = error.line, JobState.FAILED
        except Exception:
            log.exception("import_failed", job=job.id)
            cause, state = "a fault of the gateway's; its log tells more", JobState.FAILED
        if not await self._intake.end(job.id, self._owner, state, _report(result, cause)):
            # It was cancelled in the last moment: what it did is still to be told.
            await self._intake.note(job.id, self._owner, _report(result))
        log.info("import_ended", job=job.id, state=state, rows=result.written)
        return 0


def _report(result: ImportResult, cause: str = "") -> Report:
    return Report(
        rows=result.rows,
        done=result.written,
        contacts=result.contacts,
        changed=result.changed,
        unchanged=result.unchanged,
        bad=result.bad_count,
        bad_rows=tuple((bad.line, bad.column, bad.cause) for bad in result.bad),
        warnings=tuple(map(_plain, result.warnings)),
        cause=cause,
    )


def _plain(text: str) -> str:
    """A failure's words, unless they repeat what may be a contact: a list without a header."""
    text = text.removeprefix(f"{_LIST}: ")
    if _named(text):
        return "a column's name looks like an address or a number; begin with a line of names"
    return text
