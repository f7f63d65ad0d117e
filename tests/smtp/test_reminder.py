"""The contact is told of held messages, once a day, by way of the gateway's own upstream."""

import pytest

from gateway.clock import now_ms
from gateway.failure import RegisterUnavailable
from gateway.held.message import State
from gateway.held.notice import DAY
from gateway.serve.reminder import Reminder
from tests.peers.house import INVOICE, client_table
from tests.peers.scripted import Stage
from tests.smtp.test_release import hold

A, CONTACT = "a@example.com", "privacy@lamisnet.example"
HOUR = 3_600_000


class Clock:
    def __init__(self) -> None:
        self.now = now_ms()

    def __call__(self) -> int:
        return self.now


@pytest.fixture
async def house(build):
    async with build(clients=[client_table(kind="declared", topic=None)]) as house:
        house.clock = Clock()
        house.reminder = reminder_of(house)
        yield house


def reminder_of(house) -> Reminder:
    return Reminder(
        house.settings,
        register=house.parts.register,
        database=house.database,
        ring=house.parts.ring,
        seal=house.parts.seal,
        upstreams=house.parts.site.upstreams,
        clock=house.clock,
    )


async def test_it_tells_of_what_waits_once_a_day_and_then_that_it_expired(house, upstream):
    held_id = await hold(house, A)
    await house.reminder.run()
    house.clock.now += 6 * DAY
    await house.reminder.run()
    assert upstream.messages == []
    house.clock.now += 2 * DAY + HOUR
    for _ in range(3):
        await house.reminder.run()
        house.clock.now += 7 * HOUR
    [notice] = upstream.messages
    assert (notice.sender, notice.recipients) == ("suppression-gateway@lamisnet.fi", [CONTACT])
    assert b"1 held messages wait" in notice.content
    assert held_id.encode() in notice.content
    assert b"R01" in notice.content
    assert b"8 days" in notice.content
    assert A.encode() not in notice.content

    house.clock.now += 7 * HOUR
    await house.reminder.run()
    assert len(upstream.messages) == 2
    house.clock.now += 22 * DAY
    await house.reminder.run()
    assert (await house.parts.site.held.get(held_id)).state is State.EXPIRED
    assert b"1 expired: nobody decided in 30 days" in upstream.messages[2].content
    house.clock.now += 2 * DAY
    await house.reminder.run()
    assert len(upstream.messages) == 3

    # Each is in the records as every message is: a notice, by the rule for notices.
    records = await house.found(CONTACT)
    assert [(one.kind, one.rule, one.result) for one in records] == [
        ("notice", "R04", "forwarded")
    ] * 3
    [record] = await house.found(A)
    shown = await house.archive.show(record.record_id)
    assert [one.result for one in shown.outcomes] == ["held", "expired"]
    assert (await house.archive.verify()).whole


async def test_a_clock_that_went_ahead_and_was_put_right_does_not_silence_it(house, upstream):
    await hold(house, A)
    house.clock.now += 20 * DAY
    await house.reminder.run()
    assert len(upstream.messages) == 1
    house.clock.now -= 10 * DAY
    for _ in range(2):
        await house.reminder.run()
        assert len(upstream.messages) == 2


async def test_a_notice_that_was_not_taken_is_sent_again_after_an_hour(house, upstream):
    await hold(house, A)
    house.clock.now += 8 * DAY
    refusing = upstream.on(Stage.END, reply="451 4.3.0 Later")
    await house.reminder.run()
    assert refusing.played == 1
    upstream.forget_script()
    house.clock.now += HOUR // 2
    await house.reminder.run()
    assert upstream.messages == []
    house.clock.now += HOUR
    await house.reminder.run()
    [sent] = upstream.messages
    [refused] = upstream.refused_messages
    assert message_id(sent) == message_id(refused)
    assert [one.result for one in await house.found(CONTACT)] == ["failed", "forwarded"]


async def test_one_whose_answer_was_lost_may_come_twice_with_the_same_id(house, upstream):
    await hold(house, A)
    house.clock.now += 8 * DAY
    upstream.on(Stage.END, close=True, accept=True, times=1)
    await house.reminder.run()
    # Another process goes on where this one was killed.
    house.clock.now += 2 * HOUR
    await reminder_of(house).run()
    first, second = upstream.messages
    assert message_id(first) == message_id(second)
    assert [one.result for one in await house.found(CONTACT)] == ["unknown", "forwarded"]
    house.clock.now += 2 * HOUR
    await reminder_of(house).run()
    assert len(upstream.messages) == 2


async def test_it_goes_out_while_the_register_does_not_answer(house, upstream, monkeypatch):
    await hold(house, A)
    house.clock.now += 8 * DAY

    async def away(*_, **__):
        raise RegisterUnavailable("away")

    monkeypatch.setattr(house.parts.register, "look_up", away, raising=True)
    await house.reminder.run()
    assert len(upstream.messages) == 1


async def test_notices_can_be_turned_off_and_expiry_goes_on(build, upstream):
    held = {"notices": False, "expire_after": 2, "remind_after": 1}
    clients = [client_table(kind="declared", topic=None)]
    async with build(clients=clients, held=held) as house:
        house.clock = Clock()
        held_id = await hold(house, A, message=INVOICE)
        house.clock.now += 3 * DAY
        await reminder_of(house).run()
        assert (await house.parts.site.held.get(held_id)).state is State.EXPIRED
        assert upstream.messages == []


def message_id(message) -> bytes:
    [line] = [one for one in message.content.split(b"\r\n") if one.startswith(b"Message-ID:")]
    return line
