"""Telnyx's SDK, with the repetitions that it makes by itself."""

import json

import telnyx

from tests.sms.sdk.promises import SECRET, SENDER, TEXT, YES, Promises, Repeating, Tokens, calls

BODY = {"to": YES, "from": SENDER, "text": TEXT}
_WAYS = ("long_code", "number_pool", "short_code", "group_mms", "alphanumeric_sender_id")
_MORE = ("schedule", "whatsapp")


class TestTelnyx(Repeating, Tokens, Promises):
    provider = "telnyx"
    headers = {"Authorization": f"Bearer {SECRET}"}  # noqa: RUF012
    others = (
        *(("POST", f"/v2/messages/{way}", {"json": BODY}) for way in _WAYS + _MORE),
        ("POST", "/v2/messages/", {"json": BODY}),
        ("POST", "/V2/messages", {"json": BODY}),
        ("POST", "/v2/messages?to=1", {"json": BODY}),
        ("POST", "/v2/messages", {"json": {**BODY, "cc": [YES]}}),
        ("POST", "/v2/messages", {"json": {**BODY, "to": [YES]}}),
        ("POST", "/v2/verifications/sms", {"json": {"phone_number": YES}}),
    )

    calls_of_503 = 3

    def send(self, house, *to, secret=SECRET, report=""):
        how = {"max_retries": 0} if self.alone else {}
        with telnyx.Telnyx(api_key=secret, base_url=house.url + "/v2", **how) as client:
            return client.messages.send(to=to[0], from_=SENDER, text=TEXT)

    async def test_an_opted_out_number_is_asked_about_once(self, sms, secret_file):
        self.alone = False
        async with self.house(sms, secret_file) as house:
            await house.ban(YES)
            self.refused(await self.tried(house, YES))
            assert calls(house) == 1

    def took(self, answer, *to):
        assert answer.data.id
        assert [one.phone_number for one in answer.data.to] == [*to]

    def refused(self, answer):
        assert isinstance(answer, telnyx.ConflictError)
        assert answer.response.json()["errors"][0]["code"] == "40300"

    def failed(self, answer):
        assert isinstance(answer, telnyx.InternalServerError)
        assert answer.status_code == 503

    def unknown(self, answer):
        assert isinstance(answer, telnyx.AuthenticationError)

    def recipients(self, asked):
        return [json.loads(asked.body)["to"]]
