"""Plivo's SDK."""

import json
from typing import ClassVar
from urllib.parse import parse_qsl

import plivo
import pytest
from plivo.exceptions import PlivoRestError, ValidationError
from plivo.utils import validate_signature

from tests.sms.sdk.promises import (
    NO,
    REPORTS,
    SECRET,
    SENDER,
    TEXT,
    YES,
    Batches,
    Promises,
    Reports,
    basic,
)

ACCOUNT = "MA" + "X" * 18
ROOT = f"/v1/Account/{ACCOUNT}"
BODY = {"src": SENDER, "dst": YES[1:], "text": TEXT}


class TestPlivo(Batches, Reports, Promises):
    provider = "plivo"
    refuses = False
    headers: ClassVar = basic(ACCOUNT)
    others = (
        ("POST", f"{ROOT}/Message", {"json": BODY}),
        ("POST", f"{ROOT}/message/", {"json": BODY}),
        ("POST", f"{ROOT}/Call/", {"json": BODY}),
        ("POST", f"{ROOT}/Verify/Session/", {"json": {"recipient": YES[1:]}}),
        ("POST", f"{ROOT}/Message/", {"data": BODY}),
        ("POST", f"{ROOT}/Message/", {"json": {**BODY, "type": "whatsapp"}}),
        ("POST", f"{ROOT}/Message/?dst={NO[1:]}", {"json": BODY}),
    )

    @pytest.fixture(autouse=True)
    def base(self, monkeypatch):
        self.monkeypatch = monkeypatch

    def send(self, house, *to, secret=SECRET, report=""):
        self.monkeypatch.setattr("plivo.rest.client.PLIVO_API_BASE_URI", house.url + "/v1/Account")
        named = {"url": report} if report else {}
        with plivo.RestClient(ACCOUNT, secret) as client:
            dst = "<".join(one[1:] for one in to)
            return client.messages.create(src=SENDER, dst=dst, text=TEXT, **named)

    def took(self, answer, *to):
        assert len(answer.message_uuid) == len(to)

    def refused(self, answer):
        assert isinstance(answer, ValidationError)

    def parted(self, answer, on_suppress):
        assert len(answer.message_uuid) == (2 if on_suppress == "reject" else 3)

    def failed(self, answer):
        assert isinstance(answer, PlivoRestError)
        assert "503" in str(answer)

    def recipients(self, asked):
        return [f"+{one}" for one in json.loads(asked.body)["dst"].split("<")]

    def heard(self, asked, url):
        nonce = asked.headers["x-plivo-signature-v2-nonce"]
        assert validate_signature(url, nonce, asked.headers["x-plivo-signature-v2"], REPORTS)
        told = dict(parse_qsl(asked.body.decode()))
        assert (told["Status"], told["ErrorCode"], told["To"]) == ("failed", "200", NO[1:])
