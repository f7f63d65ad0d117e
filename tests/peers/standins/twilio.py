"""Interim."""

from urllib.parse import parse_qs

from aiohttp import web


async def answer(request, body):
    f = parse_qs(body.decode())
    return web.json_response(
        {"sid": "SM" + "0" * 32, "to": f["To"][0], "status": "queued"}, status=201
    )
