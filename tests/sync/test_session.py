"""Requests to a tool: bounds, repeats, and never anywhere else."""

import asyncio
import socket
import time
from email.utils import formatdate

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gateway.connector.connector import Place, ToolUnreadable
from gateway.provider.request import Request
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync import session as module
from gateway.sync.session import Session, ToolAway, asked_pause, target_of
from tests.peers.certificates import self_signed
from tests.peers.provider import Provider
from tests.sync.plain import Plain

NOW = 1_800_000_000_000


@pytest.fixture
async def tool():
    answers: list[web.Response] = []
    seen: list[tuple[str, dict[str, str]]] = []

    async def answer(request: web.Request, body: bytes) -> web.Response:
        seen.append((request.raw_path, dict(request.headers)))
        return answers.pop(0) if answers else web.json_response({})

    server = Provider(answer)
    await server.start()
    yield server, answers, seen
    await server.stop()


def session_on(url: str, **how) -> Session:
    settings = SyncTool(
        name="t", kind=ToolKind.HTTP, **{"requests_per_second": 1000, "timeout": 5, **how}
    )
    return Session(settings, Plain(Place("t", url=url)))


async def test_it_waits_as_long_as_it_is_asked_to(tool):
    server, answers, seen = tool
    session = session_on(server.url)
    answers += [web.Response(status=429, headers={"Retry-After": "1"})]
    began = time.monotonic()
    answer = await session.ask(Request("GET", "/x"))
    assert answer.status == 200
    assert time.monotonic() - began >= 1
    assert len(seen) == 2
    assert seen[0][1]["User-Agent"].startswith("suppression-gateway/")
    await session.aclose()


async def test_a_long_time_is_left_to_the_loop(tool):
    server, answers, seen = tool
    session = session_on(server.url)
    answers += [web.Response(status=503, headers={"Retry-After": "7200"})]
    with pytest.raises(ToolAway) as caught:
        await session.ask(Request("GET", "/x"))
    assert caught.value.after == 7200
    assert len(seen) == 1
    await session.aclose()


async def test_redirects_are_told_and_not_followed(tool):
    server, answers, seen = tool
    session = session_on(server.url)
    answers += [web.Response(status=302, headers={"Location": server.url + "/elsewhere"})]
    assert (await session.ask(Request("GET", "/x"))).status == 302
    assert [path for path, _ in seen] == ["/x"]
    await session.aclose()


async def test_an_answer_is_bounded(tool, monkeypatch):
    server, answers, _ = tool
    monkeypatch.setattr(module, "ANSWER_MOST", 1000)
    session = session_on(server.url)
    answers += [web.Response(body=b"x" * 1001)]
    with pytest.raises(ToolAway, match="more than 1000"):
        await session.ask(Request("GET", "/x"))
    await session.aclose()


async def test_silence_is_tried_again_and_then_it_is_away(monkeypatch):
    monkeypatch.setattr(module, "_FIRST", 0.01)
    heard = 0
    ended: list[asyncio.Task] = []

    async def silent(reader, writer):
        nonlocal heard
        heard += 1
        ended.append(asyncio.current_task())
        await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    session = session_on(f"http://127.0.0.1:{port}", timeout=0.2)
    with pytest.raises(ToolAway, match="does not answer: nothing came in time"):
        await session.ask(Request("GET", "/x"))
    assert heard == module.TRIES
    await session.aclose()
    await asyncio.gather(*ended)
    server.close()
    await server.wait_closed()


async def test_why_there_is_no_answer_is_told_in_words(monkeypatch):
    monkeypatch.setattr(module, "_FIRST", 0.01)
    with socket.socket() as bound:  # bound, and not listening: whoever connects is refused
        bound.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{bound.getsockname()[1]}"
        refused = session_on(f"http://{at}")
        with pytest.raises(ToolAway, match="does not answer: connection refused"):
            await refused.ask(Request("GET", "/x"))
        await refused.aclose()
    nowhere = session_on("http://nowhere.invalid")
    with pytest.raises(ToolAway, match="the name of its host is not known"):
        await nowhere.ask(Request("GET", "/x"))
    await nowhere.aclose()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    plain = session_on(f"http://127.0.0.1:{port}")
    with pytest.raises(ToolAway, match="the connection broke off"):
        await plain.ask(Request("GET", "/x"))
    await plain.aclose()
    server.close()
    await server.wait_closed()


async def test_the_rate_is_kept(tool):
    server, _, seen = tool
    session = session_on(server.url, requests_per_second=20)
    began = time.monotonic()
    for _ in range(5):
        await session.ask(Request("GET", "/x"))
    assert time.monotonic() - began >= 0.19
    assert len(seen) == 5
    await session.aclose()


async def test_a_certificate_that_is_not_trusted_is_no_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_FIRST", 0.01)
    context = self_signed(tmp_path).server_context()
    server = await asyncio.start_server(
        lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context
    )
    port = server.sockets[0].getsockname()[1]
    session = session_on(f"https://127.0.0.1:{port}")
    with pytest.raises(ToolAway, match="its certificate is not trusted"):
        await session.ask(Request("GET", "/x"))
    await session.aclose()
    server.close()
    await server.wait_closed()


async def test_an_answer_that_the_connector_does_not_expect_breaks_nothing(tool):
    server, answers, _ = tool
    session = session_on(server.url)
    for body in (b"<html>", b"[]", b'{"entries": 7}'):
        answers.append(web.Response(body=body))
        with pytest.raises(ToolUnreadable):
            await session.run(Plain(Place("t")).changes(""))
    await session.aclose()


@given(st.text(min_size=1), st.text())
def test_no_path_leads_elsewhere(path, query):
    try:
        target = target_of("https://tool.example/v1", Request("GET", path, query))
    except ToolAway:
        return
    assert target.origin() == URL("https://tool.example")
    assert target.raw_path.startswith("/v1/")
    assert ".." not in target.raw_path.split("/")


@pytest.mark.parametrize(
    "path", ["https://evil.example/x", "//../x", "/../x", "x", "", "/a/../../b", "/x#y", "/x y"]
)
def test_paths_that_are_refused(path):
    with pytest.raises(ToolAway):
        target_of("https://tool.example/v1", Request("GET", path))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"retry-after": "7"}, 7),
        ({"retry-after": formatdate(NOW / 1000 + 90, usegmt=True)}, 90),
        ({"retry-after": formatdate(NOW / 1000 - 90, usegmt=True)}, 0),
        ({"retry-after": "soon"}, 0),
        ({"retry-after": "99999999999999"}, 86_400),
        ({"x-ratelimit-reset": "12"}, 12),
        ({"x-ratelimit-reset": str(NOW // 1000 + 30)}, 30),
        ({"x-ratelimit-reset": str(NOW + 30_000)}, 30),
        ({"x-sib-ratelimit-reset": "3"}, 3),
        ({"x-ratelimit-reset": "nan"}, 0),
        ({"x-ratelimit-reset": "-4"}, 0),
    ],
)
def test_what_a_tool_asks_for(headers, seconds):
    assert asked_pause(headers, NOW) == pytest.approx(seconds, abs=1)
