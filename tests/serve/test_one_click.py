"""From a mail to its refusal: the link that a worker added, opened at the public process."""

import re

import aiohttp

from tests.peers.house import OWN
from tests.peers.verifier import Key, verified

A, B = "a@example.com", "b@example.com"
PLAIN = b"From: LamisNET <uutiset@lamisnet.fi>\r\nSubject: Uutiset\r\n\r\nHei!\r\n"
URL = "https://preferences.lamisnet.fi"


async def test_one_click_stops_the_next_mail(build, upstream, tmp_path):
    key = Key.rsa(tmp_path, OWN)
    gateway = build(
        public={"url": URL, "listen": ["127.0.0.1:0"]},
        unsubscribe={"add": True},
        dkim=[key.table],
        workers=2,
    )
    async with gateway:
        await gateway.allow(A, B)
        async with gateway.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 forwarded")
        content = upstream.messages[0].content
        assert verified(content, key.record)
        # As a mail program does it: the URI of the field, the other field's text.
        (url,) = re.findall(rb"^List-Unsubscribe: <(https:[^<>]+)>\r\n", content, re.MULTILINE)
        (form,) = re.findall(rb"^List-Unsubscribe-Post: (.*)\r\n", content, re.MULTILINE)
        path = url.decode().removeprefix(URL)
        assert path.startswith("/u/")
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"http://127.0.0.1:{gateway.public}{path}",
                data=form,
                headers={"Content-Type": "application/x-www-form-urlencoded"},
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=20),
            ) as answer,
        ):
            assert answer.status == 200, await answer.text()
        async with gateway.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 suppressed")
            assert (await client.mail(B, message=PLAIN)).endswith("1 forwarded")
