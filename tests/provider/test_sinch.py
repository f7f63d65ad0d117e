"""Sinch SMS: its batches are read, narrowed and answered as Sinch would."""

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.credential import Credential
from gateway.provider.problem import Problem, Refusal
from gateway.provider.registry import find_adapter
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Told
from tests.peers.standins import sinch as standin
from tests.provider.deciding import (
    BLOCKED,
    PEOPLE,
    REPEATED,
    SENT,
    STRANGERS,
    TAKEN,
    asked,
    body_of,
    checked,
    decided,
    document,
    extras,
    record,
    refused,
)

SINCH = find_adapter("sinch")
PLAN = "/xms/v1/jd63jf88477ll123ab4567cd89012ef3"
PATH = f"{PLAN}/batches"
BATCH = f"{PATH}/01FC66621XXXXX119Z8PMV1QPQ"
BEARER = ("Authorization", "Bearer abc.def")
BODY = {
    "from": "Acme",
    "to": [f"+{PEOPLE[0]}", PEOPLE[1], f"00{PEOPLE[2]}"],
    "body": "Moi ${name}, ä",
    "parameters": {
        "name": {PEOPLE[0]: "Maija", f"+{PEOPLE[1]}": "Matti", PEOPLE[2]: "Liisa", "default": "you"}
    },
    "callback_url": "https://tool.example/dlr",
    "delivery_report": "per_recipient",
    "client_reference": "order 7",
}


def batch(**changed):
    return document(PATH, {**BODY, **changed}, BEARER)


def test_a_batch_is_read():
    submission = SINCH.read(batch())
    (message,) = submission.messages
    assert message.sender == "Acme"
    assert message.text == "Moi ${name}, ä"
    assert message.destinations == tuple(BODY["to"])
    assert message.report_url == "https://tool.example/dlr"
    assert not submission.refuses
    assert not submission.scheduled


@pytest.mark.parametrize(
    ("changed", "text"),
    [
        ({"type": "mt_binary", "body": "aGVp", "udh": "06050423F423F4"}, None),
        ({"type": "mt_media", "body": {"url": "https://a.example/x.png"}}, None),
        ({"type": "mt_media", "body": {"url": "https://a.example/x.png", "message": "Moi"}}, "Moi"),
    ],
)
def test_only_text_is_read_as_text(changed, text):
    assert SINCH.read(batch(**changed)).messages[0].text == text


def test_a_batch_for_later_is_scheduled():
    assert SINCH.read(batch(send_at="2030-01-01T10:00:00Z")).scheduled


def test_only_those_kept_leave_and_what_is_personal_to_the_others_stays():
    submission = SINCH.read(batch())
    narrowed = SINCH.narrowed(submission, [[1]])
    assert body_of(narrowed) == {
        **BODY,
        "to": [PEOPLE[1]],
        "parameters": {"name": {f"+{PEOPLE[1]}": "Matti", "default": "you"}},
    }
    assert narrowed.headers == submission.request.headers
    assert (narrowed.method, narrowed.path) == ("POST", PATH)
    assert body_of(SINCH.narrowed(submission, [[0, 1, 2]])) == BODY


def test_all_taken_here_is_answered_as_an_accepted_batch():
    submission = SINCH.read(batch())
    answer = SINCH.accepted(submission, decided((TAKEN, TAKEN, BLOCKED)))
    assert answer.status == 201
    said = body_of(answer)
    assert said["id"] == record(1)
    assert said["to"] == BODY["to"][:2]
    assert said["canceled"] is False
    assert said["type"] == "mt_text"
    assert said["created_at"] == said["modified_at"] == "2025-01-01T00:00:00.000Z"
    native = body_of(asked(standin.answer, batch()))
    assert said.keys() == native.keys()


def test_all_blocked_is_forbidden():
    answer = SINCH.blocked(SINCH.read(batch()), decided((BLOCKED, BLOCKED, BLOCKED)))
    assert answer.status == 403
    assert body_of(answer).keys() == {"code", "text"}


def test_the_providers_batch_names_all_that_were_accepted():
    submission = SINCH.read(batch())
    decision = decided((TAKEN, SENT, REPEATED))
    answer = asked(standin.answer, SINCH.narrowed(submission, decision.kept()))
    assert body_of(answer)["to"] == [PEOPLE[1]]
    merged = SINCH.merged(answer, submission, decision)
    assert body_of(merged) == {
        **body_of(answer),
        "to": [f"+{PEOPLE[0]}", PEOPLE[1], f"00{PEOPLE[2]}"],
    }
    assert SINCH.told(answer, submission, decision) == [Told.ACCEPTED]
    odd = Answer(201, b"[]")
    assert SINCH.merged(odd, submission, decision) == odd


def test_problems_have_the_providers_form():
    for problem in Problem:
        answer = SINCH.problem(problem, "why")
        assert answer.status == problem.status
        assert body_of(answer)["text"] == "why"
    assert body_of(SINCH.problem(Problem.MALFORMED, ""))["code"] == "syntax_constraint_violation"
    bad = body_of(SINCH.problem(Problem.BAD_RECIPIENT, ""))
    assert bad["code"] == "syntax_invalid_parameter_format"


def test_a_report_is_signed_as_the_provider_signs():
    submission = SINCH.read(batch())
    report = SINCH.report(submission, decided((TAKEN, TAKEN, TAKEN)), 0, 1, "secret")
    assert report.url == "https://tool.example/dlr"
    assert json.loads(report.body) == {
        "type": "recipient_delivery_report_sms",
        "batch_id": record(1),
        "recipient": PEOPLE[1],
        "code": 408,
        "status": "Aborted",
        "at": "2025-01-01T00:00:00.000Z",
        "client_reference": "order 7",
    }
    headers = dict(report.headers)
    prefix = "x-sinch-webhook-signature"
    signed = report.body.decode() + "." + headers[f"{prefix}-nonce"]
    signed += "." + headers[f"{prefix}-timestamp"]
    expected = hmac.new(b"secret", signed.encode(), hashlib.sha256).digest()
    assert headers[prefix] == base64.b64encode(expected).decode()
    assert headers[f"{prefix}-algorithm"] == "HmacSHA256"
    unsigned = SINCH.report(submission, decided((TAKEN, TAKEN, TAKEN)), 0, 1, "")
    assert dict(unsigned.headers) == {"Content-Type": "application/json"}


@pytest.mark.parametrize("kind", ["summary", "full"])
def test_a_report_of_a_whole_batch_is_of_the_kind_asked_for(kind):
    submission = SINCH.read(batch(delivery_report=kind))
    report = json.loads(SINCH.report(submission, decided((TAKEN, TAKEN, TAKEN)), 0, 1, "").body)
    assert report["type"] == "delivery_report_sms"
    (status,) = report["statuses"]
    assert (status["code"], status["status"], status["count"]) == (408, "Aborted", 1)
    assert status.get("recipients") == ([PEOPLE[1]] if kind == "full" else None)


@pytest.mark.parametrize("changed", [{"delivery_report": "none"}, {"callback_url": None}])
def test_no_report_where_none_is_asked_for(changed):
    submission = SINCH.read(batch(**changed))
    assert SINCH.report(submission, decided((TAKEN, TAKEN, TAKEN)), 0, 1, "") is None


@pytest.mark.parametrize(
    "to",
    [
        ["01FC66621XXXXX119Z8PMV1QPU"],
        [PEOPLE[0], "cj3kJsQaT_-1"],
        ["group:42"],
        [f"{PEOPLE[0]},{PEOPLE[1]}"],
    ],
)
def test_groups_and_lists_in_a_recipients_place_are_refused(to):
    assert refused(SINCH, batch(to=to)) is Problem.HIDDEN_RECIPIENTS


@pytest.mark.parametrize("name", ["To", "to[]", "to_add", "toAdd", "recipients", "group_id"])
def test_unknown_members_are_refused(name):
    assert refused(SINCH, batch(**{name: [PEOPLE[3]]})) is Problem.HIDDEN_RECIPIENTS


@pytest.mark.parametrize("to", [None, [], "", PEOPLE[0], [[PEOPLE[0]]], [None], {"0": PEOPLE[0]}])
def test_recipients_that_are_no_list_of_numbers_are_refused(to):
    assert refused(SINCH, batch(to=to)) is Problem.MALFORMED


def test_more_than_a_thousand_are_refused():
    many = [f"35840{number:07d}" for number in range(1_000)]
    assert len(SINCH.read(batch(to=many)).messages[0].destinations) == 1000
    assert refused(SINCH, batch(to=[*many, PEOPLE[0]])) is Problem.TOO_MANY


@pytest.mark.parametrize("parameters", [[], {"name": []}, {"name": PEOPLE[0]}, "x"])
def test_parameters_of_another_form_are_refused(parameters):
    if not parameters:
        assert SINCH.read(batch(parameters=parameters))
    else:
        assert refused(SINCH, batch(parameters=parameters)) is Problem.MALFORMED


def test_a_member_that_stands_twice_leaves_once():
    body = b'{"to": ["%b"], "body": "x", "to": ["%b"]}' % (
        PEOPLE[0].encode(),
        PEOPLE[1].encode(),
    )
    request = batch()._replace(body=body)
    submission = SINCH.read(request)
    assert submission.messages[0].destinations == (PEOPLE[1],)
    assert PEOPLE[0].encode() not in SINCH.narrowed(submission, [[0]]).body


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("body", [{"to_add": [PEOPLE[0]]}, {"body": "Sale!"}, BODY, {}])
def test_a_batch_is_not_changed(method, body):
    request = document(BATCH, body, BEARER)._replace(method=method)
    assert refused(SINCH, request) is Problem.HIDDEN_RECIPIENTS


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", PATH.upper()),
        ("POST", f"{PATH}/"),
        ("POST", f"/{PATH}"),
        ("POST", f"{PLAN}/%62atches"),
        ("POST", f"{PLAN}/groups"),
        ("POST", f"{PLAN}/groups/01FC66621XXXXX119Z8PMV1QPU"),
        ("PUT", PATH),
        ("PATCH", BATCH),
        ("POST", "/v1/projects/x/messages:send"),
        ("POST", f"{PATH}/dry_run/"),
    ],
)
def test_other_ways_are_refused(method, path):
    request = document(path, BODY, BEARER)._replace(method=method)
    assert refused(SINCH, request) is Problem.UNKNOWN_PATH


def test_parameters_in_the_url_are_refused():
    assert refused(SINCH, batch()._replace(query="to=x")) is Problem.MALFORMED


@pytest.mark.parametrize(
    "path",
    [
        PATH,
        BATCH,
        f"{BATCH}/delivery_report",
        f"{BATCH}/delivery_report/46700000001",
        f"{PLAN}/delivery_reports",
        f"{PLAN}/inbounds",
        f"{PLAN}/groups",
        f"{PLAN}/groups/01FC66621XXXXX119Z8PMV1QPU/members",
    ],
)
def test_what_only_reads_may_pass(path):
    assert SINCH.read(Request("GET", path, "page=1", (BEARER,))) is None
    with pytest.raises(Refusal):
        SINCH.read(document(path, BODY, BEARER)._replace(method="GET"))


def test_dry_runs_feedback_and_cancelling_may_pass():
    assert SINCH.read(document(f"{PATH}/dry_run", BODY, BEARER)) is None
    assert SINCH.read(document(f"{BATCH}/delivery_feedback", {"recipients": []}, BEARER)) is None
    assert SINCH.read(Request("DELETE", BATCH, "", (BEARER,))) is None


def test_the_tokens_place_takes_the_secret():
    (scheme,) = SINCH.schemes
    request = batch()
    assert scheme.shows(request, Credential("", "abc.def"))
    assert scheme.write(request, Credential("", "real")).header("authorization") == "Bearer real"


def test_the_stand_in_answers_as_documented():
    assert asked(standin.answer, batch(), Authorization="Basic x").status == 401
    assert body_of(asked(standin.answer, batch(to=["?"])))["code"].startswith("syntax_")
    assert asked(standin.answer, batch()).status == 201
    assert asked(standin.answer, Request("GET", BATCH, "", (BEARER,))).status == 200


written = st.sampled_from(PEOPLE).flatmap(
    lambda number: st.sampled_from([number, f"+{number}", f"00{number}"])
)
batches = st.fixed_dictionaries(
    {
        "to": st.lists(written | st.sampled_from(["GRP01", "", " "]), max_size=4),
        "body": st.just("x"),
    },
    optional={
        "from": st.just("Acme"),
        "parameters": st.dictionaries(
            st.sampled_from(["name", "code"]),
            st.dictionaries(
                st.sampled_from([*PEOPLE, *STRANGERS, "default"]), st.just("v"), max_size=3
            ),
            max_size=2,
        ),
        "flash_message": st.booleans(),
    },
)
KNOWN = "to from body type parameters"


@settings(max_examples=150)
@given(batches, extras(KNOWN), st.data())
def test_nobody_leaves_who_was_not_read_and_kept(body, more, data):
    def chosen(destinations):
        # One number in two spellings is one person: kept or not as one.
        bare = {one: one.lstrip("+0") for one in destinations}
        people = data.draw(st.sets(st.sampled_from(sorted(set(bare.values())))))
        return [place for place, one in enumerate(destinations) if bare[one] in people]

    checked(SINCH, document(PATH, {**body, **more}, BEARER), chosen, lambda r: body_of(r)["to"])
