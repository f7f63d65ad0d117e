"""Amazon SES, SendGrid and Mailgun kept like the register: real sockets, their shapes."""

from contextlib import asynccontextmanager

import pytest

from gateway.entry.event import EventKind
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync.tool import tool_of
from tests.peers.provider import Provider
from tests.peers.tools.mailgun import MailgunDomain
from tests.peers.tools.sendgrid import SendGridLists
from tests.peers.tools.ses import SesList

MINUTE = 60_000


@asynccontextmanager
async def tool(listed, folder, kind, secret, **changed):
    """A tool of the settings, at a server on this machine."""
    (folder / "secret").write_text(secret)
    async with Provider(listed.answer) as provider:
        yield tool_of(
            SyncTool(
                name="tool",
                kind=kind,
                url=provider.url,
                secret_file=folder / "secret",
                requests_per_second=1000,
                **changed,
            )
        )


def ses(folder):
    listed = SesList()
    said = {"username": listed.key, "place": listed.region}
    return listed, tool(listed, folder, ToolKind.SES, listed.secret, **said)


@pytest.mark.parametrize("skew", [-10 * MINUTE, 0, 10 * MINUTE])
async def test_what_is_put_on_the_list_of_ses_comes_back_as_no_complaint(world, tmp_path, skew):
    listed, opened = ses(tmp_path)
    listed.skew = skew
    async with opened as one:
        await world.ban("a@example.com")
        await world.round(one, whole=True)
        assert listed.entries["a@example.com"][0] == "COMPLAINT"
        for _ in range(2):
            world.later(2 * MINUTE)
            await world.round(one, whole=True)
        events = await world.events("a@example.com")
        assert [event.kind for event in events] == [EventKind.BAN]
        assert await world.tasks() == []
        # One that SES has put there is one.
        listed.put("b@example.com", "COMPLAINT")
        await world.round(one)
        [event] = await world.events("b@example.com")
        assert event.kind is EventKind.UNDELIVERABLE
        assert event.evidence == "Amazon SES: complaint (COMPLAINT)"


async def test_sendgrids_lists_are_kept_like_the_register(world, tmp_path):
    listed = SendGridLists()
    listed.make_group(77, "News")
    listed.add("unsubscribes", "theirs@example.com")
    listed.add("bounces", "bounced@example.com", status="5.1.1")
    listed.add_to_group(77, "news@example.com")
    topics = {"uutiset": "77"}
    async with tool(listed, tmp_path, ToolKind.SENDGRID, listed.key, topics=topics) as one:
        await world.ban("ours@example.com")
        await world.round(one, whole=True)
        await world.round(one, whole=True)
        assert await world.banned("theirs@example.com")
        assert await world.banned("news@example.com", "uutiset")
        assert not await world.banned("news@example.com", "other")
        assert not await world.banned("bounced@example.com")
        assert {each["email"] for each in listed.lists["unsubscribes"]} == {
            "theirs@example.com",
            "ours@example.com",
        }
        assert [each["email"] for each in listed.groups[77]] == ["news@example.com"]
        assert len(await world.events("ours@example.com")) == 1
        assert len(await world.events("theirs@example.com")) == 1


async def test_mailguns_lists_are_kept_like_the_register(world, tmp_path):
    listed = MailgunDomain()
    listed.add("unsubscribes", "theirs@example.com")
    listed.add("unsubscribes", "news@example.com", tags=["newsletter"])
    said = {"place": listed.domain, "topics": {"uutiset": "newsletter"}}
    async with tool(listed, tmp_path, ToolKind.MAILGUN, listed.key, **said) as one:
        await world.ban("ours@example.com")
        await world.round(one, whole=True)
        listed.happen("unsubscribed", "new@example.com", tags=["newsletter"])
        listed.add("unsubscribes", "new@example.com")
        await world.round(one)
        for name in ("theirs", "new", "ours"):
            assert await world.banned(f"{name}@example.com")
        assert await world.banned("news@example.com", "uutiset")
        assert not await world.banned("news@example.com", "other")
        assert listed.lists["unsubscribes"]["ours@example.com"]["tags"] == ["*"]
        assert listed.lists["unsubscribes"]["news@example.com"]["tags"] == ["newsletter"]
