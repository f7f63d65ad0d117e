"""Sinch's SDK."""

import json
from typing import ClassVar

import pytest

from tests.sms.sdk.promises import ALSO, NO, SECRET, SENDER, TEXT, YES, Batches, Promises

pytestmark = pytest.mark.filterwarnings("ignore:invalid escape sequence")
ROOT = "/xms/v1/plan"
BODY = {"to": [YES[1:]], "from": SENDER, "body": TEXT}


class TestSinch(Batches, Promises):
    provider = "sinch"
    refuses = False
    headers: ClassVar = {"Authorization": f"Bearer {SECRET}"}
    others = (
        ("POST", f"{ROOT}/batches/01ABC", {"json": {"to_add": [YES[1:]]}}),
        ("PUT", f"{ROOT}/batches/01ABC", {"json": BODY}),
        ("POST", f"{ROOT}/groups", {"json": {"members": [YES[1:]]}}),
        ("POST", f"{ROOT}/Batches", {"json": BODY}),
        ("POST", f"{ROOT}/batches/", {"json": BODY}),
        ("POST", f"{ROOT}/batches", {"json": {**BODY, "to": ["01FC66621XXXXX119Z8PMV1QPQ"]}}),
    )

    def send(self, house, *to, secret=SECRET, report=""):
        from sinch import SinchClient

        client = SinchClient(service_plan_id="plan", sms_api_token=secret, sms_region="eu")
        client.configuration.sms_domain_with_service_plan_id = house.url
        return client.sms.batches.send_sms(to=[one[1:] for one in to], from_=SENDER, body=TEXT)

    def took(self, answer, *to):
        assert answer.id
        assert [f"+{one}" for one in answer.to] == [*to]

    def refused(self, answer):
        assert type(answer).__name__ == "SmsException"
        assert answer.response_status_code == 403

    def parted(self, answer, on_suppress):
        told = (YES, ALSO) if on_suppress == "reject" else (YES, NO, ALSO)
        self.took(answer, *told)

    def failed(self, answer):
        assert answer.response_status_code == 503

    def recipients(self, asked):
        return [f"+{one}" for one in json.loads(asked.body)["to"]]
