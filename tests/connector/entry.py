"""Entries as tests put and find them, and what every connector is put through."""

import pytest

from gateway.connector.connector import ToolRefused, ToolUnreadable
from gateway.connector.suppression import Reason, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from tests.peers.tools.driver import Broken, Driver


def ban(address, scope=Scope.CHANNEL, topic=None, reason=Reason.OBJECTION, channel=Channel.EMAIL):
    return Suppression(parse_contact(address), scope, reason, channel, topic)


def names(changes):
    """Whom changes are about, in order."""
    return [one.suppression.contact.canonical for one in changes]


async def listed_in_pieces(make):
    """The whole list, by a new connector for each page; and how often the tool broke down."""
    found, cursor, stopped = [], "", 0
    while True:
        made = make()
        async with Driver(made) as driver:
            try:
                page = await driver.run(made.listing(cursor))
            except Broken:
                stopped += 1
                continue
        found += page.changes
        cursor = page.cursor
        if not page.more:
            return found, stopped


async def expect_unreadable(connector, *put):
    """Neither list nor put can be believed of a tool that answers like this."""
    async with Driver(connector) as driver:
        for pages in (connector.changes, connector.listing):
            with pytest.raises(ToolUnreadable):
                await driver.read(pages)
        if put:
            with pytest.raises(ToolUnreadable):
                await driver.put([*put])


async def expect_told(connector, status, *put):
    """The tool's status is in what the operator is told."""
    async with Driver(connector) as driver:
        with pytest.raises((ToolUnreadable, ToolRefused), match=str(status)):
            await driver.read(connector.changes)
        if put:
            with pytest.raises((ToolUnreadable, ToolRefused), match=str(status)):
                await driver.put([*put])
