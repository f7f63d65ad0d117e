"""Requests that name themselves, said again."""

from tests.sms.test_proxy import AUTH, NO, PATH, form


async def test_a_request_that_names_itself_is_recorded_once(sms):
    async with sms("twilio") as house:
        await house.allow(NO)
        await house.ban(NO)
        headers = {**AUTH, "Idempotency-Key": "one"}
        for _ in range(2):
            status, answer = await house.post(PATH, data=form(NO), headers=headers)
            assert (status, answer["code"]) == (400, 21610)
        assert await house.fate(NO) == [("suppress", "R11", "rejected")]
