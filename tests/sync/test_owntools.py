"""The loop with tools that people run themselves: a ban goes there, a refusal comes here."""

import pytest

from gateway.connector.row import COLUMNS
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.settings.sync import Sync, SyncTool, ToolKind
from gateway.sync.folder import session_of
from gateway.sync.loop import Drive
from gateway.sync.tool import tool_of
from tests.connector.dialogue import served
from tests.peers.tools.http import Ledger
from tests.peers.tools.listmonk import Listmonk
from tests.peers.tools.mautic import Mautic
from tests.peers.tools.twilio_consents import ACCOUNT, SERVICE, TwilioConsents

NUMBER = "+358401234567"


class Tool:
    """One tool of the settings, with whatever answers it."""

    def __init__(self, world, tmp_path, kind, **more):
        secret = tmp_path / "secret"
        secret.write_text("t0ken\n")
        secret.chmod(0o600)
        given = {
            "username": "gateway",
            "secret_file": secret,
            "topics": {"newsletter": "3"},
            "requests_per_second": 1000,
        }
        self.world = world
        self.tool = tool_of(SyncTool(name="own", kind=ToolKind(kind), **(given | more)))

    async def round(self, *, whole=False):
        await self.world.stores.archiver.run_once()
        session = session_of(self.tool.settings, self.tool.connector)
        try:
            drive = Drive(self.world.bureau.hands, self.tool, Sync(), session)
            await drive.round(whole=whole)
        finally:
            await session.aclose()


async def test_listmonk(world, tmp_path):
    listmonk = Listmonk()
    listmonk.add("theirs@example.com", "blocklisted")
    reader = listmonk.add("reader@example.com", lists=(3,))
    async with served(listmonk.app) as server:
        tool = Tool(world, tmp_path, "listmonk", url=server.url)
        await world.ban("ours@example.com")
        await world.ban("topic@example.com", Scope.TOPIC, topic="Newsletter")
        await tool.round()
        assert listmonk.status("ours@example.com") == "blocklisted"
        assert listmonk.subscription("topic@example.com", 3) == "unsubscribed"
        assert await world.banned("theirs@example.com")
        listmonk.unsubscribed_by_link(reader, everywhere=False, lists=(3,))
        await tool.round()
        assert await world.banned("reader@example.com", "newsletter")
        assert not await world.banned("reader@example.com", "another")
        # An import with overwrite subscribes again: a listing finds it, and it is put there again.
        listmonk.database.execute("UPDATE subscriber_lists SET status = 'confirmed'")
        world.later(20 * 60_000)
        await tool.round(whole=True)
        await tool.round()
        assert listmonk.subscription("topic@example.com", 3) == "unsubscribed"
        assert listmonk.subscription("reader@example.com", 3) == "unsubscribed"
    assert await world.banned("reader@example.com", "newsletter")


async def test_a_wider_entry_in_place_of_a_narrower_one_is_no_loss(world, tmp_path):
    listmonk = Listmonk()
    reader = listmonk.add("reader@example.com", lists=(3,))
    listmonk.unsubscribed_by_link(reader, everywhere=False, lists=(3,))
    async with served(listmonk.app) as server:
        tool = Tool(world, tmp_path, "listmonk", url=server.url)
        await tool.round()
        assert await world.banned("reader@example.com", "newsletter")
        # Then everything: the entry of the list is told no more.
        listmonk.unsubscribed_by_link(reader, everywhere=True, lists=(3,))
        await tool.round()
        world.later(20 * 60_000)
        await tool.round(whole=True)
        await tool.round()
    assert await world.banned("reader@example.com", "another")
    assert not await world.tasks()


async def test_mautic(world, tmp_path):
    mautic = Mautic()
    theirs = mautic.contact(email="theirs@example.com", mobile=NUMBER)
    mautic.enter(theirs, "sms", 1)
    async with served(mautic.app) as server:
        tool = Tool(world, tmp_path, "mautic", url=server.url, topics={})
        await world.ban("ours@example.com", Scope.CHANNEL, channel="email")
        await tool.round()
        [ours] = [number for number, one in mautic.contacts.items() if "ours" in one["email"]]
        assert mautic.held(ours) == {"email": 1}
        assert await world.banned(NUMBER)
        assert not await world.banned("theirs@example.com")
        mautic.enter(theirs, "email", 1)
        await tool.round()
        assert await world.banned("theirs@example.com")
        await tool.round(whole=True)
        assert len(mautic.contacts) == 2
        assert not await world.tasks()


async def test_twilio(world, tmp_path):
    twilio = TwilioConsents()
    async with served(twilio.app) as server:
        more = {"url": server.url, "username": ACCOUNT, "place": SERVICE, "topics": {}}
        tool = Tool(world, tmp_path, "twilio", **more)
        await world.ban(NUMBER)
        await world.ban("a@example.com")
        await tool.round()
        await tool.round(whole=True)
    assert twilio.consents == {(SERVICE, NUMBER): "opt-out"}
    assert len(twilio.items) == 1


async def test_the_own_protocol(world, tmp_path):
    ledger = Ledger()
    ledger.entries = [{"contact": "theirs@example.com", "scope": "topic", "topic": "3"}]
    async with served(ledger.app) as server:
        tool = Tool(world, tmp_path, "http", url=server.url)
        await world.ban("ours@example.com")
        await tool.round()
        assert ledger.entries[-1]["contact"] == "ours@example.com"
        assert await world.banned("theirs@example.com", "newsletter")
        assert not await world.banned("theirs@example.com", "another")
        await tool.round(whole=True)
        assert len(ledger.entries) == 2
        assert not await world.tasks()


async def test_files(world, tmp_path):
    folder = tmp_path / "crm"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.csv").write_text("theirs@example.com\n")
    tool = Tool(world, tmp_path, "file", folder=folder, secret_file=None, username="")
    await world.ban("ours@example.com")
    await tool.round()
    assert await world.banned("theirs@example.com")
    [out] = (folder / "out").iterdir()
    lines = out.read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [line.split(",")[:2] for line in lines[1:]] == [["ours@example.com", "all"]]
    # It has no whole list: nothing is missed in it, and nothing put there again.
    world.later(20 * 60_000)
    await tool.round(whole=True)
    await tool.round(whole=True)
    assert not await world.tasks()
    assert len(list((folder / "out").iterdir())) == 1
    assert [one.name for one in (folder / "in" / "done").iterdir()] == ["a.csv"]


@pytest.mark.slow
async def test_a_file_that_is_refused_stops_no_other(world, tmp_path):
    folder = tmp_path / "crm"
    (folder / "in").mkdir(parents=True)
    (folder / "in" / "a.csv").write_text("good@example.com\nbad\n")
    tool = Tool(world, tmp_path, "file", folder=folder, secret_file=None, username="")
    with pytest.raises(Exception, match=r"in/refused"):
        await tool.round()
    assert not await world.banned("good@example.com")
    (folder / "in" / "b.csv").write_text("other@example.com\n")
    await tool.round()
    assert await world.banned("other@example.com")


def test_a_file_tool_needs_a_folder():
    with pytest.raises(InputError, match="folder is not set"):
        tool_of(SyncTool(name="own", kind=ToolKind.FILE))
