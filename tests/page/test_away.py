"""What is answered while the register is away: come back later, and then it is done."""

from gateway.register.layout import META
from gateway.register.server import EmbeddedRegister
from tests.peers.front import front

A = "maija@example.com"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}


async def test_a_refusal_is_answered_503_and_taken_once_the_register_is_back(tmp_path, upstream):
    server = EmbeddedRegister(tmp_path / "r", start_timeout=20)
    await server.start()
    try:
        async with front(tmp_path, server.url, upstream) as pages:
            await server.stop(wait_for_users=0)
            url = pages.link(A)
            for form in (ONE_CLICK, {"act": "all", "lang": "en"}):
                async with pages.session.post(url, data=form) as answer:
                    assert answer.status == 503
                    assert int(answer.headers["Retry-After"]) > 0
                    text = await answer.text()
            assert "could not make sure that your choice is in force" in text
            status, body = await pages.get(url + "?lang=sv")
            assert status == 503
            assert "Försök igen" in body
            await server.start()
            await pages.house.parts.register.current.examine({})
            assert (await pages.post(url, ONE_CLICK))[0] == 200
            assert await pages.bans(A) == [("topic", "email", "newsletter")]
    finally:
        await server.stop(wait_for_users=0)


async def test_a_register_that_lost_something_takes_refusals_and_shows_nothing(pages):
    """What is not whole may lack bans: what it says is not shown, what is said to it counts."""
    wire = pages.house.parts.register.connections.wire
    await wire.exchange([(b"HDEL", META, b"whole")], 5)
    url = pages.link(A, language="en")
    status, html = await pages.get(url)
    assert status == 503
    assert "we cannot show what is in force" in html
    assert (await pages.post(url, ONE_CLICK))[0] == 200
    assert (await pages.post(url, {"act": "all"}))[0] == 303
    await pages.house.parts.register.current.examine({})
    assert set(await pages.bans(A)) == {("topic", "email", "newsletter"), ("all", None, None)}
    assert (await pages.get(url))[0] == 200
