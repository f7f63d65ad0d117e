"""What providers answer, tools repeat, and settings ask for: who hears what, and once."""

import asyncio
import gzip
from dataclasses import replace
from importlib import import_module

import aiohttp
import pytest
from aiohttp import web

from gateway.clock import now_ms
from gateway.decision.facts import Outcome
from gateway.serve.plane import routes_of
from tests.peers.provider import says

ACCOUNT = "AC00000000000000000000000000000000"
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
YES, ALSO, NO = "+358401111111", "+358403333333", "+358402222222"
TEXT = "Syysale! Lopeta: vastaa STOP"
AUTH = {"Authorization": aiohttp.encode_basic_auth(ACCOUNT, "token")}
APP = {"Authorization": "App 0123456789abcdef"}
KEY = {"I-Twilio-Idempotency-Token": "one"}
DAYS = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def form(to: str, **more: str) -> dict[str, str]:
    return {"To": to, "From": "LamisNET", "Body": TEXT, **more}


class Quiet:
    """It is quiet for one number, for an hour."""

    def __init__(self, number: str) -> None:
        self.number = number

    def until(self, number: str, now: int) -> int | None:
        return now + 3_600_000 if number == self.number else None


async def send(house, to: str = YES, headers: dict | None = None, **more: str):
    return await house.post(PATH, data=form(to, **more), headers=AUTH | (headers or {}))


# -- the provider -----------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirection_is_not_passed_on(sms, status):
    """Who follows it says the whole request, banned recipients too, to the provider itself."""
    async with sms("infobip") as house:
        await house.allow(YES, NO)
        await house.ban(NO)
        elsewhere: list[bytes] = []

        async def redirect(request: web.Request, body: bytes) -> web.Response:
            if request.path == "/elsewhere":
                elsewhere.append(body)
            where = {"Location": house.provider.url + "/elsewhere"}
            return web.Response(status=status, headers=where)

        house.provider.answer = redirect
        to = [{"to": YES}, {"to": NO}]
        one = {"sender": "LamisNET", "destinations": to, "content": {"text": TEXT}}
        how = {"json": {"messages": [one]}, "headers": APP}
        async with house.http.post(house.url + "/sms/3/messages", **how) as answer:
            assert answer.status == 504
            assert "Location" not in answer.headers
        assert elsewhere == []


GARBAGE = ["", "null", "[]", "[null]", "1", '"x"', "{}", "{", '{"messages": null}']
GARBAGE += ['{"messages": [null]}', '{"messages": "x"}', '{"messages": [{"status": 1}]}']
GARBAGE += ['{"ids": null}', '{"message-count": "x", "messages": [1]}', '{"data": []}']
SENDS = {
    "twilio": (PATH, {"data": form(YES)}, AUTH),
    "infobip": (
        "/sms/3/messages",
        {
            "json": {
                "messages": [
                    {
                        "sender": "LamisNET",
                        "destinations": [{"to": YES}, {"to": NO}],
                        "content": {"text": TEXT},
                    }
                ]
            }
        },
        APP,
    ),
    "gatewayapi": (
        "/rest/mtsms",
        {
            "json": {
                "sender": "LamisNET",
                "message": TEXT,
                "recipients": [{"msisdn": int(YES)}, {"msisdn": int(NO)}],
            }
        },
        {"Authorization": "Token x"},
    ),
    "vonage": (
        "/sms/json",
        {
            "data": {
                "api_key": "a",
                "api_secret": "b",
                "from": "LamisNET",
                "to": YES[1:],
                "text": TEXT,
            }
        },
        {},
    ),
    "link": (
        "/sms/send",
        {
            "json": {
                "source": "LamisNET",
                "destination": YES,
                "userData": TEXT,
                "platformId": "a",
                "platformPartnerId": "b",
            }
        },
        AUTH,
    ),
    "messagebird": (
        "/messages",
        {"json": {"originator": "LamisNET", "recipients": [YES, NO], "body": TEXT}},
        {"Authorization": "AccessKey x"},
    ),
}


@pytest.mark.parametrize("name", SENDS)
async def test_a_yes_that_nobody_understands_is_a_yes(sms, name):
    """It was sent: nothing may sound as if the request could be said again."""
    path, how, headers = SENDS[name]
    async with sms(name) as house:
        await house.allow(YES, NO)
        await house.ban(NO)
        for kind in ("application/json", "text/html"):
            for text in GARBAGE:
                house.provider.answer = says(200, text, kind)
                before = len(house.provider.sends)
                status, _ = await house.post(path, headers=headers, **how)
                assert len(house.provider.sends) == before + 1, (text, _)
                assert status < 300, (kind, text)
        fates = {one[2] for one in await house.fate(YES)}
        assert fates <= {"forwarded", "refused", "deferred"}, fates


async def test_answers_on_the_wire(sms):
    async with sms("twilio", answer_timeout=10) as house:
        await house.allow(YES)
        usual = import_module("tests.peers.standins.twilio").answer

        async def squeezed(request: web.Request, body: bytes) -> web.Response:
            plain = await usual(request, body)
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
            return web.Response(status=201, body=gzip.compress(plain.body), headers=headers)

        async def huge(request: web.Request, body: bytes) -> web.Response:
            return web.json_response({"x": "a" * 6_000_000})

        async def bomb(request: web.Request, body: bytes) -> web.Response:
            headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
            return web.Response(body=gzip.compress(b"a" * 60_000_000), headers=headers)

        async def half(request: web.Request, body: bytes) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Length": "1000"})
            await response.prepare(request)
            await response.write(b"{")
            request.transport.close()
            return response

        async def later(request: web.Request, body: bytes) -> web.Response:
            return web.json_response({"code": 20429}, status=429, headers={"Retry-After": "17"})

        house.provider.answer = squeezed
        status, answer = await send(house)
        assert (status, answer["to"]) == (201, YES)
        for fault in (huge, bomb, half):
            house.provider.answer = fault
            status, answer = await send(house)
            assert (status, answer["status"]) == (504, 504)
            assert (await house.fate(YES))[-1][2] == "unknown"
        house.provider.answer = later
        async with house.http.post(house.url + PATH, data=form(YES), headers=AUTH) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (429, "17")


async def test_half_an_answer_that_only_passes_ends_the_connection(sms):
    async with sms("twilio", answer_timeout=10) as house:

        async def half(request: web.Request, body: bytes) -> web.StreamResponse:
            response = web.StreamResponse(headers={"Content-Type": "application/json"})
            await response.prepare(request)
            await response.write(b'{"a": 1}')
            await asyncio.sleep(0.2)
            request.transport.abort()
            return response

        house.provider.answer = half
        with pytest.raises(aiohttp.ClientError):
            async with house.http.get(house.url + PATH, headers=AUTH) as answer:
                assert b"503" not in await answer.read()


# -- the tool ---------------------------------------------------------------------------


async def cut(house, wait: float, **headers: str) -> None:
    """Say a request, and be gone before its answer."""
    task = asyncio.create_task(send(house, headers=headers))
    while not house.provider.sends:
        assert not task.done(), task.result()
        await asyncio.sleep(0.01)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await asyncio.sleep(wait)


async def test_a_tool_that_is_gone_is_no_reason_to_stop(sms):
    async with sms("twilio", answer_timeout=10) as house:
        await house.allow(YES)
        free = house.provider.stall()
        await cut(house, 0.2)
        free.set()
        async with asyncio.timeout(30):
            while await house.fate(YES) != [("forward", "R40", "forwarded")]:
                await asyncio.sleep(0.05)


async def test_a_request_said_again_is_the_same_request(sms):
    async with sms("twilio", answer_timeout=10) as house:
        await house.allow(YES)
        free = house.provider.stall()
        await cut(house, 0.1, **KEY)
        free.set()
        await asyncio.sleep(0.2)
        assert (await send(house, headers=KEY))[0] == 201
        keys = [one.headers["i-twilio-idempotency-token"] for one in house.provider.sends]
        assert keys == ["one"]
        assert await house.fate(YES) == [("forward", "R40", "forwarded")]
        await house.ban(YES)
        assert (await send(house, headers=KEY))[0] == 201
        assert (await send(house, headers={"I-Twilio-Idempotency-Token": "two"}))[0] == 400
        assert len(await house.found(YES)) == 2


async def test_a_drain_finishes_what_is_under_way(sms):
    async with sms("twilio", answer_timeout=10) as house:
        await house.allow(YES)
        free = house.provider.stall()
        asked = asyncio.create_task(send(house))
        while not house.provider.sends:
            await asyncio.sleep(0.01)
        drained = asyncio.create_task(house.door.drain(5))
        await asyncio.sleep(0.2)
        assert not drained.done()
        free.set()
        assert (await asked)[0] == 201
        assert await drained is True
        assert await house.fate(YES) == [("forward", "R40", "forwarded")]


async def test_a_drain_does_not_wait_for_a_tool_that_reads_nothing(sms):
    async with sms("twilio", answer_timeout=10) as house:

        async def long(request: web.Request, body: bytes) -> web.Response:
            return web.json_response({"x": "a" * 30_000_000})

        house.provider.answer = long
        _, writer = await asyncio.open_connection("127.0.0.1", house.sms_port, limit=1024)
        token = AUTH["Authorization"]
        lines = f"GET /tool{PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n\r\n"
        writer.write(lines.encode())
        await asyncio.sleep(0.5)
        async with asyncio.timeout(30):
            await house.door.drain(1)
        writer.close()


# -- the settings -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("choice", "service", "expected", "result"),
    [
        ("native", False, 400, "rejected"),
        ("native", True, 201, "suppressed"),
        ("reject", True, 400, "rejected"),
        ("discard", False, 201, "suppressed"),
    ],
)
async def test_how_a_suppressed_recipient_is_answered(sms, choice, service, expected, result):
    sender = "MG" + "0" * 32
    async with sms("twilio", on_suppress=choice, senders=["LamisNET", sender]) as house:
        await house.allow(NO)
        await house.ban(NO)
        fields = form(NO)
        if service:
            del fields["From"]
            fields["MessagingServiceSid"] = sender
        status, answer = await house.post(PATH, data=fields, headers=AUTH)
        assert status == expected
        assert answer.get("code") == (21610 if expected == 400 else None)
        assert house.provider.asked == []
        assert await house.fate(NO) == [("suppress", "R11", result)]


async def test_what_a_message_must_show(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        for fields, rule in (
            ({"From": "Muu"}, "R02"),
            ({"Body": "Syysale!"}, "R16"),
            ({"Body": "Stopparit alesta"}, "R16"),
        ):
            status, _ = await send(house, **fields)
            assert status < 500
            outcome, found, _ = (await house.fate(YES))[-1]
            assert (outcome is Outcome.FORWARD, found) == (False, rule)
        assert house.provider.asked == []
        status, answer = await send(house, SendAt="2030-01-01T00:00:00Z", ScheduleType="fixed")
        assert (status, answer["status"]) == (400, 400)
        assert (await send(house, From="lamisnet"))[0] == 201
    async with sms("twilio", opt_out_added=True, senders=["default", "LamisNET"]) as house:
        await house.allow(YES)
        assert (await send(house, Body="Syysale!"))[0] == 201


async def test_a_declared_kind_and_a_topic(sms):
    async with sms("twilio", kind="declared", topic=None) as house:
        await house.customer(YES)
        status, _ = await send(house, headers={"X-Gateway-Kind": "service"}, Body="Koodi 1")
        assert status == 201
        assert "x-gateway-kind" not in house.provider.sends[0].headers


async def test_quiet_hours_say_when_to_try_again(sms):
    today = (now_ms() // 86_400_000 + 3) % 7
    days = [DAYS[today], DAYS[(today + 1) % 7], DAYS[today - 1]]
    quiet = {"begins": "00:00", "ends": "00:00", "days": days, "holidays": False}
    async with sms("twilio", table={"quiet": quiet}) as house:
        await house.allow(YES)
        async with house.http.post(house.url + PATH, data=form(YES), headers=AUTH) as answer:
            assert answer.status == 503
            assert 0 < int(answer.headers["Retry-After"]) < 4 * 86_400
            assert (await answer.json())["status"] == 503
        assert house.provider.asked == []
        assert await house.fate(YES) == [("defer", "Q1", "deferred")]
    async with sms("twilio", table={"quiet": quiet}, urgent=True) as house:
        await house.allow(YES)
        assert (await send(house))[0] == 201


async def test_who_is_put_off_by_another_s_quiet_hours_is_recorded_too(sms):
    """Nothing of the request is sent, and each record says so."""
    async with sms("infobip") as house:
        await house.allow(YES, NO, ALSO)
        await house.ban(NO)
        plane = house.parts.plane
        house.door.site = replace(plane.site, quiet=Quiet(ALSO))
        to = [{"to": YES}, {"to": NO}, {"to": ALSO}]
        one = {"sender": "LamisNET", "destinations": to, "content": {"text": TEXT}}
        how = {"json": {"messages": [one]}, "headers": APP}
        for _ in range(2):
            assert (await house.post("/sms/3/messages", **how))[0] == 503
        assert house.provider.asked == []
        assert await house.fate(YES) == [("forward", "R40", "deferred")] * 2
        assert await house.fate(NO) == [("suppress", "R11", "deferred")] * 2
        assert await house.fate(ALSO) == [("defer", "Q1", "deferred")] * 2
        (found, *_) = await house.found(ALSO)
        shown = await house.archive.show(found.record_id)
        assert [outcome.reply_code for outcome in shown.outcomes] == [None]


async def test_what_is_put_off_without_a_record_is_not_said_to_be_recorded(sms, monkeypatch):
    """The records cannot be stored: the tool hears the same 503, soon to be tried again."""
    async with sms("twilio") as house:
        await house.allow(YES)
        plane = house.parts.plane
        house.door.site = replace(plane.site, quiet=Quiet(YES))
        recorder = plane.site.recorder
        monkeypatch.setattr(recorder, "_probe_at", asyncio.get_running_loop().time() + 60)
        async with house.http.post(house.url + PATH, data=form(YES), headers=AUTH) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        monkeypatch.setattr(recorder, "_probe_at", 0.0)
        assert await house.fate(YES) == []


async def test_a_reload_changes_routes(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        plane = house.parts.plane
        settings = house.settings
        (route,) = settings.sms.routes
        other = replace(settings, sms=replace(settings.sms, routes=[replace(route, prefix="/new")]))
        assert routes_of(other).all[0].settings.prefix == "/new"
        house.door.site = plane.rebuild(other, plane.site.rules)
        assert (await send(house))[0] == 404
        async with house.http.post(
            house.url.replace("/tool", "/new") + PATH, data=form(YES), headers=AUTH
        ) as answer:
            assert answer.status == 201
        gone = replace(route, senders=["Muu"], prefix="/new")
        other = replace(settings, sms=replace(settings.sms, routes=[gone]))
        house.door.site = plane.rebuild(other, plane.site.rules)
        assert (await house.fate(YES))[-1][0] is Outcome.FORWARD
