"""``/healthz``, ``/readyz`` and ``/metrics``, for the networks that may ask.

``/healthz``: the process and its workers run.  ``/readyz``: a message that came now
could be decided, recorded and handed over; the answer names what is missing.
Nothing here tells anything about a person.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from gateway.network import networks_of, peer_address, within

Check = Callable[[], Awaitable[str]]
"""Returns "" when all is well, else one line that says what is not."""
Exposition = Callable[[], bytes]


def health_app(
    networks: Sequence[str],
    alive: Check,
    ready: Mapping[str, Check],
    metrics: Exposition,
) -> web.Application:
    """The application; ``ready`` names each check that ``/readyz`` makes."""
    known = networks_of(networks)

    @web.middleware
    async def only_known(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if not within(known, peer_address(request.remote)):
            return web.json_response({"error": "not among http.networks"}, status=403)
        return await handler(request)

    async def healthz(_: web.Request) -> web.Response:
        problem = await alive()
        body = {"status": "failing" if problem else "ok", "problem": problem}
        return web.json_response(body, status=503 if problem else 200)

    async def readyz(_: web.Request) -> web.Response:
        found = {name: await check() for name, check in ready.items()}
        bad = any(found.values())
        body = {
            "status": "not ready" if bad else "ready",
            "checks": {name: problem or "ok" for name, problem in found.items()},
        }
        return web.json_response(body, status=503 if bad else 200)

    async def exposition(_: web.Request) -> web.Response:
        return web.Response(body=metrics(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(middlewares=[only_known])
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", exposition)
    return app
