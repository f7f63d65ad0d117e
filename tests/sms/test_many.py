"""Many recipients, the same ones twice, and those that are nobody."""

import json
import resource
import time

import pytest

from tests.peers.provider import says

YES = "+358401111111"
TEXT = "Syysale! Lopeta: vastaa STOP"
APP = {"Authorization": "App 0123456789abcdef"}


def many(count: int) -> list[str]:
    return [f"+35840{n:07}" for n in range(1_000_000, 1_000_000 + count)]


@pytest.mark.parametrize("name", ["gatewayapi", "infobip"])
async def test_ten_thousand_recipients(sms, name):
    people = many(10_001)
    if name == "infobip":
        path, headers = "/sms/3/messages", APP

        def body(numbers: list[str]) -> dict:
            to = [{"to": one} for one in numbers]
            one = {"sender": "LamisNET", "destinations": to, "content": {"text": TEXT}}
            return {"messages": [one]}
    else:
        path, headers = "/rest/mtsms", {"Authorization": "Token abc"}

        def body(numbers: list[str]) -> dict:
            to = [{"msisdn": int(one)} for one in numbers]
            return {"sender": "LamisNET", "message": TEXT, "recipients": to}

    async with sms(name, answer_timeout=20) as house:
        allowed = people[5_000:5_050]
        await house.allow(*allowed)
        await house.ban(allowed[0])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        status, _ = await house.post(path, json=body(people[:10_000]), headers=headers)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert status == 200
        assert peak < 150 * 1024
        (sent,) = house.provider.sends
        for number in people[4_990:5_060]:
            assert (number[1:].encode() in sent.body) == (number in allowed[1:])
        assert len(sent.body) < 10_000
        status, _ = await house.post(path, json=body(people), headers=headers)
        assert status == 400
        assert len(house.provider.sends) == 1
        assert await house.fate(allowed[0]) == [
            ("suppress", "R11", "rejected" if name == "infobip" else "suppressed")
        ]
        # A refusal of the provider's is noted of all of them without holding up the loop.
        house.provider.answer = says(400, "{}")
        began = time.monotonic()
        status, _ = await house.post(path, json=body(people[:10_000]), headers=headers)
        assert status == 400
        assert time.monotonic() - began < 4


async def test_one_number_in_three_notations_is_sent_to_once(sms):
    async with sms("infobip") as house:
        await house.allow(YES)
        to = [{"to": one} for one in (YES, YES[1:], "00" + YES[1:], YES, "+358 40 111 1111")]
        one = {"sender": "LamisNET", "destinations": to, "content": {"text": TEXT}}
        status, _ = await house.post("/sms/3/messages", json={"messages": [one]}, headers=APP)
        assert status == 200
        (sent,) = house.provider.sends
        (message,) = json.loads(sent.body)["messages"]
        assert message["destinations"] == [{"to": YES}]
        assert len(await house.found(YES)) == 1


async def test_a_message_of_which_nobody_can_be_asked_about(sms):
    async with sms("infobip") as house:
        await house.allow(YES)
        messages = [
            {"sender": "LamisNET", "destinations": [{"to": to}], "content": {"text": TEXT}}
            for to in ("LAMIS", YES, "12345")
        ]
        status, answer = await house.post(
            "/sms/3/messages", json={"messages": messages}, headers=APP
        )
        assert status == 200
        groups = [one["status"]["groupName"] for one in answer["messages"]]
        assert groups == ["REJECTED", "PENDING", "REJECTED"]
        (sent,) = house.provider.sends
        assert len(json.loads(sent.body)["messages"]) == 1
