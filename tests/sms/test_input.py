"""What tools and strangers may say to the text message side, and how they may say it."""

import asyncio
import base64
import contextlib
import gzip
import re
import time

import aiohttp
import pytest

ACCOUNT = "AC00000000000000000000000000000000"
PATH = f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
YES, NO, FREE = "+358401111111", "+358402222222", "+358403333333"
TEXT = "Syysale! Lopeta: vastaa STOP"
BASIC = aiohttp.encode_basic_auth(ACCOUNT, "token")
AUTH = {"Authorization": BASIC}
APP = {"Authorization": "App 0123456789abcdef"}
FORM = "application/x-www-form-urlencoded"
BODY = b"To=%2B358401111111&From=LamisNET&Body=Ale+STOP"


def form(to: str, **more: str) -> dict[str, str]:
    return {"To": to, "From": "LamisNET", "Body": TEXT, **more}


def head(*lines: str, path: str = "/tool" + PATH, method: str = "POST", version: str = "1.1"):
    usual = [f"{method} {path} HTTP/{version}", "Host: gateway", f"Authorization: {BASIC}"]
    return "\r\n".join([*usual, *lines, "", ""]).encode("latin-1")


def whole(*lines: str, body: bytes = BODY, **how: str) -> bytes:
    return head(f"Content-Type: {FORM}", f"Content-Length: {len(body)}", *lines, **how) + body


async def raw(house, *pieces: bytes, pause: float = 0, answers: int = 1) -> bytes:
    """All that comes back until the gateway closes, or has answered and says nothing more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.sms_port)
    heard = bytearray()

    async def hear() -> None:
        with contextlib.suppress(ConnectionError):
            while more := await reader.read(65536):
                heard.extend(more)

    hearing = asyncio.create_task(hear())
    with contextlib.suppress(ConnectionError):
        for piece in pieces:
            if writer.is_closing():
                break
            writer.write(piece)
            await writer.drain()
            if pause:
                await asyncio.wait([hearing], timeout=pause)
    async with asyncio.timeout(60):
        while len(statuses(heard)) < answers and not hearing.done():
            await asyncio.sleep(0.01)
    size = -1
    while size != len(heard) and not hearing.done():
        size = len(heard)
        await asyncio.wait([hearing], timeout=0.1)
    hearing.cancel()
    writer.close()
    return bytes(heard)


def statuses(heard: bytes | bytearray) -> list[int]:
    return [int(one) for one in re.findall(rb"HTTP/1\.[01] (\d{3})", heard)]


# -- requests ---------------------------------------------------------------------------


async def test_malformed_requests_reach_nobody(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        kinds = [
            ("", BODY, 415),
            ("application/json", b"{}", 415),
            (f"{FORM}; charset=utf-16", BODY, 415),
            (FORM, b"", 400),
            (FORM, b"To=%2B358401111111&To=%2B358402222222&From=LamisNET&Body=STOP", 400),
            (FORM, b"To=%2B358401111111&to=%2B358402222222&From=LamisNET&Body=STOP", 400),
            (FORM, b"To=%ff%fe&From=LamisNET&Body=STOP", 400),
            (FORM, b"\xff\xfe\x00", 400),
            (FORM, b"&".join(b"a%d=b" % n for n in range(30_000)), 400),
        ]
        for kind, body, expected in kinds:
            headers = AUTH | ({"Content-Type": kind} if kind else {})
            skip = () if kind else ("Content-Type",)
            status, answer = await house.post(
                PATH, data=body, headers=headers, skip_auto_headers=skip
            )
            assert (status, answer["status"]) == (expected, expected), (kind, body[:50])
        squeezed = AUTH | {"Content-Type": FORM, "Content-Encoding": "gzip"}
        status, _ = await house.post(PATH, data=gzip.compress(BODY), headers=squeezed)
        assert status == 415
        assert house.provider.asked == []
        assert house.parts.register.current.looked_up == 0


async def test_deep_json_is_an_error_of_the_tool(sms):
    async with sms("infobip") as house:
        for body in (b"[" * 100_000, b"{}", b"[]", b"null", b'{"messages": [{}]}', b'"\xff"', b""):
            headers = APP | {"Content-Type": "application/json"}
            status, answer = await house.post("/sms/3/messages", data=body, headers=headers)
            assert status == 400
            assert "requestError" in answer
        assert house.provider.asked == []


@pytest.mark.parametrize(
    "path",
    [
        "//2010-04-01/Accounts/" + ACCOUNT + "/Messages.json",
        "/./" + PATH[1:],
        "/x/.." + PATH,
        PATH.replace("Messages", "%4dessages"),
        PATH.replace("Messages", "messages"),
        PATH.replace("/Accounts", "/%2e/Accounts"),
        PATH.replace("/Messages", "//Messages"),
        PATH.replace("/Messages", "%2FMessages"),
        PATH + "/",
        PATH + ";x",
        PATH + "%00",
        PATH + "#x",
        PATH + "?To=%2B358402222222",
    ],
)
async def test_paths_that_a_provider_may_read_otherwise(sms, path):
    async with sms("twilio") as house:
        await house.allow(YES)
        assert statuses(await raw(house, whole(path="/tool" + path)))[0] in (400, 404)
        assert house.provider.asked == []


@pytest.mark.parametrize(
    "path",
    ["http://gateway/tool" + PATH, "http://tool.test" + PATH, "*", "tool" + PATH, "/TOOL" + PATH],
)
async def test_targets_that_are_no_path_here(sms, path):
    async with sms("twilio") as house:
        assert statuses(await raw(house, whole(path=path)))[0] in (400, 404)
        assert house.provider.asked == []


async def test_a_host_finds_its_own_route_only(sms):
    async with sms("twilio", prefix=None, host="Sms.Example.net") as house:
        await house.allow(YES)

        async def said(*hosts: str) -> list[int]:
            lines = "".join(f"Host: {host}\r\n" for host in hosts).encode("latin-1")
            return statuses(await raw(house, whole(path=PATH).replace(b"Host: gateway\r\n", lines)))

        assert await said("sms.example.NET:8081") == [201]
        for hosts in (["other.net"], [""], [], ["sms.example.net.evil"], ["sms.example.net@x"]):
            assert (await said(*hosts))[0] in (400, 404), hosts
        assert await said("sms.example.net", "other.net") == [400]
        assert len(house.provider.sends) == 1
        assert house.provider.sends[0].headers["host"] == f"127.0.0.1:{house.provider.port}"


@pytest.mark.parametrize(
    "lines",
    [
        ("Transfer-Encoding: chunked", "Content-Length: 4"),
        ("Content-Length: 4", "Content-Length: 5"),
        ("Transfer-Encoding: chunked, identity",),
        ("Transfer-Encoding : chunked",),
        ("Content-Length: +4",),
        ("Content-Length: 4", "Content-Type: application/json"),
        ("X: a\x00b",),
        ("X : a",),
        (" X: a",),
    ],
)
async def test_a_request_of_two_readings_is_none(sms, lines):
    async with sms("twilio") as house:
        await house.allow(YES, NO)
        inner = whole().replace(b"8401111111", b"8402222222")
        body = b"0\r\n\r\n" + inner
        asked = head(f"Content-Type: {FORM}", *lines) + body
        heard = statuses(await raw(house, asked))
        assert heard[:1] in ([400], []), heard
        assert len(heard) <= 1
        assert house.provider.asked == []


async def test_chunked_and_pipelined_and_old_requests(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        chunked = head(f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
        chunked += b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
        assert statuses(await raw(house, chunked)) == [201]
        assert statuses(await raw(house, chunked + whole() + whole(), answers=3)) == [201] * 3
        old = await raw(house, whole(version="1.0"))
        assert b" 201 " in old.split(b"\r\n")[0]
        assert len(house.provider.sends) == 5
        assert all(one.body == house.provider.sends[0].body for one in house.provider.sends)


async def test_who_waits_for_a_go_ahead_hears_it(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        lines = (f"Content-Type: {FORM}", f"Content-Length: {len(BODY)}", "Expect: 100-continue")
        reader, writer = await asyncio.open_connection("127.0.0.1", house.sms_port)
        writer.write(head(*lines))
        async with asyncio.timeout(30):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(BODY)
            assert (await reader.readline()).startswith(b"HTTP/1.1 201")
        writer.close()
        assert len(house.provider.sends) == 1
        assert "expect" not in house.provider.sends[0].headers


async def test_headers_of_the_connection_and_of_the_gateway_stay_here(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        asked = whole(
            "Connection: keep-alive, X-Mine, Authorization",
            "X-Mine: 1",
            "X-Gateway-Kind: marketing",
            "x-gateway-anything: 1",
            "TE: trailers",
            "Upgrade: h2c",
            "Proxy-Authorization: Basic x",
            "Accept-Encoding: br",
            "X-Theirs: 2",
        )
        assert statuses(await raw(house, asked)) == [201]
        headers = house.provider.sends[0].headers
        assert headers["x-theirs"] == "2"
        assert headers["authorization"] == BASIC
        named = {"x-mine", "te", "upgrade", "proxy-authorization"}
        assert not named & headers.keys()
        assert not [name for name in headers if name.startswith("x-gateway")]


# -- bounds -----------------------------------------------------------------------------


async def test_a_large_body_is_refused_before_it_is_read(sms):
    async with sms("twilio") as house:
        lines = (f"Content-Type: {FORM}", "Content-Length: 10485760")
        assert statuses(await raw(house, head(*lines))) == [413]
        chunk = b"10000\r\n" + b"a" * 0x10000 + b"\r\n"
        chunked = head(f"Content-Type: {FORM}", "Transfer-Encoding: chunked")
        heard = await raw(house, chunked, *[chunk] * 65)
        assert statuses(heard) == [413]
        assert house.provider.asked == []


async def test_slow_senders_are_closed_in_time(sms):
    async with sms("twilio", table={"read_timeout": 0.5, "idle_timeout": 1}) as house:
        dripping = [bytes([octet]) for octet in head("X: " + "a" * 500)]
        began = time.monotonic()
        assert await raw(house, *dripping, pause=0.05) == b""
        assert time.monotonic() - began < 15  # of the 25 that all drops take
        lines = (f"Content-Type: {FORM}", "Content-Length: 1000")
        began = time.monotonic()
        heard = await raw(house, head(*lines), *[b"a"] * 500, pause=0.05)
        assert statuses(heard) == [408]
        assert time.monotonic() - began < 15
        # The head of a second request drips.
        await house.allow(YES)
        began = time.monotonic()
        heard = await raw(house, whole(), *dripping, pause=0.05)
        assert statuses(heard) == [201]
        assert time.monotonic() - began < 15
        assert len(house.provider.sends) == 1


async def test_a_head_without_end_is_bounded(sms):
    async with sms("twilio") as house:
        pieces = [b"X-%d: a\r\n" % n for n in range(5_000)]
        heard = await raw(house, head()[:-2], *pieces)
        assert statuses(heard) in ([400], [])
        assert statuses(await raw(house, head("X: " + "a" * 100_000))) in ([400], [])


async def test_no_more_requests_than_the_bound(sms):
    table = {"max_requests": 2, "max_connections": 4}
    async with sms("twilio", table=table) as house:
        await house.allow(YES)
        free = house.provider.stall()
        first = [
            asyncio.create_task(house.post(PATH, data=form(YES), headers=AUTH)) for _ in range(2)
        ]
        while len(house.provider.sends) < 2:
            await asyncio.sleep(0.01)
        async with house.http.post(house.url + PATH, data=form(YES), headers=AUTH) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        waiting = [await asyncio.open_connection("127.0.0.1", house.sms_port) for _ in range(3)]
        reader, _ = waiting[-1]
        async with asyncio.timeout(30):
            assert await reader.read() == b""
        free.set()
        assert [(await one)[0] for one in first] == [201, 201]
        for _, writer in waiting:
            writer.close()


async def test_messages_per_minute(sms):
    async with sms("twilio", messages_per_minute=2) as house:
        await house.allow(YES)
        heard = []
        for _ in range(3):
            async with house.http.post(house.url + PATH, data=form(YES), headers=AUTH) as answer:
                heard.append((answer.status, "Retry-After" in answer.headers))
        assert heard == [(201, False), (201, False), (429, True)]
        assert len(house.provider.sends) == 2


# -- strangers --------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_stranger_learns_nothing(sms, tmp_path):
    for name in ("token", "secret"):
        (tmp_path / name).write_text(f"{name}-0123456789abcdef0123456789")
    how = {"token_file": str(tmp_path / "token"), "password_file": str(tmp_path / "secret")}
    right = aiohttp.encode_basic_auth(ACCOUNT, "token-0123456789abcdef0123456789")
    async with sms("twilio", networks=None, **how) as house:
        await house.allow(YES, NO)
        await house.ban(NO)
        before = house.parts.register.current.looked_up
        answers = set()
        shown = [
            BASIC,
            "",
            "Basic",
            "Basic " + base64.b64encode(b"\xff\xfe:x").decode(),
            "Basic \xe4\xf6",
            "Basic " + "\xc3\xa4" * 8,
            "Bearer token-0123456789abcdef0123456789",
        ]
        for value in shown:
            for number in (YES, NO, FREE, "nonsense"):
                body = f"To=%2B{number[1:]}&From=LamisNET&Body=STOP".encode()
                asked = whole(body=body).replace(BASIC.encode(), value.encode("latin-1"))
                heard = await raw(house, asked)
                answers.add(
                    (statuses(heard)[0], heard.rpartition(b"\r\n\r\n")[2], "\xe4\xf6" in value)
                )
        assert len(answers) == 2
        assert {status for status, _, no_text in answers if not no_text} == {401}
        assert {status for status, _, no_text in answers if no_text} == {400}
        assert house.parts.register.current.looked_up == before
        assert house.provider.asked == []
        assert await house.found() == []
        # Twice, wrong before right and right before wrong: never two secrets go on.
        for values in ((BASIC, right), (right, BASIC)):
            lines = "\r\nAuthorization: ".join(values).encode()
            await raw(house, whole().replace(BASIC.encode(), lines))
        for one in house.provider.sends:
            assert one.headers["authorization"] == aiohttp.encode_basic_auth(
                ACCOUNT, "secret-0123456789abcdef0123456789"
            )
        assert len(house.provider.sends) <= 1


async def test_a_head_that_is_no_text_is_an_error_of_the_tool(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        for line in (
            "X-Gateway-Topic: \xe4",
            "Idempotency-Key: \xff",
            "X-Campaign-Id: \xff",
            "X: \xff",
        ):
            assert statuses(await raw(house, whole(line))) == [400], line
        assert house.provider.asked == []
