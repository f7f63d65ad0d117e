"""The pages of a gateway that runs as its users run it."""

import aiohttp

from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.unsubscribe.link import Link, Links, Purpose
from tests.peers.front import PAGES, TOPICS
from tests.peers.process import RunningGateway
from tests.peers.scripted import ScriptedUpstream

A = "maija.meikalainen@example.com"
PUBLIC = {"listen": ["127.0.0.1:0"], "url": "https://preferences.example"}


async def test_one_click_at_one_process_stops_the_next_mail_at_another(tmp_path, upstream):
    how = {"upstream": upstream, "public": PUBLIC, "topics": TOPICS, "pages": PAGES, "workers": 2}
    async with RunningGateway(tmp_path, **how) as gateway, aiohttp.ClientSession() as session:
        await gateway.allow(A)
        assert "1 forwarded" in await gateway.send(A)
        links = Links.load_or_create(gateway.settings.unsubscribe.key_file)
        token = links.seal(Link(parse_contact(A), Purpose.REFUSE, "newsletter", now_ms(), "sv"))
        url = f"http://127.0.0.1:{gateway.public}/u/{token}"
        async with session.get(url) as answer:
            assert answer.status == 200
            assert "Sluta skicka e-post om ”Nyhetsbrev”" in await answer.text()
            assert "#1a5fb4" in await answer.text()
        assert "1 forwarded" in await gateway.send(A)
        async with session.post(url, data={"List-Unsubscribe": "One-Click"}) as answer:
            assert answer.status == 200
        for _ in range(4):
            assert "1 suppressed" in await gateway.send(A)
        # A consent's message leaves by the same upstream, from this process.
        form = {"act": "consent", "topic": "newsletter", "version": "2026-1", "lang": "sv"}
        async with session.post(url, data=form) as answer:
            assert answer.status == 200
            assert "Vi har skickat ett meddelande till m…n@example.com" in await answer.text()
        assert [one.recipients for one in upstream.messages] == [[A], [A], [A]]
        # A reload gives the pages their new looks.
        gateway.configure(pages={**PAGES, "colour": "#8b0000"})
        gateway.signal(1)
        await gateway.line("public_reloaded")
        async with session.get(url) as answer:
            assert "#8b0000" in await answer.text()
        for secret in (token, "maija", A):
            assert secret not in gateway.text


async def test_a_logo_that_cannot_be_shown_is_told_at_the_start(tmp_path):
    (tmp_path / "logo.gif").write_bytes(b"GIF89a")
    async with ScriptedUpstream() as upstream:
        gateway = RunningGateway(
            tmp_path, upstream=upstream, public=PUBLIC, pages={"logo": "logo.gif"}
        )
        done = gateway.command("serve")
    assert done.status == 2
    assert "pages.logo: " in done.err
    assert "not a PNG, JPEG or SVG file" in done.err
