"""The page of a link: what it shows, what its forms do, and that opening it does nothing."""

import asyncio
import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.serve.desk import Desk, person_store
from gateway.subject.people import Who
from gateway.subject.person import Language
from gateway.subject.requests import Requests
from gateway.unsubscribe.link import Purpose

A = "maija.meikalainen@example.com"
FORM = "application/x-www-form-urlencoded"


class Read(HTMLParser):
    """Links, forms and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if tag == "a":
            self.links.append(given["href"])
        elif tag == "form":
            assert given == {"method": "post"}
            self.forms.append({})
        elif tag == "input":
            assert given["type"] == "hidden"
            self.forms[-1][given["name"]] = given["value"]
        elif "src" in given or tag in ("link", "script", "iframe", "object"):
            self.loaded.append(given.get("src") or tag)

    def form(self, act: str, **fields: str) -> dict[str, str]:
        """The form of this act."""
        [found] = [
            one
            for one in self.forms
            if one["act"] == act and all(one.get(k) == v for k, v in fields.items())
        ]
        return found


class Nested(HTMLParser):
    """Every element is closed where it was opened, and says each attribute once."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=False)
        self.open: list[str] = []
        assert html.startswith("<!doctype html>\n<html ")
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), tag
        if tag not in ("meta", "input", "img"):
            if tag in ("p", "form", "section", "blockquote", "ul", "details"):
                assert "p" not in self.open, tag
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


async def test_the_markup_is_whole(pages):
    await pages.house.allow(A)
    await pages.house.ban("b@example.com")
    for url in (
        pages.link(A),
        pages.link("b@example.com"),
        pages.link(A, None, purpose=Purpose.CONFIRM),
        pages.link("c@example.com", purpose=Purpose.CONFIRM),
        pages.url + "/u/x",
    ):
        Nested((await pages.get(url))[1])


async def test_a_scanner_that_opens_every_link_bans_nobody(pages):
    await pages.house.allow(A)
    before = await pages.entry(A), len(await pages.events(A))
    queue, seen = [pages.link(A), pages.link(A, None)], set()
    while queue:
        url = queue.pop()
        if url in seen or not url.startswith(pages.url):
            continue
        seen.add(url)
        async with pages.session.get(url) as answer:
            assert answer.status == 200, url
            assert "Set-Cookie" not in answer.headers
            queue += [urljoin(url, link) for link in Read(await answer.text()).links]
        async with pages.session.head(url) as answer:
            assert answer.status == 200
            assert await answer.read() == b""
    assert len(seen) >= 8
    for method in ("PUT", "DELETE", "OPTIONS", "PATCH"):
        async with pages.session.request(method, pages.link(A)) as answer:
            assert answer.status == 405
            assert answer.headers["Allow"] == "GET, HEAD, POST"
    assert (await pages.entry(A), len(await pages.events(A))) == before
    async with pages.house.client() as client:
        assert "1 forwarded" in await client.mail(A)


async def test_nothing_of_another_server_is_loaded_and_nothing_runs(pages):
    async with pages.session.get(pages.link(A)) as answer:
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert "form-action 'self'" in policy
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
        html = await answer.text()
    assert Read(html).loaded == []
    assert "<script" not in html
    assert not re.search(r"\son\w+=", html)


@pytest.mark.parametrize(
    ("asked", "of_link", "header", "shown"),
    [
        ("sv", "en", "fi", "sv"),
        ("xx", "en", "fi", "en"),
        ("", "", "de, en;q=0.5, sv-FI;q=0.8", "sv"),
        ("", "", "de", "fi"),
        ("", "", "", "fi"),
    ],
)
async def test_its_language_is_asked_for_or_the_links_or_the_browsers(
    pages, asked, of_link, header, shown
):
    url = pages.link(A, language=of_link) + (f"?lang={asked}" if asked else "")
    async with pages.session.get(url, headers={"Accept-Language": header}) as answer:
        assert answer.headers["Content-Language"] == shown
        assert f'<html lang="{shown}">' in await answer.text()


async def test_the_address_is_shown_masked_and_nothing_else_of_the_person(pages):
    await pages.house.customer(A)
    _, html = await pages.get(pages.link(A) + "?lang=en")
    assert "m…n@example.com" in html
    assert "maija" not in html
    assert "broadband" not in html
    assert "2020" not in html


@pytest.mark.parametrize(
    ("act", "ban", "told"),
    [
        ("topic", ("topic", "email", "newsletter"), "no more marketing about “Newsletter”"),
        ("channel", ("channel", "email", None), "no more marketing by e-mail to m…n@example.com"),
        ("all", ("all", None, None), "We send you no more direct marketing."),
    ],
)
async def test_each_refusal_is_in_force_and_told_in_plain_words(pages, upstream, act, ban, told):
    await pages.house.allow(A)
    url = pages.link(A, language="en")
    _, html = await pages.get(url)
    status, html = await pages.post(url, Read(html).form(act), follow=True)
    assert status == 200
    assert told in html
    assert '<div class="told" role="status">' in html
    assert await pages.bans(A) == [ban]
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)
    event = (await pages.events(A))[-1]
    assert (event.kind, event.actor, event.source) == (EventKind.BAN, "person", "page")
    assert event.evidence.endswith(" [en]")
    assert event.evidence.startswith("Stop ")
    # What was refused is not offered again, and nobody is asked to change their mind.
    left = Read(html)
    assert [one for one in left.forms if one["act"] == act] == []
    assert "<details>" in html or not left.forms
    # Sent twice it is once.
    assert (await pages.post(url, {"act": act, "lang": "en"}))[0] == 303
    assert len([one for one in await pages.events(A) if one.kind is EventKind.BAN]) == 1


async def test_the_address_of_a_page_makes_nothing_true(pages):
    for done in ("topic", "channel", "all", "withdraw", "consent", "data"):
        _, html = await pages.get(pages.link(A) + f"?lang=en&done={done}")
        assert 'role="status"' not in html


async def test_a_form_of_another_site_is_not_taken(pages):
    url = pages.link(A, language="en")
    status, html = await pages.post(url, {"act": "all"}, Sec_Fetch_Site="cross-site")
    assert status == 403
    assert "Nothing has been changed" in html
    assert await pages.bans(A) == []
    for site in ("same-origin", "same-site", "none"):
        assert (await pages.post(url, {"act": "all"}, Sec_Fetch_Site=site))[0] == 303


async def test_a_consent_is_withdrawn_by_one_button(pages):
    await pages.house.allow(A)
    url = pages.link(A, language="sv")
    _, html = await pages.get(url)
    assert "Samtycke gavs" in html
    _, html = await pages.post(url, Read(html).form("withdraw"), follow=True)
    assert "Samtycket är återkallat" in html
    event = (await pages.events(A))[-1]
    assert (event.kind, event.channel, event.topic) == (EventKind.WITHDRAW, Channel.EMAIL, "*")
    assert event.evidence == "Återkalla samtycket: all marknadsföring per e-post [sv]"
    async with pages.house.client() as client:
        assert "1 suppressed" in await client.mail(A)


async def test_who_asks_for_their_data_is_told_the_day_and_the_month_runs(pages):
    url = pages.link(A, language="fi")
    _, html = await pages.get(url)
    for _ in range(2):
        status, answer = await pages.post(url, Read(html).form("data"), follow=True)
        assert status == 200
        assert "Tietopyyntösi on vastaanotettu. Vastaamme viimeistään" in answer
    house = pages.house
    store = person_store(house.settings, house.database, house.custody, house.parts.ring)
    requests = Requests(house.database, house.custody, store, house.parts.site.recorder)
    [request] = await requests.every()
    assert (request.kind, request.how, request.person_id) == ("access", "page", None)
    assert request.words == "Pyydän nähtäväksi omat tietoni [fi]"
    assert request.due - request.received > 27 * 86_400_000
    # Once it is answered the page is silent of it, and it may be asked for anew.
    await requests.answer(request.id, Who("desk", "sent by mail"))
    _, html = await pages.get(url + "?done=data")
    assert 'role="status"' not in html
    await pages.post(url, {"act": "data"})
    [again] = await requests.every()
    assert again.id != request.id


async def test_a_button_pressed_many_times_at_once_asks_for_ones_data_once(pages):
    url = pages.link(A)
    answers = await asyncio.gather(*(pages.post(url, {"act": "data"}) for _ in range(8)))
    assert [status for status, _ in answers] == [303] * 8
    house = pages.house
    store = person_store(house.settings, house.database, house.custody, house.parts.ring)
    requests = Requests(house.database, house.custody, store, house.parts.site.recorder)
    assert len(await requests.every()) == 1


async def test_a_page_is_in_the_language_that_the_person_is_written_to_in(pages):
    recorder = pages.house.parts.site.recorder
    people = Desk.on(pages.house.settings, pages.stores, recorder).people
    who = Who("desk", "new customer")
    await people.add(who, contacts=[parse_contact(A)], source="order", language=Language.SV)
    for how, wanted in (
        ({}, "sv"),
        ({"Accept_Language": "en"}, "sv"),
        ({"Accept_Language": "en", "asked": "fi"}, "fi"),
    ):
        asked = how.pop("asked", "")
        _, html = await pages.get(pages.link(A) + (f"?lang={asked}" if asked else ""), **how)
        assert f'<html lang="{wanted}"' in html
    # The mail's own language comes first; of somebody unknown the browser's counts.
    _, html = await pages.get(pages.link(A, language="en"))
    assert '<html lang="en"' in html
    _, html = await pages.get(pages.link("other@example.com"), Accept_Language="en")
    assert '<html lang="en"' in html


@pytest.mark.parametrize(
    ("scope", "shown"),
    [
        (Scope.ALL, "All direct marketing has been refused since"),
        (Scope.CONTACT, "All contact that no law or contract demands has been refused since"),
        (Scope.DISCLOSURE, "Handing your data on to others has been refused since"),
    ],
)
async def test_what_was_refused_elsewhere_is_shown(pages, scope, shown):
    await pages.house.ban(A, scope)
    _, html = await pages.get(pages.link(A, language="en"))
    assert shown in html


async def test_what_the_organisation_has_refused_is_not_the_persons_to_see(pages):
    event = Event(kind=EventKind.BAN, at=now_ms(), actor="t", source="t", scope=Scope.ORGANISATION)
    await pages.house.parts.register.apply_organisation(event, "example.com")
    _, html = await pages.get(pages.link(A, language="en"))
    assert "No refusals or consents are recorded" in html
    # No consent could lift it, so none is offered.
    assert [one for one in Read(html).forms if one["act"] == "consent"] == []


async def test_a_number_is_offered_no_consent_and_may_refuse(pages):
    url = pages.link("+358401234567", None, language="en")
    _, html = await pages.get(url)
    assert "+35…67" in html
    assert "401234" not in html
    assert {one["act"] for one in Read(html).forms} == {"channel", "all", "data"}
    _, html = await pages.post(url, Read(html).form("channel"), follow=True)
    assert "no more marketing by text message" in html


async def test_too_many_forms_of_one_contact_wait_but_refusals_do_not(pages):
    url = pages.link(A, language="en")
    answers = [(await pages.post(url, {"act": "withdraw"}))[0] for _ in range(40)]
    assert answers[0] == 303
    assert 429 in answers
    for act in ("topic", "channel", "all"):
        assert (await pages.post(url, {"act": act}))[0] == 303
    assert (await pages.post(url, {"List-Unsubscribe": "One-Click"}))[0] == 200


async def test_texts_of_the_settings_and_topics_are_shown_as_text(open_pages):
    topics = {"x<b>": {"title": {"en": "<script>alert(1)</script>"}}}
    consents = {"x<b>": {"version": '1"><i>', "wording": {"en": "I <b>agree</b>"}}}
    async with open_pages(topics=topics, pages={"consents": consents}) as pages:
        _, html = await pages.get(pages.link(A, "x<b>", language="en"))
        assert "<script>" not in html
        assert "<b>" not in html
        assert "<i>" not in html
        form = Read(html).form("consent")
        assert (form["topic"], form["version"]) == ("x<b>", '1"><i>')
