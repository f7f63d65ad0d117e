"""A person releases a held message: decided anew, never against a ban."""

import asyncio
import sqlite3

import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.decision.facts import Kind
from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from gateway.failure import GatewayError, UpstreamUnavailable
from gateway.held.message import State
from gateway.held.store import HeldStateError, HeldStore
from gateway.records.content import ContentStore
from gateway.smtp.release import ReleaseRefused, release
from tests.peers.house import INVOICE, MAILING, client_table
from tests.peers.scripted import Stage

A, B = "a@example.com", "b@example.com"


@pytest.fixture
async def declared(build):
    async with build(clients=[client_table(kind="declared", topic=None)]) as house:
        yield house


async def hold(house, *recipients, message=INVOICE):
    async with house.client() as client:
        assert "held" in await client.mail(*recipients, message=message)
    (held,) = await house.parts.site.held.list()
    return held.id


async def test_a_release_needs_the_kind_that_nobody_declared(declared):
    held_id = await hold(declared, A)
    with pytest.raises(ReleaseRefused, match="--kind"):
        await release(declared.parts.site, held_id, by="anna", reason="checked")
    assert (await declared.parts.site.held.get(held_id)).state is State.HELD


async def test_a_released_message_arrives_as_it_came_and_names_the_person(declared, upstream):
    await declared.customer(A)
    message = INVOICE + b"..dots\r\n.\r\nX-Gateway-Kind: in the body\r\n"
    held_id = await hold(declared, A, message=b"X-Gateway-Kind: nonsense\r\n" + message)
    done = await release(
        declared.parts.site, held_id, by="anna", reason="an invoice", kind=Kind.SERVICE
    )
    assert [one.address for one in done.sent] == [A]
    assert upstream.messages[0].content == message
    assert (await declared.parts.site.held.get(held_id)).person == "anna"
    first, second = await declared.found(A)
    assert (first.rule, first.result.value) == ("R01", "released")
    assert (second.rule, second.result.value) == ("R08", "forwarded")
    shown = await declared.archive.show(first.record_id)
    assert (shown.outcomes[-1].person, shown.outcomes[-1].reason) == ("anna", "an invoice")
    with pytest.raises(HeldStateError):
        await release(declared.parts.site, held_id, by="anna", reason="again")


async def test_a_ban_set_meanwhile_stops_a_release(declared, upstream):
    await declared.allow(A, B)
    held_id = await hold(declared, A, B, message=MAILING)
    await declared.ban(A)
    done = await release(
        declared.parts.site, held_id, by="anna", reason="a newsletter", kind=Kind.MARKETING
    )
    assert [one.address for one in done.sent] == [B]
    assert [v.decision.rule.id for _, v in done.suppressed] == ["R11"]
    assert [m.recipients for m in upstream.messages] == [[B]]


async def test_a_ban_acknowledged_while_the_upstream_stalls_stops_a_release(declared, upstream):
    """The release had judged once and waited at RCPT; the ban came in between."""
    await declared.allow(A)
    held_id = await hold(declared, A, message=MAILING)
    gate = asyncio.Event()
    upstream.on(Stage.RCPT, gate=gate)
    task = asyncio.create_task(
        release(declared.parts.site, held_id, by="anna", reason="x", kind=Kind.MARKETING)
    )
    while sum(command.startswith(b"RCPT") for command in upstream.commands) < 2:
        await asyncio.sleep(0.01)
    await declared.tell(A, EventKind.BAN, scope=Scope.ALL, settled=True)
    gate.set()
    with pytest.raises(GatewayError, match="changed"):
        await task
    assert upstream.messages == []
    assert (await declared.parts.site.held.get(held_id)).state is State.HELD


@pytest.mark.parametrize(
    ("stage", "how"),
    [
        (Stage.RCPT, {"reply": "450 4.2.0 Later"}),
        (Stage.END, {"reply": "451 4.3.0 Later"}),
        (Stage.DATA, {"close": True}),
    ],
)
async def test_a_release_that_fails_leaves_the_message_held(declared, upstream, stage, how):
    held_id = await hold(declared, A)
    upstream.on(stage, times=1, **how)
    with pytest.raises(UpstreamUnavailable):
        await release(declared.parts.site, held_id, by="a", reason="x", kind=Kind.TRANSACTIONAL)
    assert (await declared.parts.site.held.get(held_id)).state is State.HELD
    await release(declared.parts.site, held_id, by="a", reason="x", kind=Kind.TRANSACTIONAL)
    assert len(upstream.messages) == 1


async def test_a_release_that_may_have_left_stays_claimed(declared, upstream):
    held_id = await hold(declared, A)
    upstream.on(Stage.END, close=True, accept=True, times=1)
    with pytest.raises(UpstreamUnavailable):
        await release(declared.parts.site, held_id, by="a", reason="x", kind=Kind.TRANSACTIONAL)
    assert (await declared.parts.site.held.get(held_id)).state is State.RELEASING


def with_the_archive_locked(house, method):
    """A method of the held store that finds the archive locked by another process."""
    original = getattr(house.parts.site.held, method)

    async def locked(held_id):
        other = sqlite3.connect(house.settings.records.archive, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        try:
            await original(held_id)
        finally:
            other.execute("ROLLBACK")
            other.close()

    setattr(house.parts.site.held, method, locked)
    return lambda: setattr(house.parts.site.held, method, original)


@pytest.fixture
async def mixed(build):
    """A house where A may go and B is held."""
    async with build(records={"archive_timeout": 0.5}) as house:
        await house.allow(A)
        await house.know(B)
        await house.tell(B, EventKind.CONSENT, channel=Channel.EMAIL)
        yield house


async def test_nothing_is_handed_over_when_the_held_copy_cannot_be_kept(mixed, upstream):
    """The upstream had said 250, the held copy then failed: 451, and it arrived twice."""
    unlock = with_the_archive_locked(mixed, "keep")
    async with mixed.client() as client:
        assert (await client.mail(A, B)).startswith("451")
        assert upstream.messages == []
        unlock()
        assert (await client.mail(A, B)).endswith("1 forwarded, 1 held")
    assert len(upstream.messages) == 1
    assert len(await mixed.parts.site.held.list()) == 1


async def test_a_kept_copy_that_could_not_be_shown_is_shown_by_the_sweep(mixed, upstream):
    unlock = with_the_archive_locked(mixed, "commit")
    async with mixed.client() as client:
        assert (await client.mail(A, B)).endswith("1 forwarded, 1 held")
    unlock()
    assert await mixed.parts.site.held.list() == []
    later = HeldStore(
        mixed.database,
        mixed.parts.seal,
        ContentStore(mixed.database, mixed.parts.seal),
        clock=lambda: now_ms() + 3_600_001,
    )
    await later.sweep()
    (held,) = await later.list()
    assert held.message.recipients[0].address == B


async def test_a_release_that_sends_to_nobody_leaves_the_message_held(declared, upstream):
    await declared.allow(A)
    held_id = await hold(declared, A, message=MAILING)
    await declared.ban(A)
    done = await release(declared.parts.site, held_id, by="a", reason="x", kind=Kind.MARKETING)
    assert done.sent == []
    assert upstream.messages == []
    assert (await declared.parts.site.held.get(held_id)).state is State.HELD
