"""One request's way through the proxy, to a provider on real sockets."""

import aiohttp

from tests.peers.provider import hanging_up, says, silence

PATH = "/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json"
YES, NO = "+358401111111", "+358402222222"
AUTH = {"Authorization": aiohttp.encode_basic_auth("AC00000000000000000000000000000000", "token")}
TEXT = "Syysale! Lopeta: vastaa STOP"


def form(to: str, **more: str) -> dict[str, str]:
    return {"To": to, "From": "LamisNET", "Body": TEXT, **more}


async def test_who_consented_gets_it_and_who_banned_does_not(sms):
    async with sms("twilio") as house:
        await house.allow(YES, NO)
        await house.ban(NO)
        status, answer = await house.post(PATH, data=form(YES), headers=AUTH)
        assert (status, answer["to"]) == (201, YES)
        status, answer = await house.post(PATH, data=form(NO), headers=AUTH)
        assert (status, answer["code"]) == (400, 21610)
        assert len(house.provider.sends) == 1
        assert await house.fate(YES) == [("forward", "R40", "forwarded")]
        assert await house.fate(NO) == [("suppress", "R11", "rejected")]


async def test_nothing_of_the_provider_nothing_is_said_to_be_sent(sms):
    async with sms("twilio", answer_timeout=2) as house:
        await house.allow(YES)
        for fault, expected, result in (
            (says(500, "<html>", "text/html"), 504, "deferred"),
            (says(429, '{"code": 20429}'), 429, "deferred"),
            (says(400, '{"code": 21211}'), 400, "refused"),
            (silence, 504, "unknown"),
            (hanging_up, 504, "unknown"),
        ):
            house.provider.answer = fault
            status, _ = await house.post(PATH, data=form(YES), headers=AUTH)
            assert status == expected
            assert (await house.fate(YES))[-1] == ("forward", "R40", result)
        await house.provider.stop()
        status, answer = await house.post(PATH, data=form(YES), headers=AUTH)
        assert (status, answer["status"]) == (503, 503)
        assert (await house.fate(YES))[-1] == ("forward", "R40", "failed")


async def test_a_yes_that_cannot_be_read_is_told_as_the_provider_would(sms):
    async with sms("infobip") as house:
        await house.allow(YES)
        house.provider.answer = says(200, "<html>ok</html>", "text/html")
        body = {
            "messages": [
                {"sender": "LamisNET", "destinations": [{"to": YES}], "content": {"text": TEXT}}
            ]
        }
        status, answer = await house.post(
            "/sms/3/messages", json=body, headers={"Authorization": "App key"}
        )
        assert status == 200
        assert [one["destination"] for one in answer["messages"]] == [YES]
        assert await house.fate(YES) == [("forward", "R40", "forwarded")]
