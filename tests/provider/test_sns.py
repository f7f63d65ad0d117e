"""Amazon SNS: what botocore sends is read, re-signed and answered as SNS would."""

import asyncio
import io
import time
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import UUID

import botocore.session
import pytest
from aiohttp.test_utils import make_mocked_request
from botocore.awsrequest import AWSResponse
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.credential import Credential
from gateway.provider.identifier import record_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.registry import find_adapter
from gateway.provider.request import FORM, Answer, Request
from gateway.provider.submission import Decided, Fate, Told
from tests.peers.standins import sns as standin

SNS = find_adapter("sns")
MAIJA = "+358401234567"
RECORD = "01JGFJJZ00ABCDEFGHJKMNPQRS"
TOOL = Credential("AKIDTOOL", "the gateway's secret")
PROVIDER = Credential("AKIDPROVIDER", "the provider's secret")
PUBLISH = {
    "Action": "Publish",
    "Version": "2010-03-31",
    "PhoneNumber": MAIJA,
    "Message": "Moi ä & + ~*",
}


def form(pairs, **more) -> Request:
    pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
    return Request(
        "POST",
        "/",
        headers=(("Content-Type", f"{FORM}; charset=utf-8"),),
        body=urlencode(pairs).encode(),
    )._replace(**more)


def decided(fate: Fate) -> Decided:
    return Decided([[fate]], [[RECORD]], 1_735_689_600_000)


def refused(request: Request) -> Problem:
    with pytest.raises(Refusal) as caught:
        SNS.read(request)
    assert "401234567" not in str(caught.value)
    return caught.value.problem


class Wire:
    """A client of botocore's whose requests are answered by a function."""

    def __init__(self, answer, credential: Credential = TOOL):
        self.requests: list[Request] = []
        self._answer = answer
        session = botocore.session.Session()
        self.client = session.create_client(
            "sns",
            region_name="eu-north-1",
            endpoint_url="http://gateway.example:8025",
            aws_access_key_id=credential.name,
            aws_secret_access_key=credential.secret,
            config=Config(retries={"mode": "standard", "total_max_attempts": 3}),
        )
        self.client.meta.events.register("before-send.sns.*", self._send)

    def _send(self, request, **_):
        url = urlsplit(request.url)
        headers = [("Host", url.netloc)]
        for name, value in request.headers.items():
            headers.append((name, value.decode() if isinstance(value, bytes) else str(value)))
        body = request.body.encode() if isinstance(request.body, str) else request.body
        one = Request(request.method, url.path, url.query, tuple(headers), body)
        self.requests.append(one)
        answer = self._answer(one)
        raw = io.BytesIO(answer.body)
        raw.stream = lambda: iter([answer.body])
        return AWSResponse(request.url, answer.status, {"Content-Type": answer.content_type}, raw)


def from_standin(request: Request) -> Answer:
    mocked = make_mocked_request(request.method, request.path, headers=list(request.headers))
    response = asyncio.run(standin.answer(mocked, request.body))
    return Answer(response.status, response.body, response.content_type)


# -- what the SDK sends -------------------------------------------------------------


def publish(wire: Wire, **more):
    attributes = {
        "AWS.SNS.SMS.SenderID": {"DataType": "String", "StringValue": "Kauppa"},
        "AWS.SNS.SMS.SMSType": {"DataType": "String", "StringValue": "Promotional"},
        "own": {"DataType": "Binary", "BinaryValue": b"\x00"},
    }
    return wire.client.publish(
        PhoneNumber=MAIJA, Message="Moi ä & + ~*", MessageAttributes=attributes, **more
    )


def test_what_botocore_sends_is_shown_read_and_goes_on_signed_for_the_provider():
    """From the SDK through the adapter to SNS and back; the stand-in computes the signature."""

    def through(request: Request) -> Answer:
        (scheme,) = SNS.schemes
        assert scheme.shows(request, TOOL)
        assert not scheme.shows(request, PROVIDER)
        submission = SNS.read(request)
        (message,) = submission.messages
        assert message == ("Kauppa", "Moi ä & + ~*", (MAIJA,), "")
        assert submission.refuses and not submission.scheduled
        narrowed = SNS.narrowed(submission, [[0]])
        narrowed = narrowed.with_headers({"Host": "sns.eu-north-1.amazonaws.com"})
        written = scheme.write(narrowed, PROVIDER)
        assert parse_qsl(written.body.decode()) == parse_qsl(request.body.decode())
        return SNS.merged(from_standin(written), submission, decided(Fate.SENT))

    wire = Wire(through)
    standin.SECRETS[PROVIDER.name] = PROVIDER.secret
    try:
        answer = publish(wire)
        assert UUID(answer["MessageId"])
        assert len(wire.requests) == 1
        assert {wire.requests[0].header(name) for name in SNS.idempotency} != {""}
    finally:
        standin.SECRETS.clear()


def test_an_opted_out_number_is_the_sdks_own_exception():
    wire = Wire(lambda request: SNS.blocked(SNS.read(request), decided(Fate.BLOCKED)))
    with pytest.raises(wire.client.exceptions.OptedOutException) as caught:
        publish(wire)
    assert caught.value.response["Error"]["Code"] == "OptedOut"
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 400
    assert len(wire.requests) == 1


def test_an_accepted_message_has_the_records_id():
    wire = Wire(lambda request: SNS.accepted(SNS.read(request), decided(Fate.TAKEN)))
    assert record_of(publish(wire)["MessageId"]) == RECORD


@pytest.mark.parametrize("problem", Problem)
def test_problems_are_errors_of_the_query_protocol(problem, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)
    wire = Wire(lambda _: SNS.problem(problem, "what <is> wrong & why"))
    with pytest.raises(ClientError) as caught:
        publish(wire)
    error = caught.value.response["Error"]
    assert error["Message"] == "what <is> wrong & why"
    assert error["Code"].isalpha()
    # The SDK sends again by itself only what was not sent, so that nobody gets it twice.
    assert (len(wire.requests) > 1) <= (problem.temporary or problem is Problem.TOO_SLOW)
    assert (len(wire.requests) > 1) >= (problem.status == 503)


def test_the_read_only_actions_pass_as_botocore_writes_them():
    wire = Wire(lambda request: SNS.read(request) or from_standin(request))
    client = wire.client
    assert client.check_if_phone_number_is_opted_out(phoneNumber=MAIJA)["isOptedOut"] is False
    assert client.get_sms_attributes(attributes=["DefaultSMSType", "MonthlySpendLimit"])
    assert client.get_sms_attributes()
    assert client.get_sms_sandbox_account_status()["IsInSandbox"] is False
    assert client.list_origination_numbers(MaxResults=3, NextToken="x")
    assert client.list_phone_numbers_opted_out(nextToken="x")["phoneNumbers"]
    assert client.list_sms_sandbox_phone_numbers()
    assert len(wire.requests) == 7


def test_actions_that_send_or_change_are_refused_as_botocore_writes_them():
    wire = Wire(lambda request: SNS.problem(refused(request), "no"))
    topic = "arn:aws:sns:eu-north-1:123456789012:t"
    entry = {"Id": "1", "Message": "Moi"}
    with pytest.raises(wire.client.exceptions.InvalidParameterException):
        wire.client.publish_batch(TopicArn=topic, PublishBatchRequestEntries=[entry])
    with pytest.raises(wire.client.exceptions.InvalidParameterException):
        wire.client.publish(TopicArn=topic, Message="Moi")
    with pytest.raises(wire.client.exceptions.InvalidParameterException):
        wire.client.publish(TargetArn=topic, Message="Moi")
    for call in (
        lambda c: c.subscribe(TopicArn=topic, Protocol="sms", Endpoint=MAIJA),
        lambda c: c.create_sms_sandbox_phone_number(PhoneNumber=MAIJA),
        lambda c: c.opt_in_phone_number(phoneNumber=MAIJA),
        lambda c: c.set_sms_attributes(attributes={"DefaultSenderID": "x"}),
        lambda c: c.create_topic(Name="t"),
    ):
        with pytest.raises(ClientError, match="InvalidAction"):
            call(wire.client)


# -- reading ------------------------------------------------------------------------


def attribute(number, name, value):
    return {
        f"MessageAttributes.entry.{number}.Name": name,
        f"MessageAttributes.entry.{number}.Value.DataType": "String",
        f"MessageAttributes.entry.{number}.Value.StringValue": value,
    }


def test_sender_and_text():
    origin = attribute(2, "AWS.MM.SMS.OriginationNumber", "+358457000000")
    sender = attribute(10, "AWS.SNS.SMS.SenderID", "Kauppa")
    assert SNS.read(form(PUBLISH)).messages[0].sender == ""
    assert SNS.read(form(PUBLISH | origin)).messages[0].sender == "+358457000000"
    assert SNS.read(form(PUBLISH | origin | sender)).messages[0].sender == "Kauppa"
    several = {"MessageStructure": "json", "Message": '{"default": "Moi"}'}
    assert SNS.read(form(PUBLISH | several)).messages[0].text is None
    assert SNS.read(form(PUBLISH | {"Subject": "Otsikko"})).messages[0].text == PUBLISH["Message"]


@pytest.mark.parametrize("name", ["TopicArn", "TargetArn", "topicArn", "TopicArn.1", "TARGETARN"])
def test_a_topic_or_endpoint_hides_its_recipients(name):
    assert refused(form(PUBLISH | {name: "arn:aws:sns:x"})) is Problem.HIDDEN_RECIPIENTS
    assert refused(form({name: "arn:aws:sns:x"} | PUBLISH)) is Problem.HIDDEN_RECIPIENTS


@pytest.mark.parametrize(
    "more",
    [
        {"phoneNumber": MAIJA},
        {"PhoneNumber.1": MAIJA},
        {"PhoneNumber[]": MAIJA},
        {"PhoneNumbers": MAIJA},
        {"Endpoint": MAIJA},
        {"X-Amz-Signature": "x"},
        {"MessageAttributes.entry.0.Name": "x"},
        {"MessageAttributes.entry.1.Value.Other": "x"},
        attribute(1, "AWS.SNS.MOBILE.APNS.TOPIC", "x"),
        attribute(1, "aws.sns.sms.senderid", "x"),
    ],
)
def test_fields_that_are_not_known_are_refused(more):
    assert refused(form(PUBLISH | more)) in (Problem.HIDDEN_RECIPIENTS, Problem.MALFORMED)


@pytest.mark.parametrize("name", PUBLISH)
def test_a_field_that_stands_twice_is_refused(name):
    assert refused(form([*PUBLISH.items(), (name, PUBLISH[name])])) is Problem.MALFORMED


def test_an_attribute_that_stands_twice_is_refused():
    one, other = (attribute(n, "AWS.SNS.SMS.SenderID", f"Kauppa{n}") for n in (1, 2))
    assert refused(form(PUBLISH | one | other)) is Problem.MALFORMED
    assert refused(form([*(PUBLISH | one).items(), *one.items()])) is Problem.MALFORMED


@pytest.mark.parametrize("name", ["PhoneNumber", "Message", "Action"])
def test_what_must_be_there(name):
    assert refused(form({k: v for k, v in PUBLISH.items() if k != name})) is Problem.MALFORMED
    assert refused(form(PUBLISH | {name: ""})) is Problem.MALFORMED


def test_other_methods_paths_and_queries():
    assert refused(form(PUBLISH, method="GET")) is Problem.UNKNOWN_PATH
    assert refused(form(PUBLISH, method="PUT")) is Problem.UNKNOWN_PATH
    get = Request("GET", "/", urlencode(PUBLISH))
    assert refused(get) is Problem.UNKNOWN_PATH
    for path in ("//", "/publish", "/123456789012/topic", ""):
        assert refused(form(PUBLISH, path=path)) is Problem.UNKNOWN_PATH
    query = form(PUBLISH, query="PhoneNumber=%2B358401234568")
    assert refused(query) is Problem.MALFORMED
    assert refused(form(PUBLISH | {"Version": "2009-01-01"})) is Problem.MALFORMED


@pytest.mark.parametrize("action", ["publish", "PUBLISH", "Publish ", "Unknown", "PublishBatch"])
def test_other_actions(action):
    problem = refused(form(PUBLISH | {"Action": action}))
    assert problem in (Problem.UNKNOWN_PATH, Problem.HIDDEN_RECIPIENTS)


@pytest.mark.parametrize(
    "body",
    [
        b"Action=Publish;PhoneNumber=1",
        b"Action=Publish&Message=a;PhoneNumber=1&PhoneNumber=2",
        b"Action=Publish&Message=\xc3\xa4&PhoneNumber=2",
        b"Action=Publish&Message=%ff&PhoneNumber=2",
        b'{"Action": "Publish"}',
        b"Action",
        b"",
    ],
)
def test_bodies_that_could_be_read_in_two_ways(body):
    assert refused(form({}, body=body)) is Problem.MALFORMED


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Content-Type", "application/x-amz-json-1.0"),),
        (("Content-Type", f"{FORM}; charset=utf-16"),),
        (("Content-Type", FORM), ("Content-Encoding", "gzip")),
    ],
)
def test_other_protocols_are_refused(headers):
    assert refused(form(PUBLISH, headers=headers)) is Problem.WRONG_TYPE


@pytest.mark.parametrize(
    "more",
    [
        {"PhoneNumber": MAIJA},
        {"Message": "x"},
        {"TopicArn": "x"},
        {"NextToken": "x"},
        {"action": "Publish"},
    ],
)
def test_a_read_only_action_has_no_other_fields(more):
    listing = {"Action": "ListPhoneNumbersOptedOut", "nextToken": "x"}
    assert SNS.read(form(listing)) is None
    assert refused(form(listing | more)) is Problem.MALFORMED
    twice = [*listing.items(), ("Action", "Publish")]
    assert refused(form(twice)) is Problem.MALFORMED
    assert refused(form([*listing.items(), ("nextToken", "y")])) is Problem.MALFORMED


# -- answers of the provider's ------------------------------------------------------


def test_what_the_provider_says():
    submission = SNS.read(form(PUBLISH))
    sent = decided(Fate.SENT)

    def told(status, code):
        body = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>".encode()
        return SNS.told(Answer(status, body, "text/xml"), submission, sent)

    assert told(200, "") == [Told.ACCEPTED]
    assert told(400, "InvalidParameter") == [Told.REFUSED]
    assert told(400, "Throttling") == [Told.LATER]
    assert told(400, "ThrottlingException") == [Told.LATER]
    assert told(429, "Throttled") == [Told.LATER]
    assert told(503, "ServiceUnavailable") == [Told.LATER]
    assert SNS.usable(Answer(200, b"<x/>", "text/xml"))
    assert SNS.usable(Answer(200, b"<x/>", "application/xml; charset=utf-8"))
    assert SNS.usable(Answer(200, b"", ""))
    assert not SNS.usable(Answer(200, b"<html>", "text/html"))
    assert SNS.report(submission, sent, 0, 0, "") is None


# -- whatever the request's shape ---------------------------------------------------

numbers = st.integers(10_000, 99_999).map(lambda tail: f"+3584012{tail}")
names = st.sampled_from(
    [
        *PUBLISH,
        "phoneNumber",
        "PhoneNumber.member.1",
        "TopicArn",
        "targetArn",
        "Subject",
        "MessageStructure",
        "MessageAttributes.entry.1.Name",
        "MessageAttributes.entry.1.Value.StringValue",
        "Endpoint",
    ]
)
extra = st.lists(st.tuples(names | st.text(max_size=12), numbers | st.text(max_size=8)), max_size=4)


@given(numbers, extra, st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=500)
def test_every_recipient_of_a_forwarded_request_was_read(number, more, random):
    pairs = [*(PUBLISH | {"PhoneNumber": number}).items(), *more]
    random.shuffle(pairs)
    try:
        submission = SNS.read(form(pairs))
    except Refusal:
        return
    if submission is None:
        return
    written = parse_qsl(SNS.narrowed(submission, [[0]]).body.decode(), keep_blank_values=True)
    assert written == pairs
    read = [one for message in submission.messages for one in message.destinations]
    found = [
        value
        for name, value in written
        if any(word in name.lower() for word in ("phone", "arn", "endpoint"))
    ]
    assert found == read == [dict(pairs)["PhoneNumber"]]
