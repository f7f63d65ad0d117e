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


PROXIED = {
    "listen": ["127.0.0.1:0"],
    "url": "https://preferences.example",
    "requests_per_minute": 2,
    "proxies": ["127.0.0.1/32", "192.0.2.0/24"],
}


async def codes(gateway, *told: str | None) -> list[int]:
    """What is answered to requests whose proxy tells of these addresses."""
    found = []
    async with aiohttp.ClientSession() as session:
        for one in told:
            headers = {} if one is None else {"X-Forwarded-For": one}
            url = f"http://127.0.0.1:{gateway.public}/c/x"
            async with session.get(url, headers=headers) as answer:
                found.append(answer.status)
    return found


async def test_who_calls_is_the_last_address_that_no_proxy_of_ours_has(build):
    async with build(public=PROXIED) as gateway:
        near = ["198.51.100.1", "198.51.100.1, 192.0.2.7", "203.0.113.9, 198.51.100.1"]
        assert await codes(gateway, *near) == [404, 404, 429]
        # What a caller writes before it makes nobody else.
        assert await codes(gateway, "198.51.100.1, 198.51.100.2") == [404]
        assert await codes(gateway, None, "not an address", None) == [404, 404, 429]


async def test_the_addresses_of_one_network_count_as_one(build):
    async with build(public=PROXIED) as gateway:
        near = [f"2001:db8::{number}" for number in range(1, 4)]
        assert await codes(gateway, *near, "2001:db8:0:1::1") == [404, 404, 429, 404]


async def test_an_address_that_a_stranger_tells_of_itself_counts_nothing(build):
    async with build(public={**PROXIED, "proxies": []}) as gateway:
        assert await codes(gateway, "198.51.100.1", "198.51.100.2", "198.51.100.3") == [
            404,
            404,
            429,
        ]
