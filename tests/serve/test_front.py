"""The public process: it starts where it is wanted, answers, and ends with the gateway."""

import aiohttp


async def test_strangers_hear_that_there_is_nothing(build):
    public = {"listen": ["127.0.0.1:0"], "url": "https://preferences.example"}
    async with build(public=public) as gateway, aiohttp.ClientSession() as session:
        for path in ("/", "/v1/bans", "/metrics", "/../etc/passwd"):
            async with session.get(f"http://127.0.0.1:{gateway.public}{path}") as answer:
                assert answer.status == 404
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                # Nothing for who looks for a version with a known hole.
                assert answer.headers["Server"] == "suppression-gateway"
