"""Vonage SMS: what its SDKs send is read, narrowed and answered as Vonage would."""

import hashlib
import hmac
import json
import time
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.credential import Credential
from gateway.provider.identifier import record_of
from gateway.provider.problem import Problem
from gateway.provider.registry import find_adapter
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Told
from tests.peers.standins import vonage as standin
from tests.provider.deciding import (
    BLOCKED,
    INVALID,
    PEOPLE,
    SENT,
    TAKEN,
    asked,
    body_of,
    checked,
    decided,
    document,
    extras,
    form,
    record,
    refused,
)

VONAGE = find_adapter("vonage")
PATH = "/sms/json"
MAIJA = PEOPLE[0]
FIELDS = {
    "from": "Acme",
    "to": MAIJA,
    "text": "Moi ä & + ~*",
    "client-ref": "order 7",
    "callback": "https://tool.example/dlr",
    "api_key": "abcd1234",
    "api_secret": "abcdef0123456789",
}


@pytest.mark.parametrize("written", [form, document])
def test_one_message_is_read(written):
    submission = VONAGE.read(written(PATH, FIELDS))
    (message,) = submission.messages
    assert message.sender == "Acme"
    assert message.text == "Moi ä & + ~*"
    assert message.destinations == (MAIJA,)
    assert message.report_url == "https://tool.example/dlr"
    assert not submission.refuses
    assert not submission.scheduled


@pytest.mark.parametrize("written", [form, document])
def test_what_is_forwarded_is_what_was_read(written):
    submission = VONAGE.read(written(PATH, FIELDS))
    narrowed = VONAGE.narrowed(submission, [[0]])
    if written is form:
        assert dict(parse_qsl(narrowed.body.decode())) == FIELDS
    else:
        assert body_of(narrowed) == FIELDS
    assert narrowed._replace(body=b"") == submission.request._replace(body=b"")


def test_a_form_under_the_name_of_json_is_one():
    request = form(PATH, FIELDS).with_headers({"Content-Type": "application/json"})
    submission = VONAGE.read(request)
    assert submission.messages[0].destinations == (MAIJA,)
    narrowed = VONAGE.narrowed(submission, [[0]])
    assert narrowed.header("content-type") == "application/x-www-form-urlencoded"
    assert dict(parse_qsl(narrowed.body.decode())) == FIELDS
    twice = request._replace(body=request.body + f"&to={PEOPLE[1]}".encode())
    assert refused(VONAGE, twice) is Problem.MALFORMED
    assert refused(VONAGE, request._replace(body=b'"to"')) is Problem.MALFORMED
    assert refused(VONAGE, request._replace(body=b"")) is Problem.MALFORMED


def test_a_number_in_json_stays_a_number():
    submission = VONAGE.read(document(PATH, FIELDS | {"to": int(MAIJA)}))
    assert submission.messages[0].destinations == (MAIJA,)
    assert body_of(VONAGE.narrowed(submission, [[0]]))["to"] == int(MAIJA)


@pytest.mark.parametrize(
    "more", [{"type": "binary", "body": "00ff"}, {"type": "wappush", "url": "https://x.example"}]
)
def test_what_is_no_text_is_not_taken_for_one(more):
    assert VONAGE.read(form(PATH, FIELDS | more)).messages[0].text is None


def test_a_text_that_stands_beside_no_type_that_needs_it_is_absent():
    without = {name: value for name, value in FIELDS.items() if name != "text"}
    assert VONAGE.read(form(PATH, without)).messages[0].text is None


@pytest.mark.parametrize(
    ("pairs", "problem"),
    [
        ([*FIELDS.items(), ("to", PEOPLE[1])], Problem.MALFORMED),
        ([*FIELDS.items(), ("To", PEOPLE[1])], Problem.MALFORMED),
        ([*FIELDS.items(), ("to[]", PEOPLE[1])], Problem.MALFORMED),
        ([*FIELDS.items(), ("text", "twice")], Problem.MALFORMED),
        ([*FIELDS.items(), ("cc", PEOPLE[1])], Problem.HIDDEN_RECIPIENTS),
        ([*FIELDS.items(), (PEOPLE[1], "")], Problem.HIDDEN_RECIPIENTS),
        ([("from", "Acme"), ("text", "Moi")], Problem.MALFORMED),
        ([("from", "Acme"), ("text", "Moi"), ("to", "")], Problem.MALFORMED),
    ],
)
def test_another_place_for_a_recipient_is_refused(pairs, problem):
    assert refused(VONAGE, form(PATH, pairs)) is problem


@pytest.mark.parametrize(
    "more", [{"To": PEOPLE[1]}, {"to": [MAIJA, PEOPLE[1]]}, {"to": {"number": MAIJA}}]
)
def test_another_shape_of_recipients_in_json_is_refused(more):
    assert refused(VONAGE, document(PATH, FIELDS | more)) is Problem.MALFORMED


def test_a_list_of_messages_is_refused():
    assert refused(VONAGE, document(PATH, [FIELDS])) is Problem.MALFORMED


@pytest.mark.parametrize(
    "path",
    [
        "/sms/xml",
        "/SMS/json",
        "/sms/JSON",
        "/sms/json/",
        "//sms/json",
        "/sms/%6ason",
        "/sc/us/marketing/json",
        "/sc/us/alert/json",
        "/sc/us/2fa/json",
        "/verify/json",
        "/v1/messages",
        "/v0.1/messages",
        "/tts/json",
    ],
)
def test_other_ways_of_sending_are_refused(path):
    assert refused(VONAGE, form(path, FIELDS)) is Problem.UNKNOWN_PATH


def test_a_send_by_get_is_refused():
    assert refused(VONAGE, Request("GET", PATH, f"to={MAIJA}&text=a")) is Problem.UNKNOWN_PATH


def test_parameters_in_the_url_of_a_send_are_refused():
    request = form(PATH, FIELDS)._replace(query=f"to={PEOPLE[1]}")
    assert refused(VONAGE, request) is Problem.MALFORMED


@pytest.mark.parametrize("path", ["/account/get-balance", "/account/numbers", "/search/messages"])
def test_what_only_reads_passes(path):
    assert VONAGE.read(Request("GET", path, "ids=1")) is None
    assert refused(VONAGE, Request("GET", path, body=b"x")) is Problem.MALFORMED
    assert refused(VONAGE, Request("POST", path)) is Problem.UNKNOWN_PATH


# -- answers --------------------------------------------------------------------------


def test_an_accepted_message_looks_like_a_sent_one():
    submission = VONAGE.read(form(PATH, FIELDS | {"to": f"+{MAIJA}"}))
    answer = VONAGE.accepted(submission, decided(TAKEN))
    assert answer.status == 200
    (item,) = body_of(answer)["messages"]
    assert body_of(answer)["message-count"] == "1"
    assert item["status"] == "0"
    assert item["to"] == MAIJA
    assert item["client-ref"] == "order 7"
    assert record_of(item["message-id"]) == record(1)
    theirs = asked(standin.answer, form(PATH, FIELDS))
    assert item.keys() == body_of(theirs)["messages"][0].keys()
    assert all(isinstance(value, str) for value in item.values())


def test_a_blocked_message_is_barred():
    submission = VONAGE.read(form(PATH, FIELDS))
    answer = VONAGE.blocked(submission, decided(BLOCKED))
    assert answer.status == 200
    (item,) = body_of(answer)["messages"]
    assert item["status"] == "7"
    assert item["error-text"]


def test_a_number_that_is_none_is_an_invalid_parameter():
    submission = VONAGE.read(form(PATH, FIELDS | {"to": "nobody"}))
    (item,) = body_of(VONAGE.accepted(submission, decided(INVALID)))["messages"]
    assert item["status"] == "3"
    assert "nobody" not in item["error-text"]


@pytest.mark.parametrize("problem", Problem)
def test_a_problem_has_a_status_and_a_text(problem):
    answer = VONAGE.problem(problem, "what to do")
    assert answer.status == problem.status
    (item,) = body_of(answer)["messages"]
    assert item["error-text"] == "what to do"
    assert item["status"] != "0"


@pytest.mark.parametrize(
    ("statuses", "told"),
    [
        (["0"], Told.ACCEPTED),
        (["7"], Told.REFUSED),
        (["4"], Told.REFUSED),
        (["1"], Told.LATER),
        (["5"], Told.LATER),
        (["0", "9"], Told.ACCEPTED),
        (["1", "7"], Told.REFUSED),
        ([], Told.ACCEPTED),
    ],
)
def test_the_status_in_the_body_tells(statuses, told):
    submission = VONAGE.read(form(PATH, FIELDS))
    body = {"message-count": "1", "messages": [{"status": one} for one in statuses]}
    answer = Answer(200, json.dumps(body).encode())
    assert VONAGE.told(answer, submission, decided(SENT)) == [told]


@pytest.mark.parametrize(("status", "told"), [(401, Told.REFUSED), (503, Told.LATER)])
def test_without_a_body_the_http_status_tells(status, told):
    submission = VONAGE.read(form(PATH, FIELDS))
    assert VONAGE.told(Answer(status), submission, decided(SENT)) == [told]
    assert VONAGE.told(Answer(200, b"?"), submission, decided(SENT)) == [Told.ACCEPTED]


# -- delivery receipts ----------------------------------------------------------------


def signed(fields: dict, secret: str, digest: str) -> str:
    text = "".join(
        f"&{name}={str(value).replace('&', '_').replace('=', '_')}"
        for name, value in sorted(fields.items())
        if name != "sig"
    )
    return hmac.new(secret.encode(), text.encode(), getattr(hashlib, digest)).hexdigest()


def test_a_receipt_tells_of_the_opt_out():
    submission = VONAGE.read(form(PATH, FIELDS))
    report = VONAGE.report(submission, decided(TAKEN), 0, 0, "")
    assert (report.method, report.url) == ("POST", "https://tool.example/dlr")
    receipt = json.loads(report.body)
    assert receipt["err-code"] == "9"
    assert receipt["status"] == "failed"
    assert receipt["msisdn"] == MAIJA
    assert receipt["to"] == "Acme"
    assert receipt["api-key"] == "abcd1234"
    assert receipt["client-ref"] == "order 7"
    assert receipt["message-timestamp"] == "2025-01-01 00:00:00"
    assert receipt["scts"] == "2501010000"
    assert record_of(receipt["messageId"]) == record(1)
    assert "sig" not in receipt


def test_a_receipt_is_signed_with_the_signature_secret():
    submission = VONAGE.read(form(PATH, FIELDS | {"client-ref": "a=b&c"}))
    receipt = json.loads(VONAGE.report(submission, decided(TAKEN), 0, 0, "key").body)
    assert receipt["timestamp"] == "1735689600"
    assert receipt["sig"].lower() == signed(receipt, "key", "sha256")


@pytest.mark.parametrize("more", [{"callback": ""}, {"status-report-req": "False"}])
def test_no_receipt_where_none_is_asked_for(more):
    submission = VONAGE.read(form(PATH, FIELDS | more))
    assert VONAGE.report(submission, decided(TAKEN), 0, 0, "") is None


# -- credentials ----------------------------------------------------------------------


BASIC, FIELD_PAIR, SIGNED = VONAGE.schemes
TOOL = Credential("abcd1234", "abcdef0123456789")
PROVIDER = Credential("eeee0000", "a secret of theirs")


def test_the_secret_in_the_body_is_replaced():
    request = form(PATH, FIELDS)
    assert FIELD_PAIR.shows(request, TOOL)
    written = dict(parse_qsl(FIELD_PAIR.write(request, PROVIDER).body.decode()))
    assert written == FIELDS | {"api_key": "eeee0000", "api_secret": "a secret of theirs"}


@pytest.mark.parametrize("digest", ["md5", "sha1", "sha256", "sha512"])
def test_a_signature_is_checked_and_made_anew(digest):
    fields = {
        "from": "Acme",
        "to": MAIJA,
        "text": "a=b & c",
        "timestamp": "1",
        "api_key": "abcd1234",
    }
    fields["sig"] = signed(fields, "theirs", digest)
    request = form(PATH, fields)
    assert VONAGE.read(request)
    assert SIGNED.shows(request, Credential("abcd1234", "theirs"))
    assert SIGNED.shows(request, Credential("", "theirs"))
    assert not SIGNED.shows(request, Credential("abcd1234", "others"))
    assert not SIGNED.shows(request, Credential("eeee0000", "theirs"))
    assert not SIGNED.shows(form(PATH, fields | {"to": PEOPLE[1]}), Credential("", "theirs"))
    written = dict(parse_qsl(SIGNED.write(request, PROVIDER).body.decode()))
    assert written["api_key"] == "eeee0000"
    assert written["sig"] == signed(written, PROVIDER.secret, digest)
    # A request that has waited is signed as of now: Vonage refuses an old one.
    assert abs(int(written["timestamp"]) - time.time()) < 60
    own = dict.fromkeys(("api_key", "sig", "timestamp"), "")
    assert {**written, **own} == {**fields, **own}


def test_no_signature_is_none():
    assert not SIGNED.shows(form(PATH, FIELDS), TOOL)
    assert not SIGNED.shows(document(PATH, FIELDS), TOOL)
    assert not SIGNED.shows(Request("GET", "/account/get-balance"), TOOL)


# -- the stand-in and the property ----------------------------------------------------


def test_the_stand_in_takes_what_is_forwarded():
    submission = VONAGE.read(form(PATH, FIELDS))
    answer = asked(standin.answer, VONAGE.narrowed(submission, [[0]]))
    assert VONAGE.usable(answer)
    assert VONAGE.told(answer, submission, decided(SENT)) == [Told.ACCEPTED]
    wrong = {name: value for name, value in FIELDS.items() if name != "api_secret"}
    refusal = asked(standin.answer, form(PATH, wrong))
    assert refusal.status == 200
    assert VONAGE.told(refusal, submission, decided(SENT)) == [Told.REFUSED]


DOCUMENTED = (
    "api_key api_secret sig timestamp from text ttl status-report-req callback message-class"
    " type body udh protocol-id client-ref account-ref entity-id content-id trusted-number"
    " pool-id title url validity vcard vcal"
)


def held(request: Request) -> list[str]:
    if b"json" in request.header("content-type").encode():
        return [str(body_of(request)["to"])]
    return [value for name, value in parse_qsl(request.body.decode()) if name == "to"]


@settings(deadline=None)
@given(st.sampled_from(PEOPLE), extras(DOCUMENTED), st.booleans(), st.booleans())
def test_nobody_is_forwarded_whom_the_gateway_did_not_see(to, more, as_json, keep):
    fields = {"from": "Acme", "to": to, "text": "Moi"} | more
    request = document(PATH, fields) if as_json else form(PATH, fields)
    checked(VONAGE, request, lambda numbers: [0] if keep else [], held)
