"""The tools that are asked what is new, by the session that asks them."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest

from gateway.connector.connector import ToolRefused
from gateway.connector.suppression import Reason, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync.session import Session
from gateway.sync.tool import tool_of
from tests.peers.tools import brevo, mailchimp, mandrill, postmark

TOOLS = {
    "postmark": (lambda: postmark.Postmark("broadcast"), postmark.TOKEN, ""),
    "mailchimp": (lambda: mailchimp.Mailchimp("a6b5da1054"), mailchimp.KEY, "a6b5da1054"),
    "mandrill": (lambda: mandrill.Mandrill("marketing"), mandrill.KEY, "marketing"),
    "brevo": (brevo.Brevo, brevo.KEY, ""),
}


class Run:
    """One tool, spoken to by a session."""

    def __init__(self, session, connector, tool):
        self.session, self.connector, self.tool = session, connector, tool

    async def read(self, pages):
        found, cursor = [], ""
        while True:
            page = await self.session.run(pages(cursor))
            found += page.changes
            cursor = page.cursor
            if not page.more:
                return {one.suppression.contact.canonical for one in found}


@pytest.fixture
async def start(tmp_path):
    async with AsyncExitStack() as stack:

        async def started(kind, key=None):
            make, usual, place = TOOLS[kind]
            tool = await stack.enter_async_context(make())
            file = tmp_path / kind
            file.write_text(key or usual)
            file.chmod(0o600)
            settings = SyncTool(
                name=kind,
                kind=ToolKind(kind),
                url=tool.url,
                secret_file=file,
                place=place,
                requests_per_second=1000,
            )
            made = tool_of(settings)
            session = Session(settings, made.connector)
            stack.push_async_callback(session.aclose)
            return Run(session, made.connector, tool)

        yield started


def ban(text):
    contact = parse_contact(text)
    return Suppression(contact, Scope.CHANNEL, Reason.OBJECTION, Channel.EMAIL)


@pytest.mark.parametrize("kind", TOOLS)
async def test_what_is_put_is_read_though_the_tool_is_busy(start, kind):
    run = await start(kind)
    run.tool.busy = 2
    entries = [ban(f"p{number}@example.com") for number in range(run.connector.most)]
    results = await run.session.run(run.connector.put(entries))
    assert all(one.done for one in results)
    wanted = {one.contact.canonical for one in entries}
    assert await run.read(run.connector.changes) == wanted
    assert await run.read(run.connector.listing) == wanted


@pytest.mark.parametrize("kind", TOOLS)
async def test_a_wrong_key_is_told_at_once(start, kind):
    run = await start(kind, key="wrong-us1")
    with pytest.raises(ToolRefused, match=f"{kind}: secret_file"):
        await run.session.run(run.connector.changes(""))
    assert run.tool.requests == 1


async def test_an_address_that_mandrill_refuses_by_500_is_not_tried_again(start):
    run = await start("mandrill")
    (result,) = await run.session.run(run.connector.put([ban("refused@example.com")]))
    assert (result.done, result.final) == (False, True)
    assert run.tool.requests == 1
