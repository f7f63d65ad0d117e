"""A bare aiohttp pass-through proxy: no check, no record.

``python -m bench.smsproxy PORT PROVIDER_PORT``.  What the library itself costs; the
gateway is measured against it.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop
from aiohttp import web

_DROPPED = {"host", "content-length", "connection"}


async def main(port: int, provider: int) -> None:
    """Serve until the process is ended."""
    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=100))

    async def handle(request: web.Request) -> web.Response:
        body = await request.read()
        headers = {
            name: value for name, value in request.headers.items() if name.lower() not in _DROPPED
        }
        url = f"http://127.0.0.1:{provider}{request.raw_path}"
        async with session.request(request.method, url, data=body, headers=headers) as answer:
            return web.Response(
                status=answer.status, body=await answer.read(), content_type=answer.content_type
            )

    app = web.Application(client_max_size=16 * 1024 * 1024)
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=1024).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2])))
