"""Twilio: one recipient a form, refused at once or by the callback as Twilio does."""

import base64
import hashlib
import hmac
import re
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.credential import Credential
from gateway.provider.identifier import record_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.registry import find_adapter
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Told
from tests.peers.standins import twilio as standin
from tests.provider.deciding import (
    BLOCKED,
    INVALID,
    PEOPLE,
    SENT,
    STRANGERS,
    TAKEN,
    asked,
    body_of,
    decided,
    document,
    form,
    record,
    refused,
)

TWILIO = find_adapter("twilio")
SID = "AC" + "0a" * 16
ACCOUNT = f"/2010-04-01/Accounts/{SID}"
PATH = f"{ACCOUNT}/Messages.json"
MAIJA, PEKKA = f"+{PEOPLE[0]}", f"+{PEOPLE[1]}"
KEY = {"Authorization": "Basic " + base64.b64encode(f"{SID}:token".encode()).decode()}
FIELDS = {"To": MAIJA, "From": "+15017122661", "Body": "Moi ä & + ~*"}
SERVICE = {"To": MAIJA, "MessagingServiceSid": "MG" + "0b" * 16, "Body": "Moi"}
CALLBACK = {"StatusCallback": "https://tool.example/status?a=1"}


def test_one_message_is_read():
    submission = TWILIO.read(form(PATH, FIELDS | CALLBACK))
    (message,) = submission.messages
    assert message == ("+15017122661", "Moi ä & + ~*", (MAIJA,), CALLBACK["StatusCallback"])
    assert submission.refuses
    assert not submission.scheduled


def test_a_messaging_service_accepts_first():
    submission = TWILIO.read(form(PATH, SERVICE))
    assert submission.messages[0].sender == SERVICE["MessagingServiceSid"]
    assert not submission.refuses


@pytest.mark.parametrize("later", [{"SendAt": "2027-01-01T00:00:00Z"}, {"ScheduleType": "fixed"}])
def test_a_later_date_is_noticed(later):
    assert TWILIO.read(form(PATH, SERVICE | later)).scheduled


@pytest.mark.parametrize(
    "fields",
    [
        {"To": MAIJA, "From": "Acme", "MediaUrl": "https://x.example/a.png"},
        {"To": MAIJA, "From": "Acme", "ContentSid": "HX" + "0c" * 16},
        {"To": MAIJA, "From": "Acme", "ContentSid": "HX" + "0c" * 16, "Body": "not sent"},
    ],
)
def test_a_text_that_cannot_be_read_is_none(fields):
    assert TWILIO.read(form(PATH, fields)).messages[0].text is None


def test_what_is_forwarded_is_what_was_read():
    pairs = [*FIELDS.items(), ("MediaUrl", "https://x.example/1"), ("MediaUrl", "https://x/2")]
    submission = TWILIO.read(form(PATH, pairs))
    narrowed = TWILIO.narrowed(submission, [[0]])
    assert parse_qsl(narrowed.body.decode()) == pairs
    assert narrowed._replace(body=b"") == submission.request._replace(body=b"")


@pytest.mark.parametrize(
    "pairs",
    [
        [*FIELDS.items(), ("To", PEKKA)],
        [*FIELDS.items(), ("to", PEKKA)],
        [*FIELDS.items(), ("To[]", PEKKA)],
        [*FIELDS.items(), ("To ", PEKKA)],
        [*FIELDS.items(), ("T_o", PEKKA)],
        [*FIELDS.items(), ("From", "Acme")],
        [*FIELDS.items(), ("body", "another")],
        [("From", "Acme"), ("Body", "Moi")],
        [("To", ""), ("Body", "Moi")],
    ],
)
def test_a_field_that_stands_twice_or_nowhere_is_refused(pairs):
    assert refused(TWILIO, form(PATH, pairs)) is Problem.MALFORMED


@pytest.mark.parametrize(
    "path",
    [
        f"{ACCOUNT}/Messages",
        f"{ACCOUNT}/Messages.xml",
        f"{ACCOUNT}/Messages.csv",
        f"{ACCOUNT}/messages.json",
        f"{ACCOUNT}/Messages.JSON",
        f"{ACCOUNT}/Messages.json/",
        f"{ACCOUNT}//Messages.json",
        f"{ACCOUNT}/SMS/Messages.json",
        f"{ACCOUNT}/Calls.json",
        f"/2008-08-01/Accounts/{SID}/SMS/Messages.json",
        f"/2010-04-01/accounts/{SID}/Messages.json",
        f"/2010-04-01/Accounts/{SID}/Message%73.json",
        f"/2010-04-01/Accounts/x/../{SID}/Messages.json",
        "/v1/Services/MG0/Messages",
        "/v2/Services/VA0/Verifications",
    ],
)
def test_other_ways_of_sending_are_refused(path):
    assert refused(TWILIO, form(path, FIELDS)) is Problem.UNKNOWN_PATH


def test_other_bodies_are_refused():
    assert refused(TWILIO, document(PATH, FIELDS)) is Problem.WRONG_TYPE
    assert refused(TWILIO, form(PATH, FIELDS)._replace(query="To=1")) is Problem.MALFORMED


def test_what_sends_nothing_passes():
    one = f"{ACCOUNT}/Messages/SM{'0d' * 16}.json"
    for path in (f"{ACCOUNT}.json", PATH, one):
        assert TWILIO.read(Request("GET", path, "PageSize=50")) is None
        assert asked(standin.answer, Request("GET", path), **KEY).status == 200
    assert TWILIO.read(form(one, {"Status": "canceled"})) is None
    assert TWILIO.read(Request("DELETE", one)) is None
    assert refused(TWILIO, Request("GET", PATH, body=b"To=1")) is Problem.MALFORMED


# -- answers --------------------------------------------------------------------------


@pytest.mark.parametrize(("fields", "status"), [(FIELDS, "queued"), (SERVICE, "accepted")])
def test_an_accepted_message_looks_like_a_sent_one(fields, status):
    submission = TWILIO.read(form(PATH, fields))
    answer = TWILIO.accepted(submission, decided(TAKEN))
    assert answer.status == 201
    message = body_of(answer)
    assert message["status"] == status
    assert message["to"] == MAIJA
    assert message["body"] == fields["Body"]
    assert message["date_created"] == "Wed, 01 Jan 2025 00:00:00 +0000"
    assert record_of(message["sid"]) == record(1)
    theirs = body_of(asked(standin.answer, form(PATH, fields), **KEY))
    assert message.keys() == theirs.keys() - {"tags"}
    assert message["num_segments"] == theirs["num_segments"]
    assert message["status"] == theirs["status"]


def test_a_blocked_message_is_21610():
    answer = TWILIO.blocked(TWILIO.read(form(PATH, FIELDS)), decided(BLOCKED))
    assert answer.status == 400
    error = body_of(answer)
    assert error["code"] == 21610
    assert error["status"] == 400
    assert error["more_info"].endswith("/21610")


def test_a_number_that_is_none_is_21211():
    submission = TWILIO.read(form(PATH, FIELDS | {"To": "nobody"}))
    answer = TWILIO.accepted(submission, decided(INVALID))
    assert answer.status == 400
    assert body_of(answer)["code"] == 21211
    theirs = asked(standin.answer, form(PATH, FIELDS | {"To": "nobody"}), **KEY)
    assert body_of(theirs)["code"] == 21211


@pytest.mark.parametrize("problem", Problem)
def test_a_problem_is_a_json_error(problem):
    answer = TWILIO.problem(problem, "what to do")
    assert answer.status == problem.status
    error = body_of(answer)
    assert error.keys() == {"code", "message", "more_info", "status"}
    assert error["status"] == problem.status
    assert 20000 < error["code"] < 22000


def test_the_http_status_tells():
    submission = TWILIO.read(form(PATH, FIELDS))
    theirs = asked(standin.answer, TWILIO.narrowed(submission, [[0]]), **KEY)
    assert TWILIO.usable(theirs)
    assert TWILIO.merged(theirs, submission, decided(SENT)) == theirs
    assert TWILIO.told(theirs, submission, decided(SENT)) == [Told.ACCEPTED]
    assert TWILIO.told(Answer(400), submission, decided(SENT)) == [Told.REFUSED]
    assert TWILIO.told(Answer(429), submission, decided(SENT)) == [Told.LATER]
    assert not TWILIO.usable(Answer(200, b"<html>", "text/html"))


# -- status callbacks -----------------------------------------------------------------


def test_a_callback_tells_of_the_opt_out_and_is_signed():
    submission = TWILIO.read(form(PATH, SERVICE | CALLBACK))
    report = TWILIO.report(submission, decided(TAKEN), 0, 0, "token")
    pairs = parse_qsl(report.body.decode(), keep_blank_values=True)
    fields = dict(pairs)
    assert fields["MessageStatus"] == fields["SmsStatus"] == "failed"
    assert fields["ErrorCode"] == "21610"
    assert (fields["To"], fields["AccountSid"]) == (MAIJA, SID)
    assert fields["MessagingServiceSid"] == SERVICE["MessagingServiceSid"]
    assert record_of(fields["MessageSid"]) == record(1)
    text = report.url + "".join(f"{name}{value}" for name, value in sorted(pairs))
    made = hmac.new(b"token", text.encode(), hashlib.sha1).digest()
    assert dict(report.headers)["X-Twilio-Signature"] == base64.b64encode(made).decode()


def test_no_callback_where_none_is_asked_for_and_no_signature_without_a_secret():
    assert TWILIO.report(TWILIO.read(form(PATH, FIELDS)), decided(TAKEN), 0, 0, "x") is None
    submission = TWILIO.read(form(PATH, FIELDS | CALLBACK))
    report = TWILIO.report(submission, decided(TAKEN), 0, 0, "")
    assert [name for name, _ in report.headers] == ["Content-Type"]


# -- credentials, and the property ----------------------------------------------------


def test_the_secret_is_replaced():
    (basic,) = TWILIO.schemes
    request = form(PATH, FIELDS, ("authorization", KEY["Authorization"]))
    assert basic.shows(request, Credential(SID, "token"))
    assert not basic.shows(request, Credential(SID, "other"))
    written = basic.write(request, Credential(SID, "theirs"))
    assert basic.shows(written, Credential(SID, "theirs"))
    assert not basic.shows(written, Credential(SID, "token"))


def test_the_stand_in_wants_basic():
    assert asked(standin.answer, form(PATH, FIELDS)).status == 401
    wrong = asked(standin.answer, form(PATH, FIELDS), Authorization="Bearer token")
    assert body_of(wrong)["code"] == 20003


def held(request: Request) -> list[str]:
    """What stands in a field that any reading of its name would take for ``To``."""
    pairs = parse_qsl(request.body.decode())
    return [value for name, value in pairs if re.sub("[^a-z]", "", name.casefold()) == "to"]


names = st.sampled_from(["to", "TO", "To[]", "To[0]", " To", "To_", "t-o", "Tos", "Body", "From"])
besides = st.lists(
    st.tuples(names | st.text("Tobc[]", max_size=4), st.sampled_from(STRANGERS)), max_size=3
)


@settings(deadline=None)
@given(st.sampled_from(PEOPLE), besides, st.permutations(["To", "From", "Body"]))
def test_nobody_is_forwarded_whom_the_gateway_did_not_see(to, more, order):
    fields = {"To": f"+{to}", "From": "Acme", "Body": "Moi"}
    try:
        submission = TWILIO.read(form(PATH, [*((name, fields[name]) for name in order), *more]))
    except Refusal as refusal:
        assert to not in str(refusal)
        return
    assert submission.messages[0].destinations == (f"+{to}",)
    assert held(TWILIO.narrowed(submission, [[0]])) == [f"+{to}"]
