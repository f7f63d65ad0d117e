"""46elks: its messages are read, narrowed and answered as 46elks would."""

import base64
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
from tests.peers.standins import elks as standin
from tests.provider.deciding import (
    BLOCKED,
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

ELKS = find_adapter("46elks")
PATH = "/a1/sms"
BASIC = ("Authorization", f"Basic {base64.b64encode(b'u123:secret').decode()}")
MAIJA = f"+{PEOPLE[0]}"
FIELDS = {
    "from": "Acme",
    "to": MAIJA,
    "message": "Moi ä & + ~*",
    "whendelivered": "https://tool.example/dlr?key=1",
    "flashsms": "yes",
}


def message(path=PATH, **changed):
    return form(path, {**FIELDS, **changed}, BASIC)


@pytest.mark.parametrize("path", ["/a1/sms", "/a1/SMS", "/A1/Sms", "/a1/sMS"])
def test_a_message_is_read_however_its_path_is_written(path):
    submission = ELKS.read(message(path))
    (read,) = submission.messages
    assert read == ("Acme", "Moi ä & + ~*", (MAIJA,), "https://tool.example/dlr?key=1")
    assert not submission.refuses
    assert not submission.scheduled


def test_a_form_without_a_text_has_none():
    pairs = {"from": "Acme", "to": MAIJA}
    assert ELKS.read(form(PATH, pairs, BASIC)).messages[0].text is None


def test_the_form_leaves_written_anew():
    request = message("/a1/SMS")
    narrowed = ELKS.narrowed(ELKS.read(request), [[0]])
    assert dict(parse_qsl(narrowed.body.decode())) == FIELDS
    assert narrowed._replace(body=b"") == request._replace(body=b"")


def test_one_that_is_taken_here_is_answered_as_created():
    answer = ELKS.accepted(ELKS.read(message()), decided(TAKEN))
    assert answer.status == 200
    said = body_of(answer)
    assert said["id"][0] == "s"
    assert record_of(said["id"]) == record(1)
    assert said["to"] == MAIJA
    assert said["from"] == "Acme"
    assert said["message"] == FIELDS["message"]
    assert said["created"] == "2025-01-01T00:00:00.000000"
    assert said["cost"] == 0
    assert said.keys() == body_of(asked(standin.answer, message())).keys()


def test_one_that_is_blocked_is_refused_in_plain_text():
    answer = ELKS.blocked(ELKS.read(message()), decided(BLOCKED))
    assert answer.status == 403
    assert answer.content_type.startswith("text/plain")
    assert PEOPLE[0] not in answer.body.decode()


def test_problems_are_plain_text():
    for problem in Problem:
        answer = ELKS.problem(problem, "why")
        assert answer == Answer(problem.status, b"why", "text/plain; charset=utf-8")


def test_the_providers_plain_errors_are_its_own():
    assert ELKS.usable(Answer(403, b"Invalid to number", "text/plain; charset=utf-8"))
    assert ELKS.usable(Answer(200, b"{}", "application/json"))
    assert not ELKS.usable(Answer(200, b"ok", "text/plain"))
    assert not ELKS.usable(Answer(403, b"<html>", "text/html"))


def test_the_providers_answer_is_the_tools():
    submission = ELKS.read(message())
    answer = asked(standin.answer, ELKS.narrowed(submission, [[0]]))
    assert answer.status == 200
    assert ELKS.merged(answer, submission, decided(SENT)) == answer
    assert ELKS.told(answer, submission, decided(SENT)) == [Told.ACCEPTED]


def test_a_report_is_a_form_with_the_id_and_failed():
    submission = ELKS.read(message())
    decision = decided(TAKEN)
    report = ELKS.report(submission, decision, 0, 0, "unused")
    fields = dict(parse_qsl(report.body.decode()))
    assert report.url == FIELDS["whendelivered"]
    assert fields == {"id": body_of(ELKS.accepted(submission, decision))["id"], "status": "failed"}
    assert dict(report.headers) == {"Content-Type": "application/x-www-form-urlencoded"}


def test_no_report_where_none_is_asked_for():
    submission = ELKS.read(form(PATH, {"to": MAIJA, "from": "Acme", "message": "x"}, BASIC))
    assert ELKS.report(submission, decided(TAKEN), 0, 0, "") is None


@pytest.mark.parametrize("other", ["to", "To", "TO", "to[]", "to[0]", "t_o", "to "])
def test_a_second_recipient_is_refused(other):
    pairs = [*FIELDS.items(), (other, f"+{PEOPLE[1]}")]
    assert refused(ELKS, form(PATH, pairs, BASIC)) is Problem.MALFORMED


def test_several_in_one_field_are_refused():
    assert refused(ELKS, message(to=f"{MAIJA},+{PEOPLE[1]}")) is Problem.BAD_RECIPIENT


@pytest.mark.parametrize("name", ["recipients", "cc", "contacts", PEOPLE[1]])
def test_unknown_fields_are_refused(name):
    assert refused(ELKS, message(**{name: MAIJA})) is Problem.HIDDEN_RECIPIENTS


def test_no_recipient_and_no_form_are_refused():
    assert refused(ELKS, form(PATH, {"from": "Acme"}, BASIC)) is Problem.MALFORMED
    assert refused(ELKS, document(PATH, FIELDS, BASIC)) is Problem.WRONG_TYPE
    assert refused(ELKS, message()._replace(query="to=x")) is Problem.MALFORMED


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/a1/mms"),
        ("POST", "/a1/calls"),
        ("POST", "/a1/sms/"),
        ("POST", "//a1/sms"),
        ("POST", "/a1//sms"),
        ("POST", "/a1/%73ms"),
        ("POST", "/a1/\u017fms"),
        ("POST", "/a1/subaccounts"),
        ("POST", "/a1/numbers"),
        ("POST", "/b1/sms"),
        ("PUT", PATH),
        ("DELETE", PATH),
        ("GET", "/a1/calls"),
    ],
)
def test_other_ways_are_refused(method, path):
    assert refused(ELKS, message(path)._replace(method=method)) is Problem.UNKNOWN_PATH


@pytest.mark.parametrize("path", ["/a1/sms", "/a1/SMS", f"/a1/sms/s{'0a' * 16}", "/a1/me"])
def test_what_only_reads_may_pass(path):
    assert ELKS.read(Request("GET", path, "start=2025", (BASIC,))) is None
    with pytest.raises(Refusal):
        ELKS.read(message(path)._replace(method="GET"))


def test_the_tokens_place_takes_the_secret():
    (scheme,) = ELKS.schemes
    assert scheme.shows(message(), Credential("u123", "secret"))
    written = scheme.write(message(), Credential("u9", "real"))
    assert base64.b64decode(written.header("authorization").split()[1]) == b"u9:real"


def test_the_stand_in_answers_as_documented():
    assert asked(standin.answer, message(), Authorization="Bearer x").status == 401
    bad = asked(standin.answer, message(to="0701234567"))
    assert (bad.status, bad.content_type) == (400, "text/plain")
    assert asked(standin.answer, message("/a1/SMS")).status == 200
    assert asked(standin.answer, Request("GET", "/a1/me", "", (BASIC,))).status == 200


forms = st.fixed_dictionaries(
    {"to": st.sampled_from([f"+{one}" for one in PEOPLE]), "message": st.just("x")},
    optional={"from": st.just("Acme"), "flashsms": st.just("yes"), "dontlog": st.just("message")},
)


@settings(max_examples=150)
@given(forms, extras("to message from"), st.booleans())
def test_nobody_leaves_who_was_not_read_and_kept(fields, more, first):
    pairs = [(name, str(value)) for name, value in more.items()]
    pairs = [*pairs, *fields.items()] if first else [*fields.items(), *pairs]
    checked(
        ELKS,
        form(PATH, pairs, BASIC),
        lambda destinations: range(len(destinations)),
        lambda request: [v for k, v in parse_qsl(request.body.decode()) if k == "to"],
    )
