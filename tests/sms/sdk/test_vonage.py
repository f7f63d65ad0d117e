"""Vonage's SDK: the SMS API and the Messages API.  It speaks https alone."""

import json
from urllib.parse import parse_qs

import pytest
from vonage import Auth, HttpClientOptions, Vonage
from vonage_http_client.errors import AuthenticationError, HttpRequestError
from vonage_jwt import verify_signature
from vonage_messages import Sms
from vonage_sms import SmsMessage
from vonage_sms.errors import SmsError

from tests.sms.sdk.promises import (
    NO,
    REPORTS,
    SECRET,
    SENDER,
    TEXT,
    YES,
    Promises,
    Reports,
    Tokens,
    basic,
)

KEY, PLAIN = "a1b2c3d4", YES.removeprefix("+")
FORM = {"to": PLAIN, "from": SENDER, "text": TEXT}
MESSAGE = {**FORM, "channel": "sms", "message_type": "text"}


class ByTls(Reports, Tokens, Promises):
    """The gateway has a certificate, which the SDK trusts by its CA file."""

    refuses = False
    headers = basic(KEY)

    @pytest.fixture(autouse=True)
    def trust(self, monkeypatch, certificate):
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.certificate))
        files = {"certificate": str(certificate.certificate), "key": str(certificate.key)}
        self.table = {"tls": files}

    def house(self, sms, secret_file, **route):
        return sms(self.provider, table=self.table, **route)

    def client(self, house, secret):
        host = house.url.removeprefix("https://")
        return Vonage(
            Auth(api_key=KEY, api_secret=secret), HttpClientOptions(api_host=host, rest_host=host)
        )

    def failed(self, answer):
        assert isinstance(answer, HttpRequestError)
        assert answer.response.status_code == 503

    def unknown(self, answer):
        assert isinstance(answer, AuthenticationError)


class TestSms(ByTls):
    provider = "vonage"
    others = (
        ("GET", f"/sms/json?to={PLAIN}&from={SENDER}&text=Hei", {}),
        ("POST", "/sms/xml", {"data": FORM}),
        ("POST", "/SMS/json", {"data": FORM}),
        ("POST", "/sc/us/alert/json", {"data": FORM}),
        ("POST", "/sc/us/2fa/json", {"data": FORM}),
        ("POST", f"/sms/json?to={PLAIN}", {"data": FORM}),
        ("POST", "/v1/messages", {"json": MESSAGE}),
        ("POST", "/verify/json", {"data": FORM}),
    )

    def send(self, house, *to, secret=SECRET, report=""):
        message = SmsMessage(
            to=to[0].removeprefix("+"), from_=SENDER, text=TEXT, callback=report or None
        )
        return self.client(house, secret).sms.send(message)

    def took(self, answer, *to):
        assert answer.message_count == "1"
        (one,) = answer.messages
        assert (one.to, one.status) == (to[0].removeprefix("+"), "0")
        assert one.message_id

    def refused(self, answer):
        assert isinstance(answer, SmsError)
        assert "error code 7: Number Barred" in str(answer)

    def recipients(self, asked):
        return [f"+{one}" for one in parse_qs(asked.body.decode())["to"]]

    def heard(self, asked, url):
        fields = json.loads(asked.body)
        auth = Auth(api_key=KEY, signature_secret=REPORTS, signature_method="sha256")
        assert auth.check_signature(dict(fields))
        assert (fields["status"], fields["err-code"], fields["msisdn"]) == (
            "failed",
            "9",
            NO.removeprefix("+"),
        )


class TestMessages(ByTls):
    provider = "vonage_messages"
    others = (
        ("POST", "/sms/json", {"data": FORM}),
        ("POST", "/v0.1/messages", {"json": MESSAGE}),
        ("POST", "/v1/messages/", {"json": MESSAGE}),
        ("POST", "/V1/messages", {"json": MESSAGE}),
        ("POST", "/v1/messages", {"json": {**MESSAGE, "channel": "whatsapp"}}),
        ("POST", "/v1/messages", {"json": {**MESSAGE, "cc": [PLAIN]}}),
        (
            "POST",
            "/v1/messages",
            {"json": {**MESSAGE, "failover": [{**MESSAGE, "channel": "rcs"}]}},
        ),
        ("POST", "/v2/verify", {"json": MESSAGE}),
    )

    def send(self, house, *to, secret=SECRET, report=""):
        named = {"webhook_url": report} if report else {}
        message = Sms(to=to[0].removeprefix("+"), from_=SENDER, text=TEXT, **named)
        return self.client(house, secret).messages.send(message)

    def took(self, answer, *to):
        assert len(answer.message_uuid) == 36

    def refused(self, answer):
        assert isinstance(answer, HttpRequestError)
        assert answer.response.status_code == 422
        assert answer.response.json()["title"] == "Number Barred"

    def recipients(self, asked):
        return [f"+{json.loads(asked.body)['to']}"]

    def heard(self, asked, url):
        assert verify_signature(asked.headers["authorization"].removeprefix("Bearer "), REPORTS)
        told = json.loads(asked.body)
        assert (told["status"], told["to"]) == ("rejected", NO.removeprefix("+"))
        assert told["error"]["title"] == "1240"

    async def test_a_message_that_may_not_go_is_replaced_by_its_failover(self, sms, secret_file):
        async with self.house(sms, secret_file) as house:
            await house.allow(YES, NO)
            await house.ban(NO)
            number = NO.removeprefix("+")
            document = {**MESSAGE, "to": number, "failover": [MESSAGE]}
            url, headers = house.url + "/v1/messages", self.headers
            async with house.http.post(url, json=document, headers=headers, ssl=False) as response:
                assert response.status == 202
            assert self.sent(house) == [YES]
            assert number not in str(house.provider.asked)
