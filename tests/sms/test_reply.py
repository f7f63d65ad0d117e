"""How an answer reaches a tool, on real sockets: the same as through the HTTP library."""

import asyncio
import contextlib
import re

import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.request import Answer
from gateway.sms.reply import reply

ANSWERS = st.tuples(
    st.sampled_from([200, 201, 202, 204, 304, 400, 404, 429, 503, 599]),
    st.binary(max_size=50) | st.just(b"y" * 150_000),
    st.sampled_from(["", "application/json", "text/plain; charset=utf-8"]),
    st.lists(
        st.sampled_from(
            [
                ("Retry-After", "5"),
                ("X-One", "å"),
                ("Set-Cookie", "a=b"),
                ("Set-Cookie", "c=d"),
                ("Date", "Sun, 29 Nov 2026 10:00:00 GMT"),
                ("Server", "theirs"),
            ]
        ),
        max_size=3,
        unique=True,
    ).map(tuple),
).map(lambda members: Answer(*members))
ASKED = st.sampled_from(
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
)


def by_the_library(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body)
    for name, value in answer.headers:
        response.headers.add(name, value)
    if answer.content_type:
        response.headers["Content-Type"] = answer.content_type
    return response


def parts(heard: bytes) -> tuple[bytes, list[bytes], bytes]:
    """Status line, header lines in any order and without the time, body."""
    head, _, body = heard.partition(b"\r\n\r\n")
    line, *headers = re.sub(rb"Date: [^\r]*", b"Date: then", head).split(b"\r\n")
    return line, sorted(headers), body


NEXT = b"GET /next HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def whole(said: bytes, asked: bytes) -> bool:
    """Whether all is here that its head announces."""
    head, found, body = said.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\nContent-Length: (\d+)", head)
    if not found:
        return False
    if asked.startswith(b"HEAD") or head[9:12] in (b"204", b"304"):
        return True
    return length is not None and len(body) >= int(length[1])


async def heard(answer: Answer, asked: bytes, *, ours: bool) -> tuple[bytes, bool]:
    """All that comes back, and whether the connection stays open: another request is heard."""

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/next":
            return web.Response(text="next")
        return reply(answer, request) if ours else by_the_library(answer)

    web_server = web.Server(handle)
    server = await asyncio.get_running_loop().create_server(web_server, "127.0.0.1", 0)
    said, more = b"", b"x"
    async with server, asyncio.timeout(60):
        host, port = server.sockets[0].getsockname()
        reader, writer = await asyncio.open_connection(host, port)
        writer.write(asked)
        while more and not whole(said, asked):
            said += (more := await reader.read(1 << 20))
        with contextlib.suppress(ConnectionError):
            writer.write(NEXT)
            while more:
                said += (more := await reader.read(1 << 20))
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await web_server.shutdown(1)
    stays = said.endswith(b"\r\n\r\nnext")
    if stays:
        said = said[: said.rindex(b"HTTP/1.1 200 OK\r\n")]
    return said, stays


@settings(deadline=None, max_examples=40)
@given(ANSWERS, ASKED)
def test_a_tool_hears_what_the_library_would_have_said(answer: Answer, asked: bytes):
    """Status, headers, body, and whether the connection stays are the library's."""

    async def both() -> None:
        (mine, stay), (theirs, stays) = await asyncio.gather(
            heard(answer, asked, ours=True), heard(answer, asked, ours=False)
        )
        assert (parts(mine), stay) == (parts(theirs), stays)

    asyncio.run(both())


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb"])
async def test_a_header_that_would_end_its_line_is_never_written(value):
    answer = Answer(200, b"{}", headers=(("X-One", value),))
    said, stays = await heard(answer, b"POST / HTTP/1.1\r\nHost: a\r\n\r\n", ours=True)
    assert b"Evil" not in said
    assert not stays
