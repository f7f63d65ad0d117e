"""RFC 8058: one POST by a mail program, and the ban is in force when it is answered."""

import asyncio
import time

import aiohttp
import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.decision.facts import Outcome
from gateway.entry.event import EventKind
from gateway.page.form import LARGEST
from gateway.unsubscribe.link import Purpose

A = "maija.meikalainen@example.com"
NEWSLETTER = ("topic", "email", "newsletter")
ONE_CLICK = "List-Unsubscribe=One-Click"


def multipart() -> aiohttp.FormData:
    form = aiohttp.FormData(default_to_multipart=True)
    form.add_field("List-Unsubscribe", "One-Click")
    return form


async def consent(pages) -> None:
    await pages.house.allow(A)
    await pages.house.tell(
        A,
        EventKind.CONSENT,
        channel=Channel.EMAIL,
        topic="newsletter",
        proven=True,
        lifts=True,
        settled=True,
    )


FORMS = {
    "urlencoded": lambda: {"List-Unsubscribe": "One-Click"},
    "multipart": multipart,
    "in other letters": lambda: {"list-unsubscribe": "one-click"},
}


@pytest.mark.parametrize("form", FORMS)
async def test_the_next_recipient_check_after_the_answer_is_suppressed(pages, upstream, form):
    await pages.house.allow(A)
    async with pages.house.client() as client:
        assert "1 forwarded" in await client.mail(A)
    status, body = await pages.post(pages.link(A), FORMS[form]())
    assert (status, body) == (200, "OK\n")
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)
    assert len(upstream.messages) == 1
    assert [fate[:2] for fate in await pages.house.fate(A)] == [
        (Outcome.FORWARD, "R40"),
        (Outcome.SUPPRESS, "R13"),
    ]


async def test_the_link_of_no_topic_bans_its_channel(pages):
    assert (await pages.post(pages.link(A, None), ONE_CLICK))[0] == 200
    assert await pages.bans(A) == [("channel", "email", None)]


async def test_a_number_is_refused_on_its_own_channel(pages):
    assert (await pages.post(pages.link("+358401234567", None), ONE_CLICK))[0] == 200
    assert await pages.bans("+358401234567") == [("channel", "sms", None)]


async def test_no_cookie_no_redirect_and_no_browser_headers_are_needed(pages):
    """On a bare socket, as mail services send it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", pages.port)
    writer.write(
        f"POST /u/{pages.token(A)} HTTP/1.1\r\nHost: preferences.example\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n"
        f"Content-Length: {len(ONE_CLICK)}\r\n\r\n{ONE_CLICK}".encode()
    )
    answer = await asyncio.wait_for(reader.read(), 10)
    writer.close()
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert head.startswith(b"http/1.1 200")
    assert b"set-cookie" not in head
    assert b"location:" not in head
    assert await pages.bans(A) == [NEWSLETTER]


async def test_a_form_of_another_site_is_no_obstacle_to_one_click(pages):
    status, _ = await pages.post(
        pages.link(A),
        ONE_CLICK,
        Sec_Fetch_Site="cross-site",
        Content_Type="application/x-www-form-urlencoded",
    )
    assert status == 200
    assert await pages.bans(A) == [NEWSLETTER]


async def test_said_twenty_times_at_once_it_is_in_force_for_every_answer(pages):
    await pages.house.allow(A)
    url = pages.link(A)

    async def once() -> tuple[int, bool]:
        status, _ = await pages.post(url, {"List-Unsubscribe": "One-Click"})
        [standing] = await pages.house.parts.register.look_up([contact])
        return status, standing.facts(contact.channel, "newsletter", None, 2**41).ban_topic

    contact = parse_contact(A)
    assert await asyncio.gather(*(once() for _ in range(20))) == [(200, True)] * 20
    assert await pages.bans(A) == [NEWSLETTER]
    before = len(await pages.events(A))
    assert (await pages.post(url, {"List-Unsubscribe": "One-Click"}))[0] == 200
    assert len(await pages.events(A)) == before


async def test_said_again_the_answer_waits_too_until_no_hand_over_is_older(pages):
    """The first request may not have been answered yet: what it has set is in force no sooner."""
    url = pages.link(A)
    assert (await pages.post(url, ONE_CLICK))[0] == 200
    began = time.monotonic()
    assert (await pages.post(url, ONE_CLICK))[0] == 200
    assert time.monotonic() - began >= pages.house.parts.register.settling
    assert pages.house.parts.register.settling > 0
    assert len(await pages.events(A)) == 1


async def test_what_a_later_consent_has_lifted_is_refused_anew(pages):
    url = pages.link(A)
    assert (await pages.post(url, ONE_CLICK))[0] == 200
    await consent(pages)
    async with pages.house.client() as client:
        assert "1 forwarded" in await client.mail(A)
    assert (await pages.post(url, ONE_CLICK))[0] == 200
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)


async def _raw(
    pages, target: str, head: str, body: str = ONE_CLICK, length: int | None = len(ONE_CLICK)
) -> str:
    """The first line that is answered; what ``head`` announces is not sent at once."""
    announced = "" if length is None else f"Content-Length: {length}\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", pages.port)
    writer.write(
        f"POST {target} HTTP/1.1\r\nHost: preferences.example\r\n"
        f"Content-Type: application/x-www-form-urlencoded\r\n"
        f"{announced}{head}\r\n{body}".encode()
    )
    async with asyncio.timeout(20):
        line = (await reader.readline()).decode()
        if line.startswith("HTTP/1.1 100 "):
            assert await reader.readline() == b"\r\n"
            writer.write(ONE_CLICK.encode())
            line = (await reader.readline()).decode()
    writer.close()
    return line


async def test_who_has_no_link_keeps_no_large_body_of_ours(pages):
    for place in ("u", "c", "logo"):
        if place in pages.face.parts:
            url = f"{pages.url}/{place}/x"
            assert (await pages.post(url, b"x" * 40_000))[0] == 413
    assert "413" in await _raw(pages, "/u/x", "Content-Length: 8000000\r\n", "", length=None)


async def test_who_waits_to_be_told_to_go_on_is_told(pages):
    target = f"/u/{pages.token(A)}"
    assert "200" in await _raw(pages, target, "Expect: 100-continue\r\n", body="")
    assert await pages.bans(A) == [NEWSLETTER]


@pytest.mark.parametrize(
    "write",
    [
        lambda token: f"http://preferences.example/u/{token}",
        lambda token: f"//u/{token}",
        lambda token: "/u/" + "".join(f"%{ord(one):02X}" for one in token),
    ],
    ids=["a whole URL", "slashes", "percents"],
)
async def test_a_link_that_was_written_otherwise_on_its_way_is_the_same(pages, write):
    assert "200" in await _raw(pages, write(pages.token(A)), "")
    assert await pages.bans(A) == [NEWSLETTER]


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "cut off"])
async def test_a_path_of_the_public_url_is_known_whether_a_proxy_cuts_it_or_not(open_pages, kept):
    public = {"listen": ["127.0.0.1:0"], "url": "https://lamisnet.example/our/mail"}
    async with open_pages(public=public) as pages:
        target = f"{'/our/mail' if kept else ''}/u/{pages.token(A)}"
        assert "200" in await _raw(pages, target, "")
        assert await pages.bans(A) == [NEWSLETTER]
        assert "404" in await _raw(pages, f"/our{target}", "")


@pytest.mark.parametrize("kept", [True, False], ids=["kept", "cut off"])
async def test_the_path_of_the_public_url_may_be_called_as_ours_are(open_pages, kept):
    public = {"listen": ["127.0.0.1:0"], "url": "https://lamisnet.example/u"}
    async with open_pages(public=public) as pages:
        target = f"{'/u' if kept else ''}/u/{pages.token(A)}"
        assert "200" in await _raw(pages, target, "")
        assert await pages.bans(A) == [NEWSLETTER]


async def test_a_link_whose_topic_is_blank_refuses_its_channel(pages):
    assert (await pages.post(pages.link(A, " \u2028"), ONE_CLICK))[0] == 200
    assert await pages.bans(A) == [("channel", "email", None)]


async def test_who_goes_away_half_way_is_no_error_of_ours(pages, capsys):
    for number in range(3):
        _, writer = await asyncio.open_connection("127.0.0.1", pages.port)
        writer.write(b"POST /u/x%d HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nList" % number)
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.transport.abort()
    chunked = "Transfer-Encoding: chunked\r\n"
    assert "400" in await _raw(pages, f"/u/{pages.token(A)}", chunked, "zz\r\n", length=None)
    assert (await pages.post(pages.link(A), ONE_CLICK))[0] == 200
    assert "Traceback" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("form", [ONE_CLICK, "act=withdraw&topic=newsletter", "act=all"])
async def test_a_refusal_stands_although_the_consent_is_of_a_clock_that_is_ahead(pages, form):
    await pages.house.allow(A)
    await pages.house.tell(
        A,
        EventKind.CONSENT,
        at=now_ms() + 60_000,
        channel=Channel.EMAIL,
        topic="newsletter",
        proven=True,
        lifts=True,
        settled=True,
    )
    async with pages.house.client() as client:
        assert "1 forwarded" in await client.mail(A)
    assert (await pages.post(pages.link(A), form))[0] in (200, 303)
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)


async def test_a_narrow_refusal_is_kept_although_a_wider_one_is_in_force(pages):
    await pages.house.ban(A)
    assert (await pages.post(pages.link(A), ONE_CLICK))[0] == 200
    assert set(await pages.bans(A)) == {("all", None, None), NEWSLETTER}


async def test_its_event_says_who_how_and_that_it_was_one_click(pages):
    await pages.post(pages.link(A), ONE_CLICK)
    [event] = await pages.events(A)
    assert (event.kind, event.actor, event.source) == ("ban", "person", "one-click")
    assert event.evidence == "List-Unsubscribe=One-Click (RFC 8058)"
    assert b"maija" not in event.to_json()


@pytest.mark.parametrize(
    "body",
    ["", "List-Unsubscribe=", "act=unknown", "List-Unsubscribe=Two-Click", "x" * 40_000, "&" * 99],
)
async def test_a_body_that_asks_for_nothing_changes_nothing(pages, body):
    status, _ = await pages.post(
        pages.link(A), body, Content_Type="application/x-www-form-urlencoded"
    )
    assert status == (413 if len(body) > LARGEST else 400)
    assert await pages.bans(A) == []


async def test_a_link_of_another_purpose_or_too_old_or_altered_is_none(pages):
    token = pages.token(A)
    for wanted, url in (
        (404, pages.url + "/u/" + pages.token(A, purpose=Purpose.CONFIRM)),
        (404, pages.url + "/u/" + ("B" if token[9] == "A" else "A").join((token[:9], token[10:]))),
        (404, pages.url + "/u/"),
        (404, pages.url + "/u/" + "x" * 3000),
        (410, pages.link(A, age=1826)),
    ):
        status, body = await pages.post(url, ONE_CLICK)
        assert status == wanted
        assert "privacy@lamisnet.example" in body
        assert "maija" not in body
        assert (await pages.get(url))[0] == wanted
    assert await pages.bans(A) == []
    assert (await pages.post(pages.link(A, age=1825), ONE_CLICK))[0] == 200


async def test_more_than_the_rate_of_one_address_may_refuse(open_pages):
    public = {
        "listen": ["127.0.0.1:0"],
        "url": "https://preferences.example",
        "requests_per_minute": 2,
    }
    async with open_pages(public=public) as pages:
        for number in range(6):
            url = pages.link(f"p{number}@example.com")
            assert (await pages.post(url, ONE_CLICK))[0] == 200
