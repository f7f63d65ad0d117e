"""Twilio's SDK."""

from typing import ClassVar
from urllib.parse import parse_qs, parse_qsl

from twilio.base.exceptions import TwilioRestException
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from tests.sms.sdk.promises import (
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

ACCOUNT, SERVICE = "AC" + "0" * 32, "MG" + "0" * 32
ROOT = f"/2010-04-01/Accounts/{ACCOUNT}"
FORM = {"To": YES, "From": SENDER, "Body": TEXT}


class TestTwilio(Reports, Tokens, Promises):
    provider = "twilio"
    route: ClassVar = {"senders": [SENDER, SERVICE]}
    reporting: ClassVar = {"messaging_service_sid": SERVICE}
    named: ClassVar = {"token_name": ACCOUNT}
    headers = basic(ACCOUNT)
    others = (
        ("POST", f"{ROOT}/Messages", {"data": FORM}),
        ("POST", f"{ROOT}/Messages.xml", {"data": FORM}),
        ("POST", f"{ROOT}/messages.json", {"data": FORM}),
        ("POST", f"{ROOT}/SMS/Messages.json", {"data": FORM}),
        ("POST", f"{ROOT}/Calls.json", {"data": FORM}),
        ("POST", f"{ROOT}/Messages.json?To=%2B358402222222", {"data": FORM}),
        ("POST", "/2008-08-01/Accounts/" + ACCOUNT + "/SMS/Messages", {"data": FORM}),
        ("POST", "/v1/Services/" + SERVICE + "/Notifications", {"data": FORM}),
        ("PUT", f"{ROOT}/Messages.json", {"data": FORM}),
    )

    def send(self, house, *to, secret=SECRET, report="", **named):
        client = Client(ACCOUNT, secret)
        client.api.base_url = house.url
        named = named or {"from_": SENDER}
        if report:
            named["status_callback"] = report
        return client.messages.create(to=to[0], body=TEXT, **named)

    def took(self, answer, *to):
        assert answer.sid.startswith("SM")
        assert answer.status in ("queued", "accepted")
        assert (answer.to, answer.error_code, answer.body) == (*to, None, TEXT)
        assert answer.date_created.year > 2020

    def refused(self, answer):
        assert isinstance(answer, TwilioRestException)
        assert (answer.status, answer.code) == (400, 21610)

    def failed(self, answer):
        assert isinstance(answer, TwilioRestException)
        assert (answer.status, answer.code) == (503, 20503)

    def unknown(self, answer):
        assert isinstance(answer, TwilioRestException)
        assert (answer.status, answer.code) == (401, 20003)

    def recipients(self, asked):
        return parse_qs(asked.body.decode())["To"]

    def heard(self, asked, url):
        fields = dict(parse_qsl(asked.body.decode()))
        signature = asked.headers["x-twilio-signature"]
        assert RequestValidator(REPORTS).validate(url, fields, signature)
        assert (fields["MessageStatus"], fields["ErrorCode"]) == ("failed", "21610")
        assert fields["MessagingServiceSid"] == SERVICE
