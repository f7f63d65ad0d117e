"""Split a mailing list by what the rules would say of each row now.

The rows stream: at most two times :data:`BATCH` are in memory, and each batch is one
round trip to the register, during which the batch before is written.  Both outputs are
written beside their names and put in place only when the whole list is through, so that
nothing half-washed can be mailed.
"""

from __future__ import annotations

import asyncio
import csv
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO, Protocol

from gateway.contacts.contact import Channel, Contact, ContactError
from gateway.contacts.email import parse_email, parse_emails
from gateway.contacts.phone import parse_phone
from gateway.decision.facts import Outcome
from gateway.decision.rule import RuleSet
from gateway.draft import draft_of, open_draft
from gateway.failure import InputError, RegisterUnavailable
from gateway.gate import Gate, Verdict
from gateway.message.traits import Traits

BATCH = 1000
_LINE_OCTETS = 1 << 20
_NAMED = "a hashed list names it"
_ADDED = ("gateway_outcome", "gateway_rule", "gateway_reason")
_NAMES = {
    Channel.EMAIL: ("email", "e-mail", "email address", "sähköposti", "e-post", "mail"),
    Channel.SMS: ("phone", "mobile", "puhelin", "telefon", "msisdn", "number"),
}


class _Reader(Protocol):
    """What ``csv.reader`` makes."""

    @property
    def line_num(self) -> int: ...

    def __iter__(self) -> Iterator[list[str]]: ...

    def __next__(self) -> list[str]: ...


class _Writer(Protocol):
    """What ``csv.writer`` makes."""

    def writerows(self, rows: Iterable[list[str]], /) -> object: ...


Progress = Callable[[int], None]
"""Called with the octets read so far."""


@dataclass(slots=True)
class WashResult:
    """How the list was split; ``rules`` counts the rows by rule."""

    may_go: int = 0
    may_not_go: int = 0
    unreadable: int = 0
    named: int = 0
    """Rows that a hashed list names; the rules were not asked about them."""
    rules: Counter[str] = field(default_factory=Counter)


async def wash_file(
    source: Path,
    may_go: Path,
    may_not_go: Path,
    *,
    gate: Gate,
    rules: RuleSet,
    traits: Traits,
    traits_for: Callable[[Contact], Traits] | None = None,
    against: Callable[[Contact], bool] | None = None,
    column: str | None = None,
    region: str | None = None,
    language: str = "en",
    progress: Progress | None = None,
) -> WashResult:
    """Wash a CSV list; a row without a readable address may not go.

    ``traits_for``: what a contact is judged with, where they differ (quiet hours).
    ``against``: whether a contact may not go whatever the register says.

    A row with more cells than the header may not go either: nobody can say what the
    last ones are.

    Raises:
        InputError: the file cannot be read, is not UTF-8 or no CSV, has no such column
            or two of them, would be overwritten by an output, or another command writes
            one of these.
        RegisterUnavailable: the register went away; no output is written.

    """
    result = WashResult()
    if len({path.resolve() for path in (source, may_go, may_not_go)}) < 3:
        raise InputError(f"{source}: the list and its two outputs must be three files")
    drafts = [draft_of(path) for path in (may_go, may_not_go)]
    try:
        with (
            source.open("rb") as octets,
            _drafted(may_go) as go,
            _drafted(may_not_go) as stop,
        ):
            reader, dialect = _reader(octets, source)
            header = next(_rows(reader, source), None)
            if not header:
                raise InputError(f"{source}: empty; its first line must name the columns")
            place = _column(header, traits.channel, column, source)
            go_writer = csv.writer(go, dialect)
            stop_writer = csv.writer(stop, dialect)
            go_writer.writerow(header)
            stop_writer.writerow([*header, *_ADDED])
            told = _Told(len(header), go_writer, stop_writer, language, result)
            judging: asyncio.Task[list[Verdict]] | None = None
            try:
                before: tuple[list[list[str]], list[Contact | str]] = ([], [])
                for batch in chain(_batches(reader, source), [[]]):
                    contacts = _contacts(batch, place, len(header), traits.channel, region)
                    if against is not None:
                        contacts = [_unless_named(one, against) for one in contacts]
                    verdicts = [] if judging is None else await judging
                    known = [one for one in contacts if isinstance(one, Contact)]
                    judging = asyncio.create_task(_judged(gate, rules, traits, traits_for, known))
                    # The register is asked about these while those before are written.
                    await asyncio.sleep(0)
                    told.write(*before, verdicts)
                    before = batch, contacts
                    if progress is not None:
                        progress(octets.tell())
            finally:
                if judging is not None:
                    judging.cancel()
                    await asyncio.gather(judging, return_exceptions=True)
            for file in (go, stop):
                file.flush()
            drafts[0].replace(may_go)
            drafts[1].replace(may_not_go)
    except OSError as error:
        raise InputError(f"{error.filename or source}: {error.strerror}") from None
    return result


@contextmanager
def _drafted(target: Path) -> Iterator[IO[str]]:
    """A draft that is gone if anything fails before it is put in place."""
    with open_draft(target) as file:
        try:
            yield file
        except BaseException:
            draft_of(target).unlink(missing_ok=True)
            raise


def _unless_named(contact: Contact | str, against: Callable[[Contact], bool]) -> Contact | str:
    return _NAMED if isinstance(contact, Contact) and against(contact) else contact


async def _judged(
    gate: Gate,
    rules: RuleSet,
    traits: Traits,
    traits_for: Callable[[Contact], Traits] | None,
    contacts: list[Contact],
) -> list[Verdict]:
    """One verdict for each contact; contacts of the same traits share a round trip."""
    if traits_for is None:
        return await gate.judge(traits, contacts, rules)
    alike: dict[Traits, list[int]] = {}
    for place, contact in enumerate(contacts):
        alike.setdefault(traits_for(contact), []).append(place)
    found: dict[int, Verdict] = {}
    for own, places in alike.items():
        some = await gate.judge(own, [contacts[place] for place in places], rules)
        found.update(zip(places, some, strict=True))
    return [found[place] for place in range(len(contacts))]


class _Told:
    """Writes rows as they were judged, and counts them."""

    def __init__(
        self, cells: int, go: _Writer, stop: _Writer, language: str, result: WashResult
    ) -> None:
        self._cells = cells
        self._go = go
        self._stop = stop
        self._language = language
        self._result = result

    def write(
        self,
        rows: Sequence[list[str]],
        contacts: Sequence[Contact | str],
        verdicts: Sequence[Verdict],
    ) -> None:
        """Write rows in their order; those with a contact have a verdict each."""
        result, rest = self._result, iter(verdicts)
        go, stop = [], []
        counts: Counter[str] = Counter()
        for row, contact in zip(rows, contacts, strict=True):
            if isinstance(contact, str):
                if contact is _NAMED:
                    result.named += 1
                else:
                    result.unreadable += 1
                stop.append([*self._even(row)[: self._cells], "suppress", "", contact])
                continue
            verdict = next(rest)
            if verdict.standing is None:
                raise RegisterUnavailable("the register went away; nothing is written")
            outcome, rule = verdict.decision.outcome, verdict.decision.rule
            counts[rule.id] += 1
            if outcome is Outcome.FORWARD:
                go.append(row)
            else:
                reason = rule.reason.get(self._language)
                stop.append([*self._even(row), outcome.value, rule.id, reason])
        result.rules.update(counts)
        result.may_go += len(go)
        result.may_not_go += counts.total() - len(go)
        self._go.writerows(go)
        self._stop.writerows(stop)

    def _even(self, row: list[str]) -> list[str]:
        return [*row, *[""] * (self._cells - len(row))]


def _reader(octets: IO[bytes], source: Path) -> tuple[_Reader, type[csv.Dialect]]:
    """A CSV reader over the file, its delimiter taken from the first line."""
    first = octets.readline(_LINE_OCTETS)
    octets.seek(0)
    try:
        line = first.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{source}: line 1 is not UTF-8; save the list as UTF-8") from None
    found = max(",;\t", key=line.count)

    class Found(csv.excel):
        delimiter = found
        lineterminator = os.linesep

    # Strict: a quote that is never closed would swallow the rows behind it unasked.
    return csv.reader(_lines(octets, source), Found, strict=True), Found


def _rows(reader: _Reader, source: Path) -> Iterator[list[str]]:
    """The rows that are not empty."""
    began = reader.line_num + 1
    try:
        for row in reader:
            began = reader.line_num + 1
            if row:
                yield row
    except csv.Error as error:
        raise InputError(
            f"{source}: the row that begins in line {began} is not readable as CSV: {error}; "
            "save the list with LF or CRLF line ends and every quote closed"
        ) from None


def _lines(octets: IO[bytes], source: Path) -> Iterator[str]:
    for number, line in enumerate(iter(partial(octets.readline, _LINE_OCTETS), b""), 1):
        if len(line) == _LINE_OCTETS:
            raise InputError(f"{source}: line {number} is longer than 1 MiB; is it a CSV list?")
        try:
            yield line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            raise InputError(
                f"{source}: line {number} is not UTF-8; save the list as UTF-8"
            ) from None


def _batches(reader: _Reader, source: Path) -> Iterator[list[list[str]]]:
    batch: list[list[str]] = []
    for row in _rows(reader, source):
        batch.append(row)
        if len(batch) >= BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _column(header: list[str], channel: Channel, wanted: str | None, source: Path) -> int:
    names = [name.strip().casefold() for name in header]
    for name in (wanted.casefold(),) if wanted is not None else _NAMES[channel]:
        if names.count(name) > 1:
            raise InputError(f"{source}: two columns are called {name}; rename one")
        if name in names:
            return names.index(name)
    raise InputError(
        f"{source}: no column for {channel} addresses among {', '.join(header)}; "
        "name it with --column"
    )


def _contacts(
    batch: Sequence[list[str]], place: int, cells: int, channel: Channel, region: str | None
) -> list[Contact | str]:
    """Each row's contact, or why there is none."""
    if channel is Channel.EMAIL and set(map(len, batch)) == {cells}:
        found = parse_emails([row[place].strip() for row in batch])
        if found is not None:
            return [*found]
    return [_contact(row, place, cells, channel, region) for row in batch]


def _contact(
    row: list[str], place: int, cells: int, channel: Channel, region: str | None
) -> Contact | str:
    """The row's contact, or why there is none."""
    if len(row) > cells:
        return "more cells than the header names"
    text = row[place].strip() if place < len(row) else ""
    if not text:
        return "no address in this row"
    try:
        return parse_email(text) if channel is Channel.EMAIL else parse_phone(text, region)
    except ContactError as error:
        return str(error)
