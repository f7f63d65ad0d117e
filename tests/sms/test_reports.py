"""Delivery reports that the gateway owes: kept until the tool takes them, and by whom it is."""

import asyncio
import json
import os
import signal
from collections import Counter
from contextlib import asynccontextmanager
from urllib.parse import parse_qs, parse_qsl, urlsplit

import aiohttp
import pytest
from aiohttp import web

from gateway.clock import now_ms
from tests.peers.process import RunningGateway, until
from tests.peers.provider import Provider, says, silence
from tests.peers.standins import twilio
from tests.sms.conftest import route_table
from tests.sms.test_proxy import AUTH, NO, PATH, TEXT, YES

SERVICE = "MG" + "0" * 32


def form(url, to=NO):
    return {"To": to, "MessagingServiceSid": SERVICE, "Body": TEXT, "StatusCallback": url}


@asynccontextmanager
async def with_reports(sms, tool, provider="twilio", **route):
    """A house that may report to this tool; one person may get its messages and one not."""
    hosts = [f"127.0.0.1:{tool.port}"]
    senders = ["LamisNET", SERVICE]
    async with sms(provider, senders=senders, report_hosts=hosts, **route) as house:
        await house.allow(YES, NO)
        await house.ban(NO)
        yield house


async def owe(house, tool, count=1):
    """Have messages accepted that are not sent."""
    for number in range(count):
        fields = form(f"{tool.url}/{number}")
        assert (await house.post(PATH, data=fields, headers=AUTH))[0] == 201


async def owed(house):
    wire = house.parts.register.connections.wire
    due, texts = await wire.exchange(
        [(b"ZCARD", b"gw:sms:{reports}:due"), (b"HLEN", b"gw:sms:{reports}:texts")], 1
    )
    assert due == texts
    return due


async def test_a_report_is_tried_until_it_is_taken(sms):
    async with Provider(says(500)) as tool, with_reports(sms, tool) as house:
        await owe(house, tool)
        await until(lambda: len(tool.asked) >= 2)
        assert await owed(house) == 1
        refused = len(tool.asked)
        tool.answer = says(200)
        async with asyncio.timeout(30):
            while await owed(house):
                await asyncio.sleep(0.02)
        assert len(tool.asked) > refused
        assert len({one.body for one in tool.asked}) == 1
        assert house.parts.plane.site.reporter.sent == 1


async def test_each_is_sent_by_one_of_two_workers(sms):
    async def slowly(request: web.Request, body: bytes) -> web.Response:
        await asyncio.sleep(0.05)
        return web.Response()

    async with (
        Provider(slowly) as tool,
        with_reports(sms, tool) as house,
        house.beside() as other,
    ):
        for number in range(20):
            url = (house.url, other)[number % 2]
            fields = form(f"{tool.url}/{number}")
            async with house.http.post(url + PATH, data=fields, headers=AUTH) as answer:
                assert answer.status == 201
        async with asyncio.timeout(30):
            while await owed(house):
                await asyncio.sleep(0.05)
        assert Counter(one.path for one in tool.asked) == {f"/{n}": 1 for n in range(20)}


async def test_no_more_are_owed_than_there_is_room_for(sms, monkeypatch):
    monkeypatch.setattr("gateway.sms.owed.MOST", 3)
    async with Provider(says(500)) as tool, with_reports(sms, tool) as house:
        await owe(house, tool, 5)
        assert await owed(house) == 3
        assert house.parts.plane.site.reporter.lost == 2


async def test_after_a_day_a_report_is_given_up(sms):
    async with Provider(says(500)) as tool, with_reports(sms, tool) as house:
        await owe(house, tool)
        await until(lambda: tool.asked)
        reporter = house.parts.plane.site.reporter
        reporter._clock = lambda: now_ms() + 86_400_001
        async with asyncio.timeout(30):
            while await owed(house):
                await asyncio.sleep(0.05)
        assert (reporter.sent, reporter.lost) == (0, 1)


async def test_no_host_hears_a_report_that_the_settings_do_not_name(sms):
    async with Provider(says(200)) as tool, Provider(says(200)) as stranger:
        async with with_reports(sms, tool) as house:
            await owe(house, stranger)
            assert await owed(house) == 0
            assert house.parts.plane.site.reporter.lost == 1
        assert stranger.asked == []


async def test_what_is_kept_of_a_report_names_nobody(sms):
    async with Provider(says(500)) as tool, with_reports(sms, tool) as house:
        await owe(house, tool)
        wire = house.parts.register.connections.wire
        ((text,),) = await wire.exchange([(b"HVALS", b"gw:sms:{reports}:texts")], 1)
        assert len(text) > 200
        assert NO.removeprefix("+").encode() not in text
        assert SERVICE.encode() not in text


@pytest.mark.slow
async def test_a_report_outlives_the_worker_and_the_gateway(tmp_path):
    """Killed before the tool took it, and killed whole: it comes all the same."""
    async with Provider(twilio.answer) as provider, Provider(says(503)) as tool:
        route = route_table(
            "twilio",
            provider.url,
            senders=[SERVICE],
            report_hosts=[f"127.0.0.1:{tool.port}"],
        )
        sms = {"listen": ["127.0.0.1:0"], "routes": [route]}
        gateway = RunningGateway(tmp_path, sms=sms, workers=1)
        async with gateway, aiohttp.ClientSession() as http:
            await gateway.allow(NO)
            await gateway.ban(NO)
            for number in range(3):
                url = f"http://127.0.0.1:{gateway.sms}/tool{PATH}"
                fields = form(f"{tool.url}/{number}")
                async with http.post(url, data=fields, headers=AUTH) as answer:
                    assert answer.status == 201
                    sid = (await answer.json())["sid"]
            await until(lambda: len({one.path for one in tool.asked}) == 3)
            tool.answer = silence
            await asyncio.sleep(1)
            (worker,) = gateway.workers
            os.kill(worker, signal.SIGKILL)
            await gateway.line("worker_started", count=2)
            gateway.signal(signal.SIGKILL)
            await gateway.ended()
            gateway.clean_up()
            tool.answer = says(200)
            before = len(tool.asked)
            await gateway.start()
            # What the killed one had claimed is due again when the claim ends.
            await until(lambda: len({one.path for one in tool.asked[before:]}) == 3, within=40)
            assert len(tool.asked) == before + 3
            heard = dict(parse_qsl(tool.asked[-1].body.decode()))
            assert (heard["MessageStatus"], heard["ErrorCode"]) == ("failed", "21610")
            assert sid in [parse_qs(one.body.decode())["MessageSid"][0] for one in tool.asked]
            assert provider.sends == []
            assert await gateway.stop() == 0


def sinch(url):
    batch = {"from": "LamisNET", "to": [YES, NO], "body": TEXT, "callback_url": url}
    return (
        "/xms/v1/plan/batches",
        {"json": {**batch, "delivery_report": "per_recipient"}},
        "Bearer x",
    )


def gatewayapi(url):
    people = [{"msisdn": int(YES)}, {"msisdn": int(NO)}]
    message = {"sender": "LamisNET", "message": TEXT, "callback_url": url, "recipients": people}
    return "/rest/mtsms", {"json": message}, "Token x"


def messagebird(url):
    message = {"originator": "LamisNET", "body": TEXT, "reportUrl": url, "reference": "r"}
    return "/messages", {"json": {**message, "recipients": [YES, NO]}}, "AccessKey live_0123456789"


def in_body(asked):
    return json.loads(asked.body)


def in_query(asked):
    return dict(parse_qsl(urlsplit(asked.path).query))


MIXED = [
    ("sinch", sinch, in_body, lambda said: said["id"], "batch_id", "recipient"),
    ("gatewayapi", gatewayapi, in_body, lambda said: said["ids"][0], "id", "msisdn"),
    ("messagebird", messagebird, in_query, lambda said: said["id"], "id", "recipient"),
]


@pytest.mark.parametrize("choice", ["native", "reject", "discard"])
@pytest.mark.parametrize(
    ("provider", "request_of", "read", "id_of", "names", "person"),
    MIXED,
    ids=[one[0] for one in MIXED],
)
async def test_who_is_left_out_of_a_batch_is_reported_under_the_provider_s_id(
    sms, provider, request_of, read, id_of, names, person, choice
):
    """The tool knows the message by the id in the answer, which is the provider's."""
    async with (
        Provider(says(200)) as tool,
        with_reports(sms, tool, provider, on_suppress=choice) as house,
    ):
        path, how, credential = request_of(f"{tool.url}/reports")
        status, answer = await house.post(path, **how, headers={"Authorization": credential})
        assert status in (200, 201)
        assert len(house.provider.sends) == 1
        if choice == "discard" or (choice == "reject" and provider == "messagebird"):
            await asyncio.sleep(0.3)
            assert tool.asked == []
            return
        await until(lambda: tool.asked)
        heard = read(tool.asked[0])
        assert str(heard[names]) == str(id_of(answer))
        assert str(heard[person]).removeprefix("+") == NO.removeprefix("+")
        assert len(tool.asked) == 1
