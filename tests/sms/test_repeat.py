"""Requests that name themselves, said again: never recorded twice, never sent twice in silence."""

import asyncio
import os
import signal
import time

import aiohttp
import pytest

from tests.peers.process import RunningGateway, until
from tests.peers.provider import Provider, hanging_up, says, silence
from tests.peers.standins import twilio
from tests.sms.conftest import route_table
from tests.sms.test_proxy import AUTH, NO, PATH, YES, form

KEY = {**AUTH, "Idempotency-Key": "one"}


async def say(http, url, to=YES, **headers):
    async with http.post(url + PATH, data=form(to), headers=KEY | headers) as answer:
        return answer.status, await answer.json(), answer.headers


async def test_a_request_that_names_itself_is_recorded_once(sms):
    async with sms("twilio") as house:
        await house.allow(NO)
        await house.ban(NO)
        for _ in range(2):
            status, answer = await house.post(PATH, data=form(NO), headers=KEY)
            assert (status, answer["code"]) == (400, 21610)
        assert await house.fate(NO) == [("suppress", "R11", "rejected")]


async def test_who_repeats_at_another_worker_waits_for_the_first_answer(sms):
    async with sms("twilio", answer_timeout=10) as house, house.beside() as other:
        await house.allow(YES)
        free = house.provider.stall()
        asked = [asyncio.create_task(say(house.http, url)) for url in (house.url, other) * 3]
        await until(lambda: house.provider.sends)
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in asked)
        free.set()
        said = await asyncio.gather(*asked)
        assert {status for status, _, _ in said} == {201}
        assert len({answer["sid"] for _, answer, _ in said}) == 1
        assert len(house.provider.sends) == 1
        assert await house.fate(YES) == [("forward", "R40", "forwarded")]


async def test_who_has_waited_too_long_is_told_to_come_again(sms, monkeypatch):
    monkeypatch.setattr("gateway.sms.repeat._WAIT", 0.2)
    async with sms("twilio", answer_timeout=10) as house, house.beside() as other:
        await house.allow(YES)
        free = house.provider.stall()
        first = asyncio.create_task(say(house.http, house.url))
        await until(lambda: house.provider.sends)
        status, answer, headers = await say(house.http, other)
        assert (status, answer["code"], headers["Retry-After"]) == (503, 20503, "5")
        free.set()
        assert (await first)[0] == 201
        assert (await say(house.http, other))[1]["sid"] == (await first)[1]["sid"]
        assert len(house.provider.sends) == 1


async def test_what_was_refused_or_not_sent_may_be_said_again(sms):
    """The next try is a try: only what was sent is answered from memory."""
    async with sms("twilio") as house:
        await house.allow(YES)
        for fault, status in ((says(400, '{"code": 21211}'), 400), (says(503, "{}"), 503)):
            house.provider.answer = fault
            assert (await say(house.http, house.url))[0] == status
        house.provider.answer = hanging_up
        assert (await say(house.http, house.url))[0] == 504
        house.provider.answer = twilio.answer
        assert (await say(house.http, house.url))[0] == 201
        assert len(house.provider.sends) == 4
        (found,) = await house.found(YES)
        results = [one.result for one in (await house.archive.show(found.record_id)).outcomes]
        assert results == ["refused", "deferred", "unknown", "forwarded"]


async def test_another_text_under_the_same_key_is_another_request(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        for text in ("Yksi. Lopeta: STOP", "Kaksi. Lopeta: STOP"):
            fields = form(YES) | {"Body": text}
            assert (await house.post(PATH, data=fields, headers=KEY))[0] == 201
        assert len(house.provider.sends) == 2


async def test_an_answer_too_large_to_keep_is_given_in_the_gateway_s_words(sms, monkeypatch):
    monkeypatch.setattr("gateway.sms.repeat._LARGEST", 10)
    async with sms("infobip") as house:
        await house.allow(YES, NO)
        await house.ban(NO)
        to = [{"to": YES}, {"to": NO}]
        text = {"text": "Ale. Lopeta: STOP"}
        document = {"messages": [{"sender": "LamisNET", "destinations": to, "content": text}]}
        headers = {"Authorization": "App 0123456789abcdef", "Idempotency-Key": "one"}
        said = [
            await house.post("/sms/3/messages", json=document, headers=headers) for _ in range(2)
        ]
        assert [status for status, _ in said] == [200, 200]
        for _, answer in said:
            names = [one["status"]["groupName"] for one in answer["messages"]]
            assert names == ["PENDING", "REJECTED"]
        assert len(house.provider.sends) == 1
        assert len(await house.found(YES)) == 1


async def test_what_is_kept_of_an_answer_names_nobody(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        assert (await say(house.http, house.url))[0] == 201
        wire = house.parts.register.connections.wire
        (keys,) = await wire.exchange([(b"KEYS", b"gw:sms:repeat:*")], 1)
        (value,) = await wire.exchange([(b"GET", keys[0])], 1)
        assert len(keys) == 1
        assert len(value) > 400
        for octets in (keys[0], value):
            assert YES.removeprefix("+").encode() not in octets
            assert b"Syysale" not in octets


async def test_a_claim_that_was_lost_sends_nothing(sms):
    """Its repetition has it now: this one may not hand over as well."""
    async with sms("twilio") as house:
        await house.allow(YES)
        site = house.parts.plane.site
        store = site.evidence.store

        async def slowly(records):
            await store(records)
            wire = house.parts.register.connections.wire
            (keys,) = await wire.exchange([(b"KEYS", b"gw:sms:repeat:*:turn")], 1)
            await wire.exchange([(b"SET", keys[0], b"another")], 1)

        site.evidence.store = slowly
        assert (await say(house.http, house.url))[0] == 503
        assert house.provider.asked == []
        assert await house.fate(YES) == [("forward", "R40", "failed")]


async def test_a_worker_killed_while_it_sends_leaves_no_second_message_in_silence(tmp_path):
    """Said again, the request hears 504 once; only then is it handed over again."""
    async with Provider(silence) as provider:
        route = route_table("twilio", provider.url, answer_timeout=60)
        sms = {"listen": ["127.0.0.1:0"], "routes": [route]}
        async with (
            RunningGateway(tmp_path, sms=sms, workers=1) as gateway,
            aiohttp.ClientSession() as http,
        ):
            await gateway.allow(YES)
            url = f"http://127.0.0.1:{gateway.sms}/tool"
            first = asyncio.create_task(say(http, url))
            await until(lambda: provider.sends)
            provider.answer = twilio.answer
            (worker,) = gateway.workers
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await first
            await gateway.line("worker_started", count=2)
            began = time.monotonic()
            status, answer, _ = await say(http, url)
            assert (status, answer["status"]) == (504, 504)
            assert "may have been sent" in answer["message"]
            assert time.monotonic() - began < 15
            assert len(provider.sends) == 1
            status, answer, _ = await say(http, url)
            assert (status, len(provider.sends)) == (201, 2)
            assert (await say(http, url))[1] == answer
            assert len(provider.sends) == 2
            assert await gateway.results(YES) == ["forwarded"]
            assert await gateway.stop() == 0
