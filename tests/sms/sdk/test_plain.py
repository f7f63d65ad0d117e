"""46elks by elkme; GatewayAPI and LINK by plain HTTP, as their documentation shows."""

import json
from typing import ClassVar
from urllib.parse import parse_qs

import requests
from elkme.elks import Elks

from tests.sms.sdk.promises import NO, SECRET, SENDER, TEXT, YES, Batches, Promises, basic

FORM = {"from": SENDER, "to": YES, "message": TEXT}
MTSMS = {"sender": SENDER, "message": TEXT, "recipients": [{"msisdn": int(YES[1:])}]}


def posted(url, document, headers):
    answer = requests.post(url, json=document, headers=headers, timeout=10)
    answer.raise_for_status()
    return answer.json()


class Plain(Promises):
    def failed(self, answer):
        assert isinstance(answer, requests.HTTPError)
        assert "503" in str(answer)

    def refused(self, answer):
        assert isinstance(answer, requests.HTTPError)
        assert "403" in str(answer)


class TestElks(Plain):
    provider = "46elks"
    refuses = False
    headers: ClassVar = basic("u1234")
    others = (
        ("POST", "/a1/mms", {"data": FORM}),
        ("POST", "/a1/calls", {"data": FORM}),
        ("POST", "/a1/sms/", {"data": FORM}),
        ("POST", "/a1/sms", {"data": {**FORM, "to": f"{YES},{NO}"}}),
        ("POST", "/a1/sms?to=1", {"data": FORM}),
        ("GET", f"/a1/sms?to={YES[1:]}&message=Hei", {"data": FORM}),
    )

    def send(self, house, *to, secret=SECRET, report=""):
        elks = Elks(auth=("u1234", secret), api_url=house.url + "/a1")
        return json.loads(elks.send_sms(TEXT, to[0], sender=SENDER))

    def took(self, answer, *to):
        assert (answer["status"], answer["to"]) == ("created", *to)

    def recipients(self, asked):
        return parse_qs(asked.body.decode())["to"]


class TestGatewayApi(Batches, Plain):
    provider = "gatewayapi"
    headers: ClassVar = {"Authorization": f"Token {SECRET}"}
    others = (
        ("GET", f"/rest/mtsms?token={SECRET}&message=Hei&recipients.0.msisdn={YES[1:]}", {}),
        ("POST", "/rest/mtsms/", {"json": MTSMS}),
        ("POST", "/mobile/single", {"json": MTSMS}),
        ("POST", "/rest/mtsms", {"json": {**MTSMS, "groups": [1]}}),
        ("POST", "/rest/mtsms", {"json": MTSMS, "headers": {"Authorization": "OAuth a=b"}}),
    )

    def send(self, house, *to, secret=SECRET, report=""):
        recipients = [{"msisdn": int(one[1:])} for one in to]
        headers = {"Authorization": f"Token {secret}"}
        return posted(house.url + "/rest/mtsms", {**MTSMS, "recipients": recipients}, headers)

    def took(self, answer, *to):
        assert len(answer["ids"]) == 1
        assert answer["usage"]["currency"]

    def parted(self, answer, on_suppress):
        self.took(answer)

    def recipients(self, asked):
        return [f"+{one['msisdn']}" for one in json.loads(asked.body)["recipients"]]


class TestLink(Batches, Plain):
    provider = "link"
    headers: ClassVar = basic("user")
    one: ClassVar = {"source": SENDER, "userData": TEXT}
    of_all: ClassVar = {"platformId": "COMMON_API", "platformPartnerId": "1"}
    others = (
        ("GET", f"/sms/send?destination=%2B{YES[1:]}&userData=Hei", {}),
        ("POST", "/sms/Send", {"json": {**of_all, **one, "destination": YES}}),
        ("POST", "/sms/send/", {"json": {**of_all, **one, "destination": YES}}),
        ("POST", "/sms/send", {"json": {**of_all, **one, "destination": YES, "cc": [NO]}}),
        ("POST", "/sms/gate", {"json": {}}),
    )

    def send(self, house, *to, secret=SECRET, report=""):
        document, path, headers = self.of_all, "/sms/sendbatch", basic("user", secret)
        if len(to) == 1:
            path, document = "/sms/send", {**document, **self.one, "destination": to[0]}
        else:
            several = [{**self.one, "destination": one} for one in to]
            document = {**document, "sendRequestMessages": several}
        return posted(house.url + path, document, headers)

    def took(self, answer, *to):
        assert answer["resultCode"] == 1005

    def parted(self, answer, on_suppress):
        code = 1005 if on_suppress == "discard" else 2105
        assert [one["resultCode"] for one in answer] == [1005, code, 1005]

    def recipients(self, asked):
        document = json.loads(asked.body)
        return [one["destination"] for one in document.get("sendRequestMessages", [document])]
