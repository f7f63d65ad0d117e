"""The pages in a real browser: no scripts, by keyboard, wide and narrow, in three languages."""

import re

import pytest

from gateway.contacts.contact import Channel
from gateway.entry.entry import ConsentStatus, Scope
from gateway.entry.event import EventKind
from gateway.page.wording import say
from gateway.unsubscribe.link import Purpose
from tests.page.browser import NARROW, PHONE, WIDE, browser, faults, look, tab_to, window
from tests.peers.front import CONSENTS, PAGES

A = "maija.meikalainen-virtanen@asiakaspalvelu.esimerkkiyritys.example.com"
LOGO = (
    b'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 120 40" width="120" height="40">'
    b'<script>document.title = "run"</script>'
    b'<rect width="120" height="40" rx="8" fill="#1a5fb4"/></svg>'
)


@pytest.fixture
async def chromium():
    async with browser() as one:
        yield one


@pytest.mark.slow
@pytest.mark.parametrize("language", ["fi", "sv", "en"])
async def test_every_page_is_accessible_at_every_width(open_pages, chromium, tmp_path, language):
    logo = tmp_path / "logo.svg"
    logo.write_bytes(LOGO)
    async with open_pages(pages={**PAGES, "logo": str(logo)}) as pages:
        free, banned, asked, given, all_asked = (
            f"{name}.{A}" for name in ("vapaa", "kielletty", "kysytty", "annettu", "data")
        )
        await pages.house.ban(banned)
        await pages.house.ban(banned, Scope.CONTACT)
        await pages.house.ban(banned, Scope.DISCLOSURE)
        await pages.house.ban(given, Scope.ALL)
        await pages.house.ban(free, Scope.TOPIC, topic="offers", channel=Channel.EMAIL)
        await pages.house.allow(given)
        await pages.house.tell(
            asked,
            EventKind.CONSENT,
            channel=Channel.EMAIL,
            topic="newsletter",
            status=ConsentStatus.PENDING,
            settled=True,
        )
        await pages.post(pages.link(all_asked), {"act": "data"})
        await pages.post(pages.link(all_asked), {"act": "all"})
        lang = f"?lang={language}"
        places = {
            "choices": pages.link(free) + lang,
            "banned": pages.link(banned) + lang,
            "granted": pages.link(given, None) + lang,
            "number": pages.link("+358401234567", None) + lang,
            "asked": pages.link(asked) + lang + "&done=consent",
            "data": pages.link(all_asked) + lang + "&done=data",
            "stopped": pages.link(all_asked) + lang + "&done=all",
            "confirm": pages.link(asked, purpose=Purpose.CONFIRM) + lang,
            "confirmed": pages.link(given, None, purpose=Purpose.CONFIRM) + lang,
            "over": pages.link(free, purpose=Purpose.CONFIRM) + lang,
            "unknown": pages.url + "/u/nothing" + lang,
            "expired": pages.link(free, age=2000) + lang,
        }
        found = {}
        for size in (WIDE, NARROW):
            async with window(chromium, size, scripts=True) as page:
                for name, url in places.items():
                    await page.goto(url)
                    assert await page.title() != "run"
                    # What is folded together is looked at as well.
                    for one in await page.locator("details:not([open]) summary").all():
                        await one.click()
                    if told := await faults(page):
                        found[name, size["width"]] = told
            async with window(chromium, size) as page:
                for name, url in places.items():
                    await page.goto(url)
                    await look(page, f"{name}-{language}-{size['width']}")
        assert found == {}


@pytest.mark.slow
@pytest.mark.parametrize("size", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("language", ["fi", "sv", "en"])
async def test_every_form_by_keyboard_alone(pages, chromium, upstream, size, language):
    address = "maija.meikalainen@example.com"
    link = pages.link(address)

    def words(key: str, **values: str) -> str:
        return say(key, language, **values)

    title = {"fi": "Uutiskirje", "sv": "Nyhetsbrev", "en": "Newsletter"}[language]
    async with window(chromium, size) as page:
        await page.goto(link)
        # The browser speaks German: the page is in Finnish, and two keys away from Swedish.
        if language != "fi":
            assert await page.locator("html").get_attribute("lang") == "fi"
            await tab_to(page, {"sv": "Svenska", "en": "English"}[language])
            await page.keyboard.press("Enter")
            await page.wait_for_url(f"**lang={language}")
        assert await page.locator("html").get_attribute("lang") == language

        async def press(text: str, key: str) -> str:
            await tab_to(page, text)
            async with page.expect_navigation():
                await page.keyboard.press(key)
            assert await page.locator("html").get_attribute("lang") == language
            return await page.locator("[role=status]").inner_text()

        # Ask for one's data, then consent: asked, confirmed by the mail, withdrawn.
        assert re.search(r"\d", await press(words("data.button"), "Enter"))
        told = await press(words("consent.button", topic=title), "Space")
        assert "m…n@example.com" in told
        [message] = upstream.messages
        text = message.content.decode().replace("=\r\n", "").replace("=3D", "=")
        [place] = re.findall(r"https://preferences\.example(/c/[\w-]+)", text)
        mailbox = await page.context.new_page()
        await mailbox.goto(pages.url + place)
        assert await mailbox.locator("html").get_attribute("lang") == language
        assert CONSENTS["newsletter"]["wording"][language] in await mailbox.inner_text("main")
        await tab_to(mailbox, words("confirm.button", topic=title))
        async with mailbox.expect_navigation():
            await mailbox.keyboard.press("Enter")
        assert title in await mailbox.locator("[role=status]").inner_text()
        await look(mailbox, f"by-keyboard-confirmed-{language}-{size['width']}")
        await mailbox.close()
        await page.reload()
        assert words("done.withdrawn") == await press(
            words("withdraw.button", topic=title), "Enter"
        )
        # The topic's withdrawal has refused the topic; the wider ones are left.
        assert "e-mail" in words("refuse.channel.email") or language != "en"
        assert "m…n@example.com" in await press(words("refuse.channel.email"), "Space")
        assert words("done.all") == await press(words("refuse.all"), "Enter")
        await look(page, f"by-keyboard-{language}-{size['width']}")
        # What is left open to a person who has refused is at the end, and closed.
        await tab_to(page, words("consent.closed"))
        assert not await page.locator("details button").first.is_visible()
        await page.keyboard.press("Enter")
        assert await page.locator("details button").first.is_visible()
    assert set(await pages.bans(address)) >= {("all", None, None), ("channel", "email", None)}


@pytest.mark.slow
async def test_the_topic_of_the_link_is_the_first_button_and_a_sent_form_is_not_sent_anew(
    pages, chromium
):
    async with window(chromium, PHONE) as page:
        await page.goto(pages.link("a@example.com", language="en"))
        first = page.locator("button").first
        assert await first.inner_text() == "Stop e-mail about “Newsletter”"
        await tab_to(page, "Stop e-mail about")
        async with page.expect_navigation():
            await page.keyboard.press("Space")
        assert "no more marketing about" in await page.locator("[role=status]").inner_text()
        await page.reload()
        assert "no more marketing about" in await page.locator("[role=status]").inner_text()
    assert len(await pages.events("a@example.com")) == 1


@pytest.mark.slow
async def test_a_logo_opened_by_itself_runs_nothing(open_pages, chromium, tmp_path):
    logo = tmp_path / "logo.svg"
    logo.write_bytes(LOGO.replace(b"document.title", b"window.name"))
    async with open_pages(pages={"logo": str(logo)}) as pages:
        context = await chromium.new_context()
        page = await context.new_page()
        await page.goto(pages.url + "/logo")
        assert await page.evaluate("window.name") == ""
        await context.close()
        async with pages.session.get(pages.url + "/logo") as answer:
            assert answer.content_type == "image/svg+xml"
            assert "sandbox" in answer.headers["Content-Security-Policy"]
        assert (await pages.get(pages.url + "/logo/x"))[0] == 404
        assert (await pages.post(pages.url + "/logo", b""))[0] == 405


@pytest.mark.slow
async def test_the_pages_of_a_form_that_failed_are_accessible_too(pages, chromium):
    url, asked = pages.link("a@example.com"), {"act": "consent", "topic": "newsletter"}
    answers = [
        await pages.post(url + f"?lang={language}", {**asked, "version": "0", "lang": language})
        for language in ("fi", "sv", "en")
    ]
    answers += [
        await pages.post(url, {"act": "all"}, Sec_Fetch_Site="cross-site"),
        await pages.post(url, {"act": "nothing"}),
    ]
    assert [status for status, _ in answers] == [409, 409, 409, 403, 400]
    async with window(chromium, NARROW, scripts=True) as page:
        for _, html in answers:
            await page.set_content(html)
            assert await faults(page) == []
        assert await page.locator("[role=alert]").count() == 0
        await page.set_content(answers[0][1])
        assert await page.locator("[role=alert]").count() == 1


@pytest.mark.slow
async def test_the_check_finds_what_is_wrong(chromium):
    """Else it would prove nothing."""
    bad = """<!doctype html><html lang="de"><head><title>x</title></head><body>
    <header></header><nav></nav><main><h2 id="a">Second</h2><h4 id="a">Fourth</h4>
    <p style="color:#999">Pale</p><p style="font-size:9px">Small</p><img src="">
    <button style="outline:none;height:10px;border-color:#eee;background:#fff">Go</button>
    <button>Go</button><button aria-describedby="none"></button>
    <div style="width:2000px">Wide</div><iframe></iframe></main></body></html>"""
    async with window(chromium, NARROW, scripts=True) as page:
        await page.set_content(bad)
        told = "\n".join(await faults(page))
    for fault in (
        "no language of ours",
        "no title",
        "viewport",
        "an id twice: a",
        "aria-describedby leads nowhere",
        "not one h1",
        "a heading level is left out",
        "not one footer",
        "no alt",
        "a control without a name",
        "two buttons of one name",
        "a target of",
        "contrast 2.85",
        "small print",
        "the border of a button does not show",
        "focus unseen",
        "scrolls sideways",
        "stands out",
        "foreign",
    ):
        assert fault in told, fault
