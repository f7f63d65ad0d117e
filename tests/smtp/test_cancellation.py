"""A session cancelled at every single await: nothing leaks, nothing is untrue.

Draining cancels what is not finished in time, and it may do so anywhere.  Here each
transaction is run again and again, cancelled at its first suspension, then at its
second, until it comes through; the list of awaits is the code's own, so that a new one
is tested as soon as it is written.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import pytest

from gateway.decision.facts import Outcome
from tests.peers.house import INVOICE, MAILING, client_table
from tests.peers.scripted import Stage

YES, NO, MORE = "yes@example.com", "no@example.com", "more@example.com"
NO_WAY_OUT = MAILING.replace(b"List-Unsubscribe", b"X-Nothing")
BIG = MAILING + b"0123456789abcdef\r\n" * 40_000


class Interrupted(Coroutine):
    """A coroutine whose task is cancelled when it suspends for the ``at``-th time."""

    def __init__(self, inner, at):
        self._inner = inner
        self._left = at

    def send(self, value):
        return self._passed(self._inner.send(value))

    def throw(self, *error):
        return self._passed(self._inner.throw(*error))

    def close(self):
        self._inner.close()

    def __await__(self):
        return self._inner.__await__()

    def _passed(self, waiting_for):
        self._left -= 1
        if self._left == 0:
            asyncio.current_task().cancel()
        return waiting_for

    @property
    def reached(self):
        return self._left <= 0


class Interrupter:
    """Cancels the next session at a given suspension; a task factory."""

    def __init__(self):
        self.at = 0
        self.last = None

    def __call__(self, loop, coro, **options):
        if self.at and getattr(coro, "__qualname__", "") == "Server._handle_client":
            coro = self.last = Interrupted(coro, self.at)
        return asyncio.Task(coro, loop=loop, **options)


async def plain(client):
    await client.mail(YES, NO)


async def pipelined(client):
    client.send("MAIL FROM:<uutiset@lamisnet.fi>")
    for recipient in (YES, NO, MORE):
        client.send(f"RCPT TO:<{recipient}>")
    client.send("DATA")
    for _ in range(5):
        await client.reply()
    await client.body(MAILING)


async def held(client):
    await client.mail(YES, message=NO_WAY_OUT)


async def on_the_disk(client):
    await client.mail(YES, message=BIG)


async def refused_upstream(client):
    await client.begin(YES, "nobody@example.com")
    await client.data()


async def rejected(client):
    await client.begin(YES, NO)
    await client.data()


async def invoice(client):
    await client.login("letter", "open sesame")
    await client.mail(YES, NO, message=INVOICE)


REJECTS = {"clients": [client_table(on_suppress="reject")]}
ON_DISK = {"smtp": {"message_memory": 65536}}


@pytest.mark.parametrize(
    ("dialogue", "settings"),
    [
        (plain, {}),
        (pipelined, {}),
        (held, {}),
        (on_the_disk, ON_DISK),
        (refused_upstream, {}),
        (rejected, REJECTS),
        (invoice, "login"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_cancelled_at_any_await_nothing_leaks_and_no_record_lies(
    build, upstream, tmp_path, dialogue, settings
):
    if settings == "login":
        (tmp_path / "secret").write_text("open sesame\n")
        (tmp_path / "secret").chmod(0o600)
        letter = client_table(
            name="letter",
            networks=None,
            username="letter",
            password_file=str(tmp_path / "secret"),
            kind="transactional",
        )
        settings = {"clients": [letter, client_table()]}
    upstream.refuse_rcpt(r"nobody@", "550 5.1.1 No such user")
    loop = asyncio.get_running_loop()
    interrupter = Interrupter()
    async with build(**settings) as house:
        await house.allow(YES, NO, MORE)
        await house.ban(NO)
        loop.set_task_factory(interrupter)
        try:
            for at in range(1, 500):
                arrived = len(upstream.messages)
                interrupter.at = at
                with suppress(ConnectionError, TimeoutError):
                    async with house.client() as client:
                        await dialogue(client)
                        await client.say("QUIT")
                interrupter.at = 0
                await _settled(house)
                await _true(house, upstream, arrived)
                if not interrupter.last.reached:
                    break
            else:
                raise AssertionError("the session never came to its end")
            assert at > 5, "it was not cancelled at all"
            # What is left works: the same connections, pools and stores.
            async with house.client() as client:
                if "letter" in str(settings):
                    await client.login("letter", "open sesame")
                assert (await client.mail(MORE, message=MAILING)).startswith("250")
        finally:
            loop.set_task_factory(None)


async def _settled(house):
    """Every session is gone and has taken nothing with it."""
    async with asyncio.timeout(30):
        while house.listener.sessions:
            await asyncio.sleep(0.005)
    assert house.listener.limits.connections == 0
    assert house.listener.budget.used == 0
    assert not house.listener.parking.reclaim("main")
    for stats in house.parts.site.upstreams.stats().values():
        assert (stats.leased, stats.waiting) == (0, 0)


async def _true(house, upstream, arrived):
    """What has arrived is recorded as forwarded or unknown, what has not is not."""
    new = upstream.messages[arrived:]
    assert all(NO not in message.recipients or b"Lasku" in message.content for message in new)
    found = await house.found()
    house.seen = getattr(house, "seen", set())
    fresh = [one for one in found if one.record_id not in house.seen]
    house.seen |= {one.record_id for one in fresh}
    results = {None if one.result is None else one.result.value for one in fresh}
    if new:
        assert results & {"forwarded", "unknown"}, results
    else:
        assert "forwarded" not in results
    for one in fresh:
        if one.outcome is Outcome.SUPPRESS:
            assert one.result is None or one.result.value in ("suppressed", "rejected", "failed")


async def test_a_pool_cancelled_at_any_await_keeps_its_slots(build, upstream):
    """A slow upstream: the session is cancelled while it connects, greets and asks."""
    upstream.on(Stage.EHLO, delay=0.05)
    upstream.on(Stage.RCPT, delay=0.02)
    loop = asyncio.get_running_loop()
    interrupter = Interrupter()
    async with build(upstream={"max_connections": 1}) as house:
        await house.allow(YES)
        loop.set_task_factory(interrupter)
        try:
            for at in range(1, 60):
                for pool in house.parts.site.upstreams._members.values():
                    for idle in tuple(pool.pool._idle):
                        idle.abort()
                interrupter.at = at
                with suppress(ConnectionError, TimeoutError):
                    async with house.client() as client:
                        await client.mail(YES)
                        await client.say("QUIT")
                interrupter.at = 0
                await _settled(house)
                if not interrupter.last.reached:
                    break
        finally:
            loop.set_task_factory(None)
        assert at > 8
        async with house.client() as client:
            assert (await client.mail(YES)).endswith("1 forwarded")
