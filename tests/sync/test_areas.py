"""Tools whose topics have lists of their own: a ban of all stands in each of them."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlencode

import pytest

from gateway.clock import now_ms
from gateway.public.server import Visit
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync.task import Why
from gateway.sync.tool import tool_of
from tests.peers.tools.mailchimp import KEY, Mailchimp
from tests.peers.tools.mailchimp import _hash as key_of

MAIN, LETTER = "a6b5da1054", "b7c6eb2165"
ANNA = "anna@example.com"


@pytest.fixture
async def mailchimp():
    async with Mailchimp(MAIN, LETTER) as one:
        yield one


def tool_of_audiences(mailchimp, tmp_path):
    file = tmp_path / "mailchimp"
    file.write_text(KEY)
    file.chmod(0o600)
    return SyncTool(
        name="mailchimp",
        kind=ToolKind.MAILCHIMP,
        url=mailchimp.url,
        secret_file=file,
        place=MAIN,
        topics={"newsletter": LETTER},
        requests_per_second=1000,
    )


@pytest.fixture
def tool(mailchimp, tmp_path):
    return tool_of(tool_of_audiences(mailchimp, tmp_path))


def status(mailchimp, audience, address=ANNA):
    member = mailchimp.audiences[audience].get(key_of(address))
    return member and member["status"]


async def test_who_refuses_all_in_the_main_list_is_put_into_the_topics_own(world, mailchimp, tool):
    mailchimp.add(MAIN, ANNA, at=now_ms() - 60_000)
    mailchimp.add(LETTER, ANNA, status="subscribed", at=now_ms() - 90_000)
    await world.round(tool, whole=True)
    await world.round(tool)
    assert await world.banned(ANNA, "newsletter")
    assert status(mailchimp, LETTER) == "unsubscribed"
    requests = mailchimp.requests
    events = len(await world.events(ANNA))
    for _ in range(2):
        await world.round(tool, whole=True)
    assert len(await world.events(ANNA)) == events
    assert await world.tasks() == []
    assert mailchimp.requests > requests


@pytest.mark.parametrize("audience", [MAIN, LETTER])
async def test_who_is_subscribed_again_in_one_list_is_put_there_again_and_asked_about(
    world, mailchimp, tool, audience
):
    await world.ban(ANNA)
    await world.round(tool, whole=True)
    assert status(mailchimp, MAIN) == status(mailchimp, LETTER) == "unsubscribed"
    world.later(3_600_000)
    await world.round(tool, whole=True)
    assert await world.tasks() == []
    mailchimp.add(audience, ANNA, status="subscribed")
    world.later(3_600_000)
    await world.round(tool, whole=True)
    await world.round(tool)
    assert status(mailchimp, audience) == "unsubscribed"
    assert [task.why for task in await world.tasks()] == [Why.REMOVED]
    world.later(3_600_000)
    await world.round(tool, whole=True)
    assert len(await world.tasks()) == 1


async def test_an_address_that_a_tool_gives_for_a_reason_is_no_evidence(world, mailchimp, tmp_path):
    hook = tmp_path / "hook"
    hook.write_text("hush")
    hook.chmod(0o600)
    settings = replace(tool_of_audiences(mailchimp, tmp_path), webhook_secret_file=hook)
    told = {
        "type": "unsubscribe",
        "fired_at": "2026-01-01 10:00:00",
        "data[list_id]": MAIN,
        "data[email]": ANNA,
        "data[reason]": "asked by boss@example.org",
    }
    pairs = (("Content-Type", "application/x-www-form-urlencoded"),)
    body = urlencode(told).encode()
    visit = Visit("POST", "mailchimp", "key=hush", pairs, body, None)
    assert (await world.hooks(tool_of(settings))(visit)).status == 200
    [event] = await world.events(ANNA)
    assert event.evidence.startswith("Mailchimp: objection")
    assert "@" not in event.evidence
