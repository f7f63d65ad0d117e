"""Infobip's SDK."""

import json

from infobip_api_client import (
    ApiClient,
    Configuration,
    SmsDestination,
    SmsMessage,
    SmsMessageContent,
    SmsRequest,
    SmsTextContent,
)
from infobip_api_client.api.sms_api import SmsApi
from infobip_api_client.exceptions import ApiException

from tests.sms.sdk.promises import ALSO, NO, SECRET, SENDER, TEXT, YES, Batches, Promises

V2 = {"messages": [{"from": SENDER, "destinations": [{"to": YES[1:]}], "text": TEXT}]}


class TestInfobip(Batches, Promises):
    provider = "infobip"
    headers = {"Authorization": f"App {SECRET}"}  # noqa: RUF012
    others = (
        ("GET", f"/sms/1/text/query?to={YES[1:]}&text=Hei", {}),
        ("GET", f"/sms/3/text/query?to={YES[1:]}&text=Hei", {}),
        ("POST", "/sms/2/binary/advanced", {"json": V2}),
        ("POST", "/sms/1/text/single", {"json": {"to": YES[1:], "text": TEXT}}),
        ("POST", "/sms/1/text/multi", {"json": V2}),
        ("POST", "/SMS/2/text/advanced", {"json": V2}),
        ("POST", "/omni/1/advanced", {"json": V2}),
        ("POST", "/2fa/2/pin", {"json": V2}),
        ("POST", "/sms/2/text/advanced", {"json": {**V2, "to": [NO]}}),
    )

    def send(self, house, *to, secret=SECRET, report=""):
        with ApiClient(Configuration(host=house.url, api_key=secret)) as client:
            message = SmsMessage(
                sender=SENDER,
                destinations=[SmsDestination(to=one[1:]) for one in to],
                content=SmsMessageContent(SmsTextContent(text=TEXT)),
            )
            return SmsApi(client).send_sms_messages(SmsRequest(messages=[message]))

    def items(self, answer):
        return [(f"+{one.destination}", one.status.group_name) for one in answer.messages]

    def took(self, answer, *to):
        assert self.items(answer) == [(one, "PENDING") for one in to]

    def refused(self, answer):
        assert self.items(answer) == [(NO, "REJECTED")]
        assert answer.messages[0].status.name == "REJECTED_DESTINATION_BLOCKLISTED"

    def parted(self, answer, on_suppress):
        group = "PENDING" if on_suppress == "discard" else "REJECTED"
        assert self.items(answer) == [(YES, "PENDING"), (NO, group), (ALSO, "PENDING")]

    def failed(self, answer):
        assert isinstance(answer, ApiException)
        assert answer.status == 503

    def recipients(self, asked):
        messages = json.loads(asked.body)["messages"]
        return [f"+{one['to']}" for each in messages for one in each["destinations"]]
