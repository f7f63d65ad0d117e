"""Webhooks: heard once, in force before the answer, and never believed unsigned."""

import asyncio
import hmac

import orjson
import pytest

from gateway.clock import now_ms
from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from gateway.failure import RegisterUnavailable
from gateway.public.server import Visit
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync import hooks as module
from gateway.sync.hooks import HookUnderWay
from gateway.sync.task import Why
from gateway.sync.tool import tool_of
from tests.sync.plain import PlainTool, signed


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


def call(*entries, name="plain", secret="hush", once="", method="POST", **headers) -> Visit:
    body = orjson.dumps(entries)
    pairs = {**signed(body, secret), **headers}
    if once:
        pairs["X-Once"] = once
    return Visit(method, name, "", tuple(pairs.items()), body, None)


async def test_it_is_in_force_when_the_tool_hears_200(world, plain):
    hooks = world.hooks(plain.tool())
    assert (await hooks(call({"address": "a@example.com", "at": now_ms()}))).status == 200
    assert await world.banned("a@example.com")
    [event] = await world.events("a@example.com")
    assert (event.source, event.actor) == ("hook:plain", "tool:plain")


async def test_strangers_are_refused(world, plain):
    hooks = world.hooks(plain.tool())
    entry = {"address": "a@example.com"}
    assert (await hooks(call(entry, secret="guess"))).status == 401
    assert (await hooks(call(entry, name="other"))).status == 404
    assert (await hooks(call(entry, name=""))).status == 404
    assert not await world.banned("a@example.com")


async def test_what_cannot_be_read_is_refused(world, plain):
    hooks = world.hooks(plain.tool())
    for body in (b"nonsense", b"[1]", b'[{"scope": "all"}]', b'[{"address": "x"}]'):
        visit = Visit("POST", "plain", "", tuple(signed(body).items()), body, None)
        assert (await hooks(visit)).status == 400


async def test_a_validation_call_is_answered(world, plain):
    assert (await world.hooks(plain.tool())(call(method="HEAD"))).status == 200


async def test_a_replay_is_answered_and_not_heard(world, plain):
    hooks = world.hooks(plain.tool())
    entry = {"address": "a@example.com", "at": now_ms()}
    assert (await hooks(call(entry, once="token-1"))).status == 200
    await world.tell("a@example.com", EventKind.UNBAN, scope=Scope.ALL, evidence="by mistake")
    assert (await hooks(call(entry, once="token-1"))).status == 200
    assert not await world.banned("a@example.com")


async def test_what_failed_may_come_again(world, plain, monkeypatch):
    hooks = world.hooks(plain.tool())
    visit = call({"address": "a@example.com", "at": now_ms()}, once="token-2")
    with monkeypatch.context() as away:

        async def refuse(*_, **__):
            raise RegisterUnavailable("away")

        away.setattr(world.register, "apply_many", refuse)
        with pytest.raises(RegisterUnavailable):
            await hooks(visit)
    assert (await hooks(visit)).status == 200
    assert await world.banned("a@example.com")


async def test_a_resubscription_lifts_nothing_and_asks_a_person(world, plain):
    tool = plain.tool()
    await world.ban("a@example.com", Scope.TOPIC, topic="newsletter")
    await world.round(tool)
    entry = {"address": "a@example.com", "scope": "topic", "topic": "newsletter"}
    plain.remove(told=False, **entry)
    hooks = world.hooks(tool)
    for _ in range(2):
        assert (await hooks(call({**entry, "removed": True}))).status == 200
    await world.round(tool)
    assert await world.banned("a@example.com", "newsletter")
    assert plain.has("a@example.com", "topic", "newsletter")
    [task] = await world.tasks()
    assert (task.why, task.entry) == (Why.REMOVED, "topic:newsletter")


async def test_our_own_put_told_by_webhook_refreshes_nothing(world, plain):
    tool = plain.tool()
    await world.ban("a@example.com")
    await world.round(tool)
    told = {"address": "a@example.com", "at": now_ms()}
    assert (await world.hooks(tool)(call(told))).status == 200
    assert len(await world.events("a@example.com")) == 1


async def test_an_objection_after_a_consent_bans_although_it_was_there_before(world, plain):
    tool = plain.tool()
    plain.add("a@example.com", at=now_ms() - 10_000)
    await world.round(tool)
    await world.consent("a@example.com")
    assert not await world.banned("a@example.com")
    assert (await world.hooks(tool)(call({"address": "a@example.com"}))).status == 200
    assert await world.banned("a@example.com")


async def test_an_objection_by_webhook_stands_although_the_consents_clock_is_ahead(world, plain):
    hooks = world.hooks(plain.tool())
    await world.ban("a@example.com", at=now_ms() - 60_000)
    await world.consent("a@example.com", at=now_ms() + 200_000)
    assert not await world.banned("a@example.com")
    assert (await hooks(call({"address": "a@example.com", "at": now_ms()}))).status == 200
    assert await world.banned("a@example.com")


async def test_it_reaches_every_other_tool(world, plain):
    async with PlainTool() as second:
        first, other = plain.tool("first"), second.tool("second")
        await world.round(first, other)
        entry = {"address": "a@example.com", "at": now_ms()}
        await world.hooks(first)(call(entry, name="first"))
        await world.round(first, other)
        assert second.has("a@example.com")
        assert plain.puts == []


async def test_a_refusal_of_all_is_heard_although_we_put_as_much_for_a_topic(world, plain):
    tool = plain.tool(scopes=frozenset({Scope.ALL, Scope.CHANNEL}), accept_wider=True)
    await world.ban("a@example.com", Scope.TOPIC, topic="newsletter")
    await world.round(tool)
    assert not await world.banned("a@example.com", "another")
    told = {"address": "a@example.com", "at": now_ms() + 30_000}
    world.later(30_000)
    await world.hooks(tool)(call(told))
    assert await world.banned("a@example.com", "another")


async def test_what_a_webhook_told_and_no_list_shows_is_nobodys_task(world, plain):
    tool = plain.tool()
    await world.round(tool)
    hooks = world.hooks(tool)
    await hooks(call({"address": "a@example.com", "at": now_ms()}))
    await hooks(
        call({"address": "b@example.com", "scope": "topic", "topic": "plain:7", "at": now_ms()})
    )
    world.later(20 * 60_000)
    await world.round(tool, whole=True)
    assert await world.tasks() == []
    assert plain.has("a@example.com")
    assert await world.banned("b@example.com", "plain:7")


async def test_a_call_cut_off_by_a_crash_is_heard_when_it_comes_again(world, plain, monkeypatch):
    """Killed between remembering the call and the register, the tool's repeat must count."""
    hooks = world.hooks(plain.tool())
    visit = call({"address": "a@example.com", "at": now_ms()}, once="token-3")
    with monkeypatch.context() as crash:

        async def die(*_, **__):
            raise RegisterUnavailable("cut off")

        async def nothing(*_):
            """A process that is dead lets go of nothing."""

        crash.setattr(world.register, "apply_many", die)
        crash.setattr(hooks, "_release", nothing)
        with pytest.raises(RegisterUnavailable):
            await hooks(visit)
    with pytest.raises(HookUnderWay):
        await hooks(visit)  # answered 503: perhaps somebody hears it still
    # The claim has an end of its own, which is not waited for here.
    wire = world.bureau.wire
    ((claim,),) = await wire.exchange([(b"KEYS", b"*:hook:plain:*")], 5)
    (left,) = await wire.exchange([(b"PTTL", claim)], 5)
    assert 0 < left <= int(module._UNDER_WAY)
    await wire.exchange([(b"PEXPIRE", claim, b"1")], 5)
    async with asyncio.timeout(30):
        while (await wire.exchange([(b"EXISTS", claim)], 5)) != [0]:
            await asyncio.sleep(0.01)
    assert (await hooks(visit)).status == 200
    assert await world.banned("a@example.com")


async def test_of_two_calls_alike_at_once_none_is_told_done_before_it_is(world, plain, monkeypatch):
    hooks = world.hooks(plain.tool())
    visit = call({"address": "a@example.com", "at": now_ms()}, once="token-4")
    begun, go_on = asyncio.Event(), asyncio.Event()
    apply_many = world.register.apply_many

    async def slow(*args, **more):
        begun.set()
        await go_on.wait()
        return await apply_many(*args, **more)

    monkeypatch.setattr(world.register, "apply_many", slow)
    first = asyncio.create_task(hooks(visit))
    await begun.wait()
    with pytest.raises(HookUnderWay):
        await hooks(visit)
    go_on.set()
    assert (await first).status == 200
    assert (await hooks(visit)).status == 200
    assert len(await world.events("a@example.com")) == 1


async def test_a_token_that_told_nothing_tells_nothing_else_either(world, tmp_path):
    """Mailgun does not sign the body: one signature is good for one call, whatever it told."""
    for name in ("key", "hook"):
        (tmp_path / name).write_text("hush")
        (tmp_path / name).chmod(0o600)
    settings = SyncTool(
        name="mg",
        kind=ToolKind.MAILGUN,
        place="mg.example.com",
        secret_file=tmp_path / "key",
        webhook_secret_file=tmp_path / "hook",
    )
    hooks = world.hooks(tool_of(settings))
    stamp, token = str(now_ms() // 1000), "0123456789abcdef"
    right = hmac.digest(b"hush", f"{stamp}{token}".encode(), "sha256").hex()
    signature = {"timestamp": stamp, "token": token, "signature": right}

    def told(event):
        event = {"event": event, "recipient": "a@example.com", "timestamp": now_ms() / 1000}
        body = orjson.dumps({"signature": signature, "event-data": event})
        return Visit("POST", "mg", "", (), body, None)

    assert (await hooks(told("delivered"))).status == 200
    assert (await hooks(told("unsubscribed"))).status == 200
    assert not await world.banned("a@example.com")
