"""Times at the ends of the calendar, as callers send them."""

import asyncio
import time

import pytest

from gateway.api.account import Role
from gateway.clock import LATEST_MS
from gateway.contacts.parse import parse_contact
from gateway.entry.event import Event, EventKind
from gateway.serve.assembly import open_register, register_url
from gateway.serve.keys import key_ring, sealer

NO = "no.person@example.com"
BEHIND = "9999-12-31T23:59:59-12:00"
"""A time that has no day in UTC."""


async def feed(caller, count):
    """The feed's events, once there are so many."""
    end = time.monotonic() + 60
    while True:
        status, page = await caller.get("/v1/events")
        assert status == 200, page
        if len(page["events"]) >= count:
            return page["events"]
        assert time.monotonic() < end
        await asyncio.sleep(0.2)


@pytest.mark.slow
async def test_no_time_keeps_followers_from_what_comes_behind_it(house):
    tool, officer = await house.caller(Role.TOOL), await house.caller(Role.OFFICER)
    for path, member in (("/v1/consents", "expires"), ("/v1/bans", "at")):
        status, said = await tool.post(path, {"contact": NO, member: BEHIND})
        assert (status, said["errors"][0]["pointer"]) == (422, f"/{member}")
    # One that is kept already is told as the last time that there is.
    kept = Event(
        kind=EventKind.CONSENT,
        at=1,
        actor="test",
        channel=parse_contact(NO).channel,
        expires=LATEST_MS + 12 * 3_600_000,
    )
    settings = house.gateway.settings
    ring, seal = key_ring(settings), sealer(settings)
    async with (
        register_url(settings) as url,
        await open_register(settings, url, ring, seal) as register,
    ):
        await register.apply(kept, parse_contact(NO))
    assert (await tool.post("/v1/bans", {"contact": NO}))[0] == 200
    events = await feed(tool, 2)
    assert [one["kind"] for one in events] == ["consent", "ban"]
    assert events[0]["expires"].startswith("9999-12-31T23:59:59.99")
    for path in ("/v1/contacts/show", "/v1/contacts/history"):
        assert (await officer.post(path, {"contact": NO}))[0] == 200


async def test_a_consent_of_the_epoch_is_none_of_today(house):
    """Software that knows no time may send the epoch: it lifts nothing that came later."""
    officer = await house.caller(Role.OFFICER)
    assert (await officer.post("/v1/bans", {"contact": NO}))[0] == 200
    consent = {"contact": NO, "wording": "yes", "evidence": "form 1", "at": "1970-01-01T00:00:00Z"}
    assert (await officer.post("/v1/consents", consent))[0] == 200
    _, said = await officer.post("/v1/decisions", {"contacts": [NO]})
    assert said["decisions"][0]["rule"] == "R11"
