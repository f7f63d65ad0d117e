"""How a request reaches a provider, on real sockets: the same as through the HTTP library."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from gateway.failure import RegisterUnavailable
from gateway.provider.request import Request
from gateway.sms.head import OF_CONNECTION, head_of, passed_on
from gateway.sms.upstream import LOST, MOST, Sending, Upstream
from tests.peers.certificates import self_signed
from tests.peers.provider import Provider, says

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


async def at_once() -> None:
    """Nothing stands in its way."""


@asynccontextmanager
async def upstream_to(base_url: str, ca_file: Path | None = None) -> AsyncIterator[Upstream]:
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca_file))
    jar = aiohttp.DummyCookieJar()
    async with aiohttp.ClientSession(connector=connector, cookie_jar=jar) as session:
        yield Upstream(session, base_url)


@asynccontextmanager
async def speaking(
    talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[str]:
    """A server that says what ``talk`` says; its base URL."""
    talks: list[asyncio.Task] = []

    async def closing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talks.append(asyncio.current_task())
        try:
            await talk(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(closing, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await asyncio.wait_for(asyncio.gather(*talks), 30)


async def one_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def asked(body: bytes = b"{}", path: str = "/x", query: str = "") -> Request:
    return Request("POST", path, query, (("Host", "a.example"),), body)


NAMES = st.sampled_from(
    ["Authorization", "X-Trace", "x-trace", "Cookie", "X-Gateway-Kind", "TE", "Accept", "Expires"]
)
VALUES = st.text("abcXYZ019 ,;=/åé", max_size=20).map(str.strip)
WHOLE = st.builds(
    lambda pairs, path, query, body: Request(
        "POST",
        path,
        query,
        (("Content-Type", "application/json"), *pairs, ("Host", "provider.example:8080")),
        body,
    ),
    st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple),
    st.sampled_from(["/", "/a/b", "/a//b/../c", "/%7Ex/%2F+"]),
    st.sampled_from(["", "a=1&b=%20", "a=b+c", "a=1#f"]),
    st.binary(max_size=300) | st.just(b"x" * 200_000),
)


@settings(deadline=None, max_examples=60)
@given(WHOLE, st.sampled_from(["", "/base"]))
def test_a_provider_sees_what_the_library_would_have_sent(request_: Request, base: str):
    """Method, path, headers in number and value, and body are the library's, request by request."""

    async def both() -> None:
        async with Provider(says(200, "{}")) as provider:
            async with upstream_to(provider.url + base) as upstream:
                await upstream.send(request_, Sending(at_once))
                query = f"?{request_.query}" if request_.query else ""
                async with upstream.session.request(
                    request_.method,
                    URL(provider.url + base + request_.path + query, encoded=True),
                    headers=passed_on(request_.headers),
                    data=request_.body or None,
                    allow_redirects=False,
                    skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
                ):
                    pass
            ours, theirs = provider.asked
            assert ours == theirs

    asyncio.run(both())


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [*OF_CONNECTION, "X-One", "Content-Type", "X-Gateway-Topic", "Connection"]
            ),
            st.sampled_from(["close", "x-one", "X-One, keep-alive", "content-type", "v"]),
        ),
        max_size=8,
    )
)
def test_headers_that_go_on_are_those_of_no_connection(pairs):
    """What goes on is what neither is the connection's, nor is named as such, nor speaks to us."""
    named = {
        one.strip().lower()
        for name, value in pairs
        if name.lower() == "connection"
        for one in value.split(",")
    } - {"authorization", "content-type"}
    wanted = [
        (name, value)
        for name, value in pairs
        if name.lower() not in OF_CONNECTION | named and not name.lower().startswith("x-gateway-")
    ]
    host = next((value for name, value in pairs if name.lower() == "host"), "")
    assert passed_on(pairs) == [*wanted, ("Host", host), ("Accept-Encoding", "identity")]


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\nb", "a\rb", "a\0b"])
def test_a_header_that_would_end_its_line_is_refused(value):
    with pytest.raises(ValueError, match="line end"):
        head_of(["POST / HTTP/1.1", f"X: {value}", "Content-Length: 0\r\n\r\n"])


async def test_what_is_said_unasked_is_no_answer_to_the_next_request():
    """A second answer behind the first must not tell of the next message."""
    told = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            body = (await one_request(reader)).rpartition(b"\r\n\r\n")[2]
            said = b"HTTP/1.1 %b X\r\nContent-Length: 2\r\n\r\nok"
            writer.write(said % (b"200" if body == b"1" else b"201"))
            await asyncio.sleep(0.05)
            writer.write(said % b"299")
            await writer.drain()
            told.set()
            await reader.read()

    async with speaking(talk) as url, upstream_to(url) as upstream:
        first = await upstream.send(asked(b"1"), Sending(at_once))
        await told.wait()
        await asyncio.sleep(0.1)
        second = await upstream.send(asked(b"2"), Sending(at_once))
        assert (first.status, second.status) == (200, 201)


async def test_interim_answers_are_passed_over():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await one_request(reader)
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + OK)
        await writer.drain()

    async with speaking(talk) as url, upstream_to(url) as upstream:
        assert (await upstream.send(asked(), Sending(at_once))).body == b"{}"


async def test_a_connection_lost_before_the_first_octet_has_begun_nothing():
    """Lost while the verdicts were being confirmed: it is certain that nothing was sent."""
    gone = asyncio.Event()

    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        gone.set()

    async def confirm() -> None:
        await gone.wait()
        await asyncio.sleep(0.05)

    async with speaking(talk) as url, upstream_to(url) as upstream:
        sending = Sending(confirm)
        with pytest.raises(LOST):
            await upstream.send(asked(), sending)
        assert not sending.begun


async def test_nothing_leaves_when_the_verdicts_do_not_hold():
    heard = []

    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(1))

    async def refuse() -> None:
        raise RegisterUnavailable("the register changed")

    async with speaking(talk) as url, upstream_to(url) as upstream:
        sending = Sending(refuse)
        with pytest.raises(RegisterUnavailable):
            await upstream.send(asked(), sending)
        await asyncio.sleep(0.05)
    assert heard == [b""]
    assert not sending.begun


async def test_an_answer_without_end_is_cut_off():
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await one_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
            for _ in range(MOST // 65536 + 8):
                writer.write(b"x" * 65536)
                await writer.drain()

    async with speaking(talk) as url, upstream_to(url) as upstream:
        with pytest.raises(ValueError, match="more than"):
            await upstream.send(asked(), Sending(at_once))


async def test_credentials_of_the_base_url_are_shown_as_the_library_shows_them():
    async with Provider(says(200, "{}")) as provider:
        url = provider.url.replace("http://", "http://user:p%40ss@")
        async with upstream_to(url) as upstream:
            await upstream.send(asked(), Sending(at_once))
            async with upstream.session.post(URL(url + "/x", encoded=True), data=b"{}"):
                pass
            with pytest.raises(ValueError, match="credentials"):
                both = asked().with_headers({"Authorization": "Basic eDp5"})
                await upstream.send(both, Sending(at_once))
        ours, theirs = (one.headers["authorization"] for one in provider.asked)
        assert ours == theirs


async def test_a_provider_is_known_by_its_certificate(tmp_path):
    """Over TLS connections are used again; a provider that nobody vouches for hears nothing."""
    mine = self_signed(tmp_path)
    connections = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await one_request(reader):
                writer.write(OK)
                await writer.drain()

    async with speaking(talk, mine.server_context()) as url:
        async with upstream_to(url, mine.certificate) as upstream:
            for _ in range(3):
                assert (await upstream.send(asked(), Sending(at_once))).status == 200
        assert len(connections) == 1
        async with upstream_to(url) as upstream:
            sending = Sending(at_once)
            with pytest.raises(LOST):
                await upstream.send(asked(), sending)
            assert not sending.begun
