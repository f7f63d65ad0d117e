"""The folder of a ``file`` tool: files that are dropped, and those that others fetch.

``in/NAME.csv`` is taken when nobody writes it any more: a name that begins with a dot or
ends in ``.part`` is left alone, and any other when its size and time stay the same for a
while.  It is checked whole before anything of it counts: one bad line, and it moves to
``in/refused`` with a text beside it that names the lines.  Otherwise its rows are told a
thousand at a time, and it moves to ``in/done`` when more are asked for, which is when
what was told is in force.  A file that changes meanwhile is told from its beginning
again, as is one in which a crash came: the same entries again do no harm.

``out/suppressions-TIME.csv`` has what was put there at one time; it is written beside its
name and takes it when it is whole and on the disk.

It is asked as a tool is, and answers in its place.
"""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, NamedTuple
from urllib.parse import parse_qs, quote, unquote_to_bytes

import orjson
import structlog

from gateway.clock import Clock, now_ms
from gateway.connector.connector import Connector, ToolRefused, ToolUnreadable
from gateway.connector.file import IN, OUT, complaints_of, rows_in, sheet_of
from gateway.connector.topics import Topics
from gateway.draft import draft_of, open_draft
from gateway.failure import InputError
from gateway.provider.request import Answer, Request, json_answer
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync.session import Session

log = structlog.get_logger(__name__)

ROWS: Final = 1000
"""Rows that are told at once."""
FILE_MOST: Final = 256 * 1024 * 1024
"""Octets of a file at the most."""
SETTLED: Final = 3.0
"""Seconds for which a file must stay as it is before it is taken for whole."""
_END: Final = -1


class _Place(NamedTuple):
    """How far a file was told: its rows, and what it was like."""

    row: int
    """The next row; -1: all were told."""
    size: int
    time: int
    name: str

    def __str__(self) -> str:
        # A name is octets: one that somebody wrote in Latin-1 is no text.
        name = quote(os.fsencode(self.name), safe="")
        return f"{self.row}.{self.size}.{self.time}.{name}"

    @classmethod
    def read(cls, text: str) -> _Place | None:
        """What ``str`` wrote; None where it is something else."""
        try:
            row, size, time, name = text.split(".", 3)
            return cls(int(row), int(size), int(time), os.fsdecode(unquote_to_bytes(name)))
        except ValueError:
            return None


class _Open(NamedTuple):
    """A file that is being told."""

    place: _Place
    handle: IO[str]
    rows: Iterator[tuple[int, dict[str, str]]]


class Folder(Session):
    """The folder of one tool.  One process at a time works on it, by the tool's lease.

    Raises InputError where the settings name no folder.
    """

    def __init__(
        self,
        tool: SyncTool,
        connector: Connector,
        clock: Clock = now_ms,
        settled: float = SETTLED,
    ) -> None:
        super().__init__(tool, connector, clock)
        where = f"sync.tools {tool.name}: folder"
        if tool.folder is None:
            raise InputError(f"{where} is not set; write the folder in which in and out are")
        self._where = where
        self._name = tool.name
        self._in = tool.folder / "in"
        self._done = self._in / "done"
        self._refused = self._in / "refused"
        self._out = tool.folder / "out"
        self._topics = Topics(connector.place)
        self._settled = settled
        self._open: _Open | None = None

    async def aclose(self) -> None:
        """Let go of the file that is being told."""
        async with self._turn:
            await asyncio.to_thread(self._close)

    async def ask(self, request: Request) -> Answer:
        """The folder's answer; raises ToolRefused where the files cannot be worked on."""
        async with self._turn:
            self.requests += 1
            try:
                if (request.method, request.path) == ("GET", IN):
                    return await self._tell(request)
                if (request.method, request.path) == ("POST", OUT):
                    return await asyncio.to_thread(self._write, request)
            except OSError as error:
                raise ToolRefused(
                    f"{self._where} cannot be worked on ({type(error).__name__}); see that it is "
                    "there and that the gateway's user may write in it"
                ) from None
        return Answer(404)

    # -- in -----------------------------------------------------------------------

    async def _tell(self, request: Request) -> Answer:
        [after] = parse_qs(request.query, keep_blank_values=True).get("after", [""])
        place = await asyncio.to_thread(self._kept, _Place.read(after))
        while place is None:
            before = await asyncio.to_thread(self._dropped)
            if not before:
                return Answer(204)
            await asyncio.sleep(self._settled)
            place = await asyncio.to_thread(self._chosen, before)
            if place is None:
                return Answer(204)
            if not await asyncio.to_thread(self._good, place):
                raise ToolRefused(
                    f"{self._where}: a file cannot be read and was moved to in/refused; "
                    "see the text beside it, and drop it again when it is mended"
                )
        return await asyncio.to_thread(self._page, place)

    def _kept(self, place: _Place | None) -> _Place | None:
        """Where to go on in the file that was being told; None where it is done with."""
        if place is None or not _plain(place.name):
            return None
        now = self._like(place.name)
        if now is None:
            return None
        if (now.size, now.time) != (place.size, place.time):
            # Somebody writes it: it is told from its beginning when it is whole.
            self._close()
            return None
        if place.row == _END:
            self._close()
            self._move(place.name, self._done)
            return None
        return place

    def _dropped(self) -> dict[str, _Place]:
        """The files that somebody dropped."""
        for folder in (self._done, self._refused, self._out):
            _make(folder)
        names = [name for name in os.listdir(self._in) if _plain(name)]  # noqa: PTH208
        found = {name: self._like(name) for name in names}
        return {name: place for name, place in found.items() if place is not None}

    def _chosen(self, before: dict[str, _Place]) -> _Place | None:
        """The oldest of those that nobody writes any more."""
        now = self._dropped()
        settled = [place for name, place in now.items() if before.get(name) == place]
        return min(settled, key=lambda place: (place.time, place.name), default=None)

    def _like(self, name: str) -> _Place | None:
        """What a file is like now, at its beginning; None where it is no file."""
        try:
            found = (self._in / name).lstat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            return None
        return _Place(0, found.st_size, found.st_mtime_ns, name)

    def _good(self, place: _Place) -> bool:
        """Whether a file can be read to its end; one that cannot is moved."""
        self._close()
        if place.size > FILE_MOST:
            told, count = [f"larger than {FILE_MOST} octets; divide it"], 1
        else:
            with self._opened(place.name) as handle:
                complaints, count = complaints_of(handle, self._topics)
            told = [str(one) for one in complaints]
        if not count:
            return True
        if count > len(told):
            told.append(f"and {count - len(told)} more")
        moved = self._move(place.name, self._refused)
        report = moved.with_name(moved.name + ".txt")
        with open_draft(report) as draft:
            draft.write("".join(f"{line}\n" for line in told))
        draft_of(report).replace(report)
        log.error("file_refused", tool=self._name, complaints=count)
        return False

    def _page(self, place: _Place) -> Answer:
        rows = self._rows(place)
        try:
            page = [row for _, row in islice(rows.rows, ROWS)]
        except ValueError:
            # It was good, and somebody is writing it.
            self._close()
            raise ToolUnreadable(f"{self._where}: a file changes while it is read") from None
        at = place.row + len(page) if len(page) == ROWS else _END
        then = place._replace(row=at)
        self._open = rows._replace(place=then)
        return json_answer(200, {"rows": page, "cursor": str(then)})

    def _rows(self, place: _Place) -> _Open:
        """The file at its next row; opened anew where it is not the one that is open."""
        if self._open is not None and self._open.place == place:
            return self._open
        self._close()
        handle = self._opened(place.name)
        rows = rows_in(handle)
        self._open = _Open(place, handle, rows)
        for _ in islice(rows, place.row):
            pass
        return self._open

    def _opened(self, name: str) -> IO[str]:
        flags = os.O_RDONLY | os.O_NOFOLLOW
        return os.fdopen(os.open(self._in / name, flags), encoding="utf-8", newline="")

    def _close(self) -> None:
        if self._open is not None:
            self._open.handle.close()
            self._open = None

    def _move(self, name: str, folder: Path) -> Path:
        """Move a file that is done with; beside one of the same name, not over it."""
        target = folder / name
        if target.exists():
            target = _free(folder, f"{name.removesuffix('.csv')}-{self._time()}")
        (self._in / name).rename(target)
        return target

    # -- out ----------------------------------------------------------------------

    def _write(self, request: Request) -> Answer:
        entries: list[dict[str, Any]] = orjson.loads(request.body)["entries"]
        _make(self._out)
        target = _free(self._out, f"suppressions-{self._time()}")
        with open_draft(target) as draft:
            draft.write(sheet_of(entries))
            draft.flush()
            # Whoever fetches it is of the folder's group.
            os.fchmod(draft.fileno(), 0o640)
            os.fsync(draft.fileno())
        draft_of(target).replace(target)
        folder = os.open(self._out, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return json_answer(201, {"file": target.name})

    def _time(self) -> str:
        return datetime.fromtimestamp(self._clock() / 1000, UTC).strftime("%Y%m%dT%H%M%S")


def session_of(tool: SyncTool, connector: Connector) -> Session:
    """What answers a tool's connector: the tool, or the folder."""
    return (Folder if tool.kind is ToolKind.FILE else Session)(tool, connector)


def _make(folder: Path) -> None:
    """Make a folder where there is none; raises OSError where a link leads elsewhere."""
    folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    if folder.is_symlink():
        raise NotADirectoryError(folder)


def _plain(name: str) -> bool:
    """Whether it is the name of a file that is to be taken."""
    return name.endswith(".csv") and not name.startswith(".") and "/" not in name


def _free(folder: Path, name: str) -> Path:
    """A name that no file in the folder has."""
    target = folder / f"{name}.csv"
    number = 1
    while target.exists():
        number += 1
        target = folder / f"{name}-{number}.csv"
    return target
