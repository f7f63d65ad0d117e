"""Amazon's SDK: boto3, whose requests are signed."""

import asyncio
from urllib.parse import parse_qs

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from gateway.failure import InputError
from tests.peers.standins import sns
from tests.sms.sdk.promises import SECRET, SENDER, TEXT, TOKEN, YES, Promises, Repeating, Tokens

KEY, THEIRS = "AKIAGATEWAY000000000", "AKIAPROVIDER00000000"
TYPE = {"DataType": "String", "StringValue": SENDER}


class TestSns(Repeating, Tokens, Promises):
    provider = "sns"
    calls_of_503 = 3
    headers = {}  # noqa: RUF012
    named = {"token_name": KEY, "username": THEIRS}  # noqa: RUF012
    others = ()

    @pytest.fixture(autouse=True)
    def keys(self, monkeypatch):
        monkeypatch.setitem(sns.SECRETS, THEIRS, SECRET)

    def house(self, sms, secret_file, **route):
        files = {"token_file": secret_file(TOKEN), "password_file": secret_file(SECRET)}
        return sms(self.provider, **{**files, **self.named, **route})

    def client(self, house, secret=TOKEN):
        return boto3.client(
            "sns",
            region_name="eu-north-1",
            endpoint_url=house.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=secret,
            config=Config(retries={"total_max_attempts": 1}) if self.alone else None,
        )

    def send(self, house, *to, secret=TOKEN, report=""):
        return self.client(house, secret).publish(
            PhoneNumber=to[0], Message=TEXT, MessageAttributes={"AWS.SNS.SMS.SenderID": TYPE}
        )

    async def test_other_ways_of_sending(self, sms, secret_file):
        async with self.house(sms, secret_file) as house:
            await house.allow(YES)
            client, topic = self.client(house), "arn:aws:sns:eu-north-1:123456789012:all"
            entry = {"Id": "1", "Message": TEXT}
            for way in (
                lambda: client.publish(TopicArn=topic, Message=TEXT),
                lambda: client.publish(TargetArn=topic, Message=TEXT),
                lambda: client.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[entry]),
                lambda: client.subscribe(TopicArn=topic, Protocol="sms", Endpoint=YES),
                lambda: client.create_sms_sandbox_phone_number(PhoneNumber=YES),
                lambda: client.opt_in_phone_number(phoneNumber=YES),
            ):
                with pytest.raises(ClientError):
                    await asyncio.to_thread(way)
            assert house.provider.asked == []

    def took(self, answer, *to):
        assert len(answer["MessageId"]) == 36

    def refused(self, answer):
        assert type(answer).__name__ == "OptedOutException"
        assert answer.response["Error"]["Code"] == "OptedOut"

    def failed(self, answer):
        assert isinstance(answer, ClientError)
        assert answer.response["ResponseMetadata"]["HTTPStatusCode"] == 503

    def unknown(self, answer):
        assert isinstance(answer, ClientError)
        assert answer.response["ResponseMetadata"]["HTTPStatusCode"] == 403

    def shows_secret(self, asked):
        # The stand-in has checked the signature by it.
        assert THEIRS in asked.headers["authorization"]

    def recipients(self, asked):
        return parse_qs(asked.body.decode())["PhoneNumber"]

    async def test_a_route_without_a_token_is_refused_before_it_is_used(self, sms):
        with pytest.raises(InputError, match=r"sms\.routes tool: Amazon SNS signs the host"):
            async with sms(self.provider):
                pass
