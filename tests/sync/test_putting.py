"""What breaks a tool keeps nothing else from it; a tool that is away gets all once it is back."""

import pytest

from gateway.connector.connector import ToolRefused
from gateway.settings.sync import Sync, SyncTool, ToolKind
from gateway.sync.folder import session_of
from gateway.sync.loop import Drive
from gateway.sync.session import ToolAway
from gateway.sync.tool import tool_of
from tests.sync.plain import PlainTool


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("gateway.sync.session._FIRST", 0.001)


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


async def rounds(world, tool, drive, most=40):
    """Rounds as the loop does them, until one ends well."""
    for _ in range(most):
        await world.stores.archiver.run_once()
        try:
            await drive.round()
        except ToolAway:
            continue
        return
    raise AssertionError("it fails for ever")


@pytest.mark.parametrize("broken", [1, 5])
async def test_an_entry_that_breaks_the_tool_keeps_no_other_from_it(world, plain, broken):
    tool = plain.tool()
    drive = world.drive(tool)
    await drive.round()
    plain.headers = {"X-RateLimit-Reset": "0.001"}
    plain.breaks = {f"odd{number}@example.com" for number in range(broken)}
    for address in sorted(plain.breaks):
        await world.ban(address)
    for number in range(10):
        await world.ban(f"good{number}@example.com")
    await rounds(world, tool, drive)
    assert all(plain.has(f"good{number}@example.com") for number in range(10))
    (figures,) = (await world.bureau.store.figures(0)).values()
    assert (figures.owed, figures.final) == (broken, 0)
    [cause] = await world.bureau.store.causes("plain")
    assert cause == "the tool fails at it: answers 500"
    await world.ban("later@example.com")
    await rounds(world, tool, drive)
    assert plain.has("later@example.com")
    plain.breaks = set()
    world.later(3_600_000)
    await rounds(world, tool, drive)
    assert plain.has("odd0@example.com")
    assert await world.bureau.store.figures(0) == {}


@pytest.mark.parametrize("status", [500, 503])
async def test_what_a_tool_that_is_away_lacks_it_gets_at_once_when_it_is_back(world, plain, status):
    tool = plain.tool()
    drive = world.drive(tool)
    await drive.round()
    for number in range(10):
        await world.ban(f"good{number}@example.com")
    await world.stores.archiver.run_once()
    plain.status = status
    for _ in range(12):
        with pytest.raises(ToolAway):
            await drive.round()
    assert await world.bureau.store.causes("plain") == {}
    plain.status = 200
    await drive.round()
    assert all(plain.has(f"good{number}@example.com") for number in range(10))


async def test_a_tool_that_asks_for_time_is_not_asked_for_each_entry(world, plain):
    tool = plain.tool()
    drive = world.drive(tool)
    await drive.round()
    for number in range(10):
        await world.ban(f"good{number}@example.com")
    await world.stores.archiver.run_once()
    plain.status, plain.headers = 429, {"Retry-After": "3600"}
    for _ in range(5):
        plain.asked.clear()
        with pytest.raises(ToolAway):
            await drive.round()
        assert plain.asked == ["/put"]
    plain.status = 200
    await drive.round()
    assert plain.asked.count("/put") == 2


async def test_a_folder_that_could_not_be_written_gets_one_file_and_not_one_for_each(
    world, tmp_path
):
    folder = tmp_path / "crm"
    folder.mkdir()
    (folder / "out").write_text("in the way")
    tool = tool_of(SyncTool(name="files", kind=ToolKind.FILE, folder=folder))
    session = session_of(tool.settings, tool.connector)
    drive = Drive(world.bureau.hands, tool, Sync(), session)
    for number in range(5):
        await world.ban(f"good{number}@example.com")
    await world.stores.archiver.run_once()
    try:
        for _ in range(2):
            with pytest.raises(ToolRefused):
                await drive.round()
        (folder / "out").unlink()
        await drive.round()
    finally:
        await session.aclose()
    [sheet] = (folder / "out").glob("*.csv")
    assert sheet.read_text().count("@example.com") == 5
