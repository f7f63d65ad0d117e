"""The folder of a file tool, on a real disk."""

import asyncio
import os
import stat

import pytest

from gateway.connector.connector import Place, ToolRefused
from gateway.connector.registry import connector_of
from gateway.connector.suppression import Reason, Suppression
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync.folder import ROWS, Folder

SECOND = 1_700_000_000_000
TIME = "20231114T221320"


class Drop:
    """A folder and whoever drives it."""

    def __init__(self, path, **options):
        self.path = path
        self.inbox, self.out = path / "in", path / "out"
        self.inbox.mkdir(exist_ok=True)
        self.folder = None
        self.options = {"settled": 0.05, "clock": lambda: SECOND} | options
        self.restart()

    def restart(self):
        """A process that was killed, and the next one."""
        if self.folder is not None:
            self.folder._close()
        tool = SyncTool(name="crm", kind=ToolKind.FILE, folder=self.path)
        self.connector = connector_of("file", Place("crm", topics=(("news", "News"),)))
        self.folder = Folder(tool, self.connector, **self.options)

    async def page(self, cursor):
        return await self.folder.run(self.connector.changes(cursor))

    async def pull(self, cursor=""):
        """All that is there, and the pages' cursors."""
        found, cursors = [], []
        while True:
            page = await self.page(cursor)
            found += [change.suppression.contact.canonical for change in page.changes]
            assert not page.bad
            if not page.more:
                return found, cursors
            cursor = page.cursor
            cursors.append(cursor)

    async def put(self, *entries):
        return await self.folder.run(self.connector.put(entries))

    def drop(self, name, text):
        part = self.inbox / (name + ".part")
        part.write_text(text, encoding="utf-8")
        part.rename(self.inbox / name)

    def names(self, *folders):
        return sorted(one.name for one in self.path.joinpath(*folders).iterdir() if one.is_file())


@pytest.fixture
async def drop(tmp_path):
    one = Drop(tmp_path)
    yield one
    await one.folder.aclose()


def ban(address, scope=Scope.ALL, **more):
    return Suppression(parse_contact(address), scope, Reason.OBJECTION, **more)


def numbered(count):
    return "contact\n" + "".join(f"p{number}@example.com\n" for number in range(count))


async def test_a_file_is_told_and_then_moved(drop):
    drop.drop("a.csv", "a@example.com\nb@example.com\n")
    page = await drop.page("")
    assert len(page.changes) == 2
    assert page.more
    # What it told may not be in force yet: it is still there.
    assert drop.names("in") == ["a.csv"]
    page = await drop.page(page.cursor)
    assert (page.changes, page.more, page.cursor) == ((), False, "")
    assert drop.names("in") == []
    assert drop.names("in", "done") == ["a.csv"]


@pytest.mark.parametrize("name", [b"l\xe4hetys.csv", "lähetys.csv".encode(), b"50%41 a+b&c.csv"])
async def test_a_name_may_be_of_any_octets(drop, name):
    """From a machine that writes names in Latin-1: it kept all others from being taken."""
    inbox = os.fsencode(drop.inbox)
    for one in (name, b"refused " + name):
        with open(os.path.join(inbox, one), "wb") as file:
            file.write(b"a@example.com\n" if one == name else b"contact\nnobody\n")
    with pytest.raises(ToolRefused, match="in/refused"):
        while True:
            await drop.pull()
    drop.drop("b.csv", "b@example.com\n")
    told, cursors = await drop.pull()
    assert "b@example.com" in told
    assert all(cursor.isascii() for cursor in cursors)
    assert name in os.listdir(os.path.join(inbox, b"done"))
    assert b"refused " + name in os.listdir(os.path.join(inbox, b"refused"))


async def test_the_oldest_file_comes_first(drop):
    for name, age in (("b.csv", 30), ("a.csv", 20), ("c.csv", 10)):
        drop.drop(name, f"{name[0]}@example.com\n")
        time = os.stat(drop.inbox / name).st_mtime - age
        os.utime(drop.inbox / name, (time, time))
    found, _ = await drop.pull()
    assert found == ["b@example.com", "a@example.com", "c@example.com"]
    assert drop.names("in", "done") == ["a.csv", "b.csv", "c.csv"]


async def test_a_long_file_comes_in_pages(drop):
    drop.drop("a.csv", numbered(3 * ROWS + 1))
    found, cursors = await drop.pull()
    assert found == [f"p{number}@example.com" for number in range(3 * ROWS + 1)]
    assert len(cursors) == 4
    drop.drop("a.csv", numbered(2 * ROWS))
    found, _ = await drop.pull()
    assert len(found) == 2 * ROWS
    assert drop.names("in", "done") == [f"a-{TIME}.csv", "a.csv"]


@pytest.mark.slow
async def test_a_hundred_thousand_lines_are_told_once_each(drop):
    drop.drop("a.csv", numbered(100_000))
    found, _ = await drop.pull()
    assert found == [f"p{number}@example.com" for number in range(100_000)]


async def test_a_crash_goes_on_from_the_cursor(drop):
    drop.drop("a.csv", numbered(3 * ROWS))
    first = await drop.page("")
    drop.restart()
    second = await drop.page(first.cursor)
    # The cursor was not kept: some of it is told again.
    drop.restart()
    found, _ = await drop.pull(first.cursor)
    names = [change.suppression.contact.canonical for change in second.changes]
    assert names == [f"p{number}@example.com" for number in range(ROWS, 2 * ROWS)]
    assert found == [f"p{number}@example.com" for number in range(ROWS, 3 * ROWS)]
    assert drop.names("in", "done") == ["a.csv"]


async def test_a_crash_before_the_move_tells_nothing_again(drop):
    drop.drop("a.csv", "a@example.com\n")
    page = await drop.page("")
    drop.restart()
    found, _ = await drop.pull(page.cursor)
    assert not found
    assert drop.names("in", "done") == ["a.csv"]


async def test_a_file_that_changes_is_told_from_its_beginning(drop):
    drop.drop("a.csv", numbered(2 * ROWS))
    page = await drop.page("")
    with (drop.inbox / "a.csv").open("a") as file:
        file.write("new@example.com\n")
    found, _ = await drop.pull(page.cursor)
    assert found == [*(f"p{number}@example.com" for number in range(2 * ROWS)), "new@example.com"]


async def test_a_file_that_changes_at_its_end_is_not_moved_unread(drop):
    drop.drop("a.csv", "a@example.com\n")
    page = await drop.page("")
    with (drop.inbox / "a.csv").open("a") as file:
        file.write("b@example.com\n")
    found, _ = await drop.pull(page.cursor)
    assert found == ["a@example.com", "b@example.com"]


async def test_unfinished_files_are_left_alone(drop):
    for name in ("a.csv.part", ".b.csv", "c.txt", "d.CSV.tmp"):
        (drop.inbox / name).write_text("a@example.com\n")
    (drop.inbox / "folder.csv").mkdir()
    (drop.inbox / "link.csv").symlink_to(drop.inbox / "c.txt")
    found, _ = await drop.pull()
    assert not found
    assert drop.names("in", "done") == []


async def test_a_file_that_is_being_written_is_waited_for(tmp_path):
    drop = Drop(tmp_path, settled=0.3)
    path = drop.inbox / "a.csv"
    looked = asyncio.Event()
    written = 0

    async def write():
        nonlocal written
        with path.open("w") as file:
            while not looked.is_set():
                file.write(f"p{written}@example.com\n")
                file.flush()
                written += 1
                await asyncio.sleep(0.05)

    writing = asyncio.create_task(write())
    while not path.exists():
        await asyncio.sleep(0.01)
    assert not (await drop.page("")).changes
    looked.set()
    await writing
    found, _ = await drop.pull()
    assert len(found) == written > 1
    await drop.folder.aclose()


async def test_one_bad_line_and_nothing_of_the_file_counts(drop):
    drop.drop("bad.csv", numbered(2 * ROWS) + "nobody in particular\n")
    with pytest.raises(ToolRefused, match=r"sync\.tools crm: folder") as caught:
        await drop.page("")
    assert "nobody" not in str(caught.value)
    assert drop.names("in") == []
    assert drop.names("in", "refused") == ["bad.csv", "bad.csv.txt"]
    report = (drop.inbox / "refused" / "bad.csv.txt").read_text()
    assert report.startswith(f"line {2 * ROWS + 2}: contact is no e-mail address")
    assert "nobody" not in report
    # The others go on.
    drop.drop("good.csv", "a@example.com\n")
    found, _ = await drop.pull()
    assert found == ["a@example.com"]


async def test_a_report_is_bounded(drop):
    drop.drop("bad.csv", "contact\n" + "x\n" * 5000)
    with pytest.raises(ToolRefused):
        await drop.page("")
    report = (drop.inbox / "refused" / "bad.csv.txt").read_text().splitlines()
    assert len(report) == 101
    assert report[-1] == "and 4900 more"


async def test_a_file_that_is_no_text_is_refused(drop):
    (drop.inbox / "bad.csv").write_bytes(b"contact\n\xff\xfe\n")
    with pytest.raises(ToolRefused):
        await drop.page("")
    assert "UTF-8" in (drop.inbox / "refused" / "bad.csv.txt").read_text()


@pytest.mark.parametrize(
    "cursor", ["x", "0.1.2.../../secret.csv", "-1.1.1.a.csv", "0.0.0.none.csv", "1.2.3"]
)
async def test_other_cursors_begin_anew(drop, cursor):
    (drop.path / "secret.csv").write_text("secret@example.com\n")
    drop.drop("a.csv", "a@example.com\n")
    found, _ = await drop.pull(cursor)
    assert found == ["a@example.com"]
    assert (drop.path / "secret.csv").exists()


async def test_what_is_put_is_one_whole_file(drop):
    entries = [
        ban("a@example.com", at=SECOND),
        ban("+358401234567", Scope.TOPIC, topic="news"),
        ban("a@example.com", Scope.TOPIC, topic="unnamed"),
    ]
    results = await drop.put(*entries)
    assert [(result.done, result.final) for result in results] == [
        (True, False),
        (True, False),
        (False, True),
    ]
    [name] = drop.names("out")
    assert name == f"suppressions-{TIME}.csv"
    path = drop.out / name
    assert path.read_bytes() == (
        b"contact,scope,channel,topic,reason,at,removed\r\n"
        b"a@example.com,all,,,objection,2023-11-14T22:13:20Z,\r\n"
        b"+358401234567,topic,,News,objection,,\r\n"
    )
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


async def test_files_of_one_second_have_names_of_their_own(drop):
    for _ in range(3):
        await drop.put(ban("a@example.com"))
    assert drop.names("out") == [
        f"suppressions-{TIME}-2.csv",
        f"suppressions-{TIME}-3.csv",
        f"suppressions-{TIME}.csv",
    ]


async def test_what_is_put_can_be_dropped_again(drop):
    entries = [ban(f"p{number}@example.com", at=SECOND) for number in range(1000)]
    assert all(result.done for result in await drop.put(*entries))
    [name] = drop.names("out")
    (drop.out / name).rename(drop.inbox / name)
    found, _ = await drop.pull()
    assert found == [entry.contact.canonical for entry in entries]


async def test_a_folder_that_is_not_there_is_told(tmp_path):
    drop = Drop(tmp_path)
    drop.inbox.rmdir()
    tmp_path.joinpath("in").write_text("no folder")
    with pytest.raises(ToolRefused, match=r"sync\.tools crm: folder"):
        await drop.page("")
    tmp_path.joinpath("out").write_text("no folder")
    with pytest.raises(ToolRefused, match=r"sync\.tools crm: folder"):
        await drop.put(ban("a@example.com"))


async def test_a_link_in_place_of_a_folder_is_not_followed(drop):
    elsewhere = drop.path / "elsewhere"
    elsewhere.mkdir()
    (drop.inbox / "refused").symlink_to(elsewhere)
    drop.drop("bad.csv", "nobody\n")
    with pytest.raises(ToolRefused, match="NotADirectoryError"):
        await drop.page("")
    assert not list(elsewhere.iterdir())


def test_a_folder_must_be_named():
    with pytest.raises(InputError, match="folder is not set"):
        Folder(SyncTool(name="crm", kind=ToolKind.FILE), connector_of("file", Place("crm")))
