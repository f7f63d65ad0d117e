"""Hashed lists: files of hashes into the register, or into memory.

A file has one hash a line, in hex or base64, or is a CSV of which one column is named.
It is checked whole before a change, as every import is.  The ban of a hash is an
ordinary entry; nobody learns whose it is until a message is to go there.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from gateway.contacts.contact import Contact
from gateway.contacts.hashed import Scheme, read_hash
from gateway.contacts.hashset import HashSet
from gateway.entry.event import Event
from gateway.failure import InputError
from gateway.register.importing import EVENTS_WAITING, Drain
from gateway.register.register import Register
from gateway.register.schemes import LASTS

BAD_ROWS_KEPT = 100
IN_MEMORY_MOST = 20_000_000
"""Hashes that a list may have that is held in memory: some 400 MB."""
_BATCH = 4096
_LINE_OCTETS = 65_536
_COUNTED = 100_000
"""Hashes that are written before the events that wait are counted again."""
_PAUSE = 1.0
_SHORT = "\0"
"""Stands for the hash of a CSV row that has too few cells."""
_heading = re.compile(r"[A-Za-z][A-Za-z0-9_ -]{0,40}").fullmatch

Progress = Callable[[int], None]
"""Hears the octets read so far, over all passes."""


@dataclass(frozen=True, slots=True)
class BadHash:
    """Why a line is no hash; the line is not repeated, for it may be an address."""

    line: int
    cause: str


@dataclass(slots=True)
class HashedResult:
    """What an import of a hashed list did.

    ``rows`` good lines, of which ``new`` were new to the register or changed it.  ``bad``
    holds the first hundred of ``bad_count`` bad lines.  ``applied`` is False when bad
    lines kept everything from being applied.  ``scheme`` is the name under which the
    hashes are kept, ``heading`` whether the first line was taken for one.
    """

    rows: int = 0
    new: int = 0
    bad: list[BadHash] = field(default_factory=list)
    bad_count: int = 0
    applied: bool = False
    scheme: str = ""
    heading: bool = False


@dataclass(slots=True)
class HashFile:
    """One reading of a file of hashes of so many octets; what it has read grows."""

    path: Path
    size: int
    column: str | None = None
    """The CSV column with the hashes; None: each line is a hash."""
    octets: int = 0
    heading: bool = False
    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    """SHA-256 of what was read."""

    def hashes(self) -> Iterator[bytes | BadHash]:
        """Yield the file's hashes, and what is wrong with other lines that are not blank.

        Raises InputError for a file that cannot be read, is not UTF-8, or lacks the
        column.
        """
        cells = self._lines() if self.column is None else self._cells(self.column)
        for number, text in cells:
            if not text:
                continue
            value = read_hash(text, self.size)
            if value is not None:
                yield value
            elif number == 1 and self.column is None and _heading(text):
                self.heading = True
            else:
                yield BadHash(number, self._cause(text))

    def _cause(self, text: str) -> str:
        if text == _SHORT:
            return "the row ends before the column with the hashes"
        if "@" in text:
            return "an address in the clear, not its hash; `register import` takes those"
        return f"not a hash of {self.size} octets in hex or base64"

    def _lines(self) -> Iterator[tuple[int, str]]:
        for number, text in self._texts():
            yield number, text.strip().strip('"')

    def _cells(self, column: str) -> Iterator[tuple[int, str]]:
        texts = self._texts()
        first = next(texts, (1, ""))
        delimiter = max(",;\t", key=first[1].count)
        header = next(csv.reader([first[1]], delimiter=delimiter), [])
        names = [name.strip().casefold() for name in header]
        if names.count(column.casefold()) != 1:
            raise InputError(f"{self.path}: not exactly one column is called {column!r}")
        place = names.index(column.casefold())
        number = 1

        def lines() -> Iterator[str]:
            nonlocal number
            for number, text in texts:  # noqa: B007 - told to the loop below
                yield text

        try:
            begin = number + 1
            for row in csv.reader(lines(), delimiter=delimiter, strict=True):
                text = row[place].strip() if place < len(row) else ""
                if place >= len(row) and any(cell.strip() for cell in row):
                    text = _SHORT
                if "\n" in text:
                    # Left out as one bad row it would take the bans behind it along.
                    raise InputError(
                        f"{self.path}, line {begin}: a quote is not closed, so that what follows, "
                        f"up to line {number}, would be lost with it: close the quote"
                    )
                yield number, text
                begin = number + 1
        except csv.Error as error:
            raise InputError(f"{self.path}, line {number}: not CSV ({error})") from None

    def _texts(self) -> Iterator[tuple[int, str]]:
        number = 0
        try:
            with self.path.open("rb") as file:
                while octets := file.readline(_LINE_OCTETS):
                    number += 1
                    self.octets += len(octets)
                    self.digest.update(octets)
                    if len(octets) == _LINE_OCTETS:
                        raise InputError(f"{self.path}, line {number}: longer than 64 KiB")
                    if number == 1:
                        octets = octets.removeprefix(b"\xef\xbb\xbf")
                    yield number, octets.decode()
        except UnicodeDecodeError:
            raise InputError(f"{self.path}, line {number}: not UTF-8 text") from None
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from error


async def import_hashed(
    path: Path,
    register: Register,
    scheme: Scheme,
    ban: Event,
    *,
    column: str | None = None,
    skip_bad: bool = False,
    progress: Progress | None = None,
    drain: Drain | None = None,
) -> HashedResult:
    """Ban whoever has a hash of the file; see the module.

    ``ban`` is what is said of each of them.  With ``drain`` the import waits while more
    than a million events are not archived.  When this returns with ``applied``, every
    look-up of every process sees all of it.

    Raises InputError for a file that cannot be read, RegisterUnavailable when the
    register fails in between: what was applied stays, and importing again completes it.
    """
    loop = asyncio.get_running_loop()
    result = HashedResult()
    size = scheme.algorithm.octets
    before = _state(path)
    file = HashFile(path, size, column)
    found = file.hashes()
    while batch := await asyncio.to_thread(list, islice(found, _BATCH)):
        for one in batch:
            if isinstance(one, bytes):
                result.rows += 1
                continue
            result.bad_count += 1
            if len(result.bad) < BAD_ROWS_KEPT:
                result.bad.append(one)
        if progress is not None:
            progress(file.octets)
    result.heading = file.heading
    if not result.rows and not result.bad_count:
        raise InputError(f"{path}: there is no hash in it")
    if result.bad_count and not skip_bad:
        return result
    if _state(path) != before:
        raise InputError(f"{path}: the file changed while it was read; import it again")
    # Before the first ban: a process that knows of the scheme asks for nothing yet.
    scheme = await register.schemes.add(scheme)
    added_at = loop.time()
    result.scheme = scheme.name
    evidence = f"{result.rows} hashes, SHA-256 of the file {file.digest.hexdigest()}"
    await register.hashed.announce(scheme, ban.actor, ban.source, evidence)
    again = HashFile(path, size, column)
    found = again.hashes()
    writing = _Writing(register, scheme, ban, drain)
    under_way: asyncio.Task[int] | None = None
    try:
        # The file is read on while the register writes.
        while batch := await asyncio.to_thread(list, islice(found, _BATCH)):
            if under_way is not None:
                result.new += await under_way
            values = list(dict.fromkeys([one for one in batch if isinstance(one, bytes)]))
            under_way = asyncio.create_task(writing.write(values))
            if progress is not None:
                progress(file.octets + again.octets)
        if under_way is not None:
            result.new += await under_way
    finally:
        if under_way is not None:
            under_way.cancel()
            await asyncio.gather(under_way, return_exceptions=True)
    await asyncio.sleep(added_at + LASTS - loop.time())
    await register.settle()
    result.applied = True
    return result


class _Writing:
    """Hashes into the register; waits while too many events are not archived."""

    def __init__(self, register: Register, scheme: Scheme, ban: Event, drain: Drain | None) -> None:
        self._register = register
        self._scheme = scheme
        self._ban = ban
        self._drain = drain
        self._uncounted = 0

    async def write(self, values: list[bytes]) -> int:
        """Write hashes; returns how many were new."""
        new = await self._register.hashed.ban(self._ban, self._scheme, values)
        self._uncounted += new
        if self._drain is not None and self._uncounted > _COUNTED:
            while await self._register.waiting() > EVENTS_WAITING:
                if not await self._drain():
                    await asyncio.sleep(_PAUSE)
            self._uncounted = 0
        return new


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return state.st_size, state.st_mtime_ns


@dataclass(slots=True)
class Against:
    """A hashed list in memory, to ask whether it names a contact."""

    scheme: Scheme
    values: HashSet = field(default_factory=HashSet)

    @classmethod
    def load(cls, path: Path, scheme: Scheme, column: str | None = None) -> Against:
        """Read a whole file.

        Raises InputError for a file that cannot be read, with a line that is no hash,
        or with more than :data:`IN_MEMORY_MOST` hashes.
        """
        against = cls(scheme)
        add = against.values.add
        for one in HashFile(path, scheme.algorithm.octets, column).hashes():
            if isinstance(one, BadHash):
                raise InputError(f"{path}, line {one.line}: {one.cause}")
            add(one)
            if len(against.values) > IN_MEMORY_MOST:
                raise InputError(
                    f"{path}: more than {IN_MEMORY_MOST} hashes; take it in with "
                    "`register import-hashed` and wash without --against"
                )
        if not against.values:
            raise InputError(f"{path}: there is no hash in it")
        return against

    def names(self, contact: Contact) -> bool:
        """Whether the list has a hash of the contact, in any of its spellings."""
        return any(value in self.values for value in self.scheme.hashes(contact))
