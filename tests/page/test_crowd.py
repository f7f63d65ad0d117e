"""Whatever others hold, send or open: a refusal is taken all the same, and answered truly."""

import asyncio
import contextlib
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.public.server import Reply, Visit
from tests.page.test_one_click import NEWSLETTER, ONE_CLICK, A
from tests.peers.process import until

PUBLIC = {"listen": ["127.0.0.1:0"], "url": "https://preferences.example"}


async def test_requests_that_never_end_keep_no_refusal_out(open_pages):
    """Whoever has no link at all could else hold every place, by a few slow bodies."""
    public = {**PUBLIC, "max_requests": 2}
    async with open_pages(public=public) as pages, contextlib.AsyncExitStack() as stack:
        for _ in range(8):
            _, writer = await asyncio.open_connection("127.0.0.1", pages.port)
            stack.callback(writer.close)
            writer.write(b"POST /u/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nList")
            await writer.drain()
        await asyncio.sleep(0.2)
        assert (await pages.post(pages.link(A), ONE_CLICK))[0] == 200
        assert await pages.bans(A) == [NEWSLETTER]


async def _posts(pages, stack, path: bytes, length: int, sent: bytes) -> asyncio.StreamReader:
    """A body that is not sent to its end; its connection is closed with the stack."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pages.port)
    stack.callback(writer.close)
    writer.write(
        b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (path, length, sent)
    )
    await writer.drain()
    return reader


async def test_webhooks_bodies_that_together_are_too_large_wait_and_keep_no_refusal_out(open_pages):
    public = {**PUBLIC, "max_requests": 2, "max_body": 1024}
    async with open_pages(public=public) as pages, contextlib.AsyncExitStack() as stack:

        async def hooks(_visit: Visit) -> Reply:
            return Reply(200)

        pages.face.parts = {**pages.face.parts, "hooks": hooks}
        for _ in range(2):
            await _posts(pages, stack, b"/hooks/x", 1024, b"x" * 1020)
        await until(lambda: pages.face._held == 2040, 20)
        assert (await pages.post(f"{pages.url}/hooks/x", b"x" * 20))[0] == 503
        assert (await pages.post(pages.link(A), ONE_CLICK))[0] == 200
        await stack.aclose()
        await until(lambda: pages.face._held == 0, 20)
        assert (await pages.post(f"{pages.url}/hooks/x", b"x" * 20))[0] == 200


async def test_connections_that_are_only_held_keep_no_refusal_out(open_pages):
    """Idle ones, heads and bodies that never end: the oldest makes room."""
    heads = [b"", b"GET /", b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n"]
    heads.append(b"POST /u/x HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\nList")
    public = {**PUBLIC, "max_connections": 8}
    async with open_pages(public=public) as pages, contextlib.AsyncExitStack() as stack:
        held = []
        for number in range(24):
            reader, writer = await asyncio.open_connection("127.0.0.1", pages.port)
            stack.callback(writer.close)
            writer.write(heads[number % len(heads)])
            held.append(reader)
            await asyncio.sleep(0.02)
        assert (await pages.post(pages.link(A), ONE_CLICK))[0] == 200
        assert await pages.bans(A) == [NEWSLETTER]
        async with asyncio.timeout(20):
            await held[0].read()  # closed
        assert len(pages.server._open) <= 8


async def test_pages_that_are_shown_keep_no_refusal_out(open_pages):
    """Mail filters open every link, and the archive may take long to tell the language."""
    public = {**PUBLIC, "max_requests": 2}
    async with open_pages(public=public) as pages:
        waits, choices = asyncio.Event(), pages.face.parts["u"]

        async def slow(visit: Visit) -> Reply:
            if visit.method != "POST":
                await waits.wait()
            return await choices(visit)

        pages.face.parts = {**pages.face.parts, "u": slow}
        opened = [asyncio.create_task(pages.get(pages.link(A))) for _ in range(6)]
        await until(lambda: sum(one.done() for one in opened) == 4, 20)
        assert (await pages.post(pages.link(A), ONE_CLICK))[0] == 200
        waits.set()
        answers = [status for status, _ in await asyncio.gather(*opened)]
        assert sorted(answers) == [200, 200, 503, 503, 503, 503]


async def test_what_is_no_http_is_answered_without_the_librarys_words(pages):
    for sent in (b"GET /u/\xff HTTP/1.1\r\n\r\n", b"GET http://[::1/u/secret HTTP/1.1\r\n\r\n"):
        reader, writer = await asyncio.open_connection("127.0.0.1", pages.port)
        writer.write(sent)
        async with asyncio.timeout(20):
            answer = (await reader.read()).decode()
        writer.close()
        assert answer.split()[1] == "400"
        head, _, body = answer.partition("\r\n\r\n")
        assert body == "Bad Request.\n"
        assert "Server: suppression-gateway\r\n" in head
        assert "Cache-Control: no-store\r\n" in head
        assert "aiohttp" not in answer


async def test_who_speaks_an_older_http_is_not_told_to_go_on(pages):
    """RFC 9110 section 10.1.1: it would take the 100 for the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pages.port)
    writer.write(
        f"POST /u/{pages.token(A)} HTTP/1.0\r\nExpect: 100-continue\r\n"
        "Content-Length: 26\r\n\r\nList-Unsubscribe=One-Click".encode()
    )
    async with asyncio.timeout(20):
        assert b" 200 OK" in await reader.readline()
    writer.close()


async def test_a_page_waits_a_moment_only_for_the_archive_to_tell_its_language(open_pages):
    async with open_pages(records={"archive_timeout": 60}) as pages:
        ended, begun = asyncio.Event(), 0

        async def work(_connection: AsyncConnection) -> None:
            nonlocal begun
            begun += 1
            await ended.wait()

        # All connections that there are at once.
        held = [asyncio.create_task(pages.stores.database.read(work)) for _ in range(4)]
        await until(lambda: begun == 4, 20)
        async with asyncio.timeout(40):
            status, html = await pages.get(pages.link(A), Accept_Language="sv")
        assert (status, "Sluta skicka e-post" in html) == (200, True)
        assert not any(one.done() for one in held)
        ended.set()
        await asyncio.gather(*held)


async def test_a_bound_on_connections_is_taken_at_a_reload(pages):
    async with contextlib.AsyncExitStack() as stack:

        async def connect() -> asyncio.StreamReader:
            reader, writer = await asyncio.open_connection("127.0.0.1", pages.port)
            stack.callback(writer.close)
            return reader

        held = [await connect() for _ in range(3)]
        await until(lambda: len(pages.server._open) == 3, 20)
        pages.face.settings = replace(pages.face.settings, max_connections=3)
        await connect()
        async with asyncio.timeout(20):
            assert await held[0].read() == b""
