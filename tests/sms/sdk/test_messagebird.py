"""MessageBird's SDK."""

import json

import messagebird
import requests
from messagebird.client import ErrorException
from messagebird.http_client import HttpClient
from messagebird.request_validator import RequestValidator

from tests.sms.sdk.promises import (
    ALSO,
    NO,
    REPORTS,
    SECRET,
    SENDER,
    TEXT,
    YES,
    Batches,
    Promises,
    Reports,
    Tokens,
)

BODY = {"originator": SENDER, "body": TEXT, "recipients": [YES[1:]]}


class TestMessageBird(Batches, Reports, Tokens, Promises):
    provider = "messagebird"
    refuses = False
    headers = {"Authorization": f"AccessKey {SECRET}"}  # noqa: RUF012
    others = (
        ("POST", "/mms", {"json": BODY}),
        ("POST", "/voicemessages", {"json": BODY}),
        ("POST", "/verify", {"json": {"recipient": YES[1:]}}),
        ("POST", "/Messages", {"json": BODY}),
        ("POST", "/messages/", {"json": BODY}),
        ("POST", f"/messages?recipients={YES[1:]}", {"json": BODY}),
        ("POST", "/messages", {"json": {**BODY, "groupIds": ["1234"]}}),
        ("POST", "/messages", {"data": {**BODY, "recipients": YES[1:]}}),
        ("PUT", "/messages", {"json": BODY}),
    )

    def send(self, house, *to, secret=SECRET, report=""):
        how = {"reportUrl": report} if report else None
        client = messagebird.Client(secret, http_client=HttpClient(house.url + "/", secret, "ua"))
        return client.message_create(SENDER, [one[1:] for one in to], TEXT, how)

    def items(self, answer):
        return [(f"+{one.recipient}", one.status) for one in answer.recipients["items"]]

    def took(self, answer, *to):
        assert self.items(answer) == [(one, "sent") for one in to]
        assert answer.id

    def refused(self, answer):
        assert self.items(answer) == [(NO, "delivery_failed")]

    def parted(self, answer, on_suppress):
        status = "delivery_failed" if on_suppress == "reject" else "sent"
        assert self.items(answer) == [(YES, "sent"), (NO, status), (ALSO, "sent")]

    def failed(self, answer):
        assert isinstance(answer, requests.HTTPError)
        assert answer.response.status_code == 503

    def unknown(self, answer):
        assert isinstance(answer, ErrorException)
        assert answer.errors[0].code == 2

    def recipients(self, asked):
        return [f"+{one}" for one in json.loads(asked.body)["recipients"].split(",")]

    def heard(self, asked, url):
        whole = url.partition("/reports")[0] + asked.path
        RequestValidator(REPORTS).validate_signature(
            asked.headers["messagebird-signature-jwt"], whole, b""
        )
        assert asked.method == "GET"
        assert "status=delivery_failed" in asked.path
        assert "statusErrorCode=103" in asked.path
