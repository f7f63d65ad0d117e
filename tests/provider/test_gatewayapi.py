"""GatewayAPI: its messages are read, narrowed and answered as GatewayAPI would."""

import base64
import hashlib
import hmac
import json
from urllib.parse import parse_qs, parse_qsl, urlencode

import pytest

from gateway.provider.credential import Credential
from gateway.provider.identifier import integer_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.registry import find_adapter
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Told
from tests.peers.standins import gatewayapi as standin
from tests.provider.deciding import (
    BLOCKED,
    PEOPLE,
    REPEATED,
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

GATEWAYAPI = find_adapter("gatewayapi")
PATH = "/rest/mtsms"
BASIC = ("Authorization", f"Basic {base64.b64encode(b'Go-Token:').decode()}")
BODY = {
    "message": "Moi %Name, ä",
    "sender": "Acme",
    "tags": ["%Name"],
    "userref": "order 7",
    "callback_url": "https://tool.example/dsn",
    "recipients": [
        {"msisdn": int(PEOPLE[0]), "tagvalues": ["Maija"]},
        {"msisdn": PEOPLE[1], "tagvalues": ["Matti"]},
        {"msisdn": f"+{PEOPLE[2]}", "tagvalues": ["Liisa"]},
    ],
}
FIELDS = [
    ("message", "Moi %Name, ä"),
    ("sender", "Acme"),
    ("tags.0", "%Name"),
    ("callback_url", "https://tool.example/dsn"),
    ("userref", "order 7"),
    ("recipients.0.msisdn", PEOPLE[0]),
    ("recipients.0.tagvalues.0", "Maija"),
    ("recipients.1.msisdn", PEOPLE[1]),
    ("recipients.1.tagvalues.0", "Matti"),
]


def message(body=None, **changed):
    return document(PATH, {**(body or BODY), **changed}, BASIC)


def to(*people):
    return {"message": "x", "recipients": [{"msisdn": int(one)} for one in people]}


def test_a_message_is_read():
    submission = GATEWAYAPI.read(message())
    (read,) = submission.messages
    assert read == (
        "Acme",
        "Moi %Name, ä",
        (PEOPLE[0], PEOPLE[1], f"+{PEOPLE[2]}"),
        "https://tool.example/dsn",
    )
    assert submission.refuses
    assert not submission.scheduled


def test_a_list_of_messages_is_read():
    later = {**to(PEOPLE[1]), "sendtime": 1_900_000_000}
    binary = {"payload": "aGVp", "recipients": [{"msisdn": PEOPLE[2]}]}
    submission = GATEWAYAPI.read(document(PATH, [to(PEOPLE[0]), later, binary], BASIC))
    assert [one.destinations for one in submission.messages] == [(one,) for one in PEOPLE[:3]]
    assert [one.text for one in submission.messages] == ["x", "x", None]
    assert submission.scheduled


def test_a_form_is_read():
    submission = GATEWAYAPI.read(form(PATH, [*FIELDS, ("token", "t")]))
    (read,) = submission.messages
    assert read == ("Acme", "Moi %Name, ä", tuple(PEOPLE[:2]), "https://tool.example/dsn")
    assert GATEWAYAPI.read(form(PATH, [*FIELDS, ("sendtime", "1900000000")])).scheduled


def test_only_those_kept_leave():
    submission = GATEWAYAPI.read(message())
    narrowed = GATEWAYAPI.narrowed(submission, [[0, 2]])
    kept = [BODY["recipients"][0], BODY["recipients"][2]]
    assert body_of(narrowed) == {**BODY, "recipients": kept}
    assert narrowed._replace(body=b"") == submission.request._replace(body=b"")
    assert body_of(GATEWAYAPI.narrowed(submission, [[0, 1, 2]])) == BODY


def test_messages_to_nobody_stay():
    bodies = [to(PEOPLE[0], PEOPLE[1]), to(PEOPLE[2]), to(PEOPLE[3])]
    submission = GATEWAYAPI.read(document(PATH, bodies, BASIC))
    narrowed = GATEWAYAPI.narrowed(submission, [[1], [], [0]])
    assert body_of(narrowed) == [to(PEOPLE[1]), to(PEOPLE[3])]


def test_only_those_kept_leave_in_a_form():
    request = form(PATH, FIELDS, BASIC)
    submission = GATEWAYAPI.read(request)
    narrowed = GATEWAYAPI.narrowed(submission, [[1]])
    assert parse_qsl(narrowed.body.decode()) == [
        *FIELDS[:5],
        ("recipients.0.msisdn", PEOPLE[1]),
        ("recipients.0.tagvalues.0", "Matti"),
    ]
    assert parse_qsl(GATEWAYAPI.narrowed(submission, [[0, 1]]).body.decode()) == FIELDS


def test_places_in_a_form_need_no_order():
    pairs = [
        ("recipients.7.tagvalues.0", "b"),
        ("recipients.2.msisdn", PEOPLE[0]),
        ("recipients.7.msisdn", PEOPLE[1]),
        ("recipients.2.tagvalues.0", "a"),
        ("message", "x"),
    ]
    submission = GATEWAYAPI.read(form(PATH, pairs, BASIC))
    assert submission.messages[0].destinations == (PEOPLE[1], PEOPLE[0])
    narrowed = GATEWAYAPI.narrowed(submission, [[0]])
    assert parse_qsl(narrowed.body.decode()) == [
        ("recipients.0.tagvalues.0", "b"),
        ("recipients.0.msisdn", PEOPLE[1]),
        ("message", "x"),
    ]


def test_a_field_cannot_hide_in_the_query():
    hiding = f"token=abc;recipients.0.msisdn={STRANGERS[0]}"
    narrowed = GATEWAYAPI.narrowed(GATEWAYAPI.read(message()._replace(query=hiding)), [[0]])
    assert ";" not in narrowed.query
    assert parse_qs(narrowed.query) == {"token": [hiding.removeprefix("token=")]}


def test_all_taken_here_is_answered_with_an_id_for_each_message():
    submission = GATEWAYAPI.read(document(PATH, [to(*PEOPLE[:2]), to(PEOPLE[2])], BASIC))
    answer = GATEWAYAPI.accepted(submission, decided((TAKEN, BLOCKED), (TAKEN,)))
    assert answer.status == 200
    said = body_of(answer)
    assert said["ids"] == [integer_of(record(1)), integer_of(record(3))]
    assert said["usage"] == {"countries": {}, "currency": "EUR", "total_cost": 0.0}
    assert said.keys() == body_of(asked(standin.answer, message())).keys()


def test_all_blocked_is_refused_as_blacklisted():
    answer = GATEWAYAPI.blocked(GATEWAYAPI.read(message()), decided((BLOCKED,) * 3))
    assert answer.status == 403
    said = body_of(answer)
    assert said["code"] == "0x0215"
    assert not any(one in answer.body.decode() for one in PEOPLE)


def test_the_providers_ids_keep_their_messages():
    bodies = [to(PEOPLE[0]), to(PEOPLE[1], PEOPLE[2]), to(PEOPLE[3])]
    submission = GATEWAYAPI.read(document(PATH, bodies, BASIC))
    decision = decided((TAKEN,), (SENT, BLOCKED), (BLOCKED,))
    answer = asked(standin.answer, GATEWAYAPI.narrowed(submission, decision.kept()))
    (theirs,) = body_of(answer)["ids"]
    merged = body_of(GATEWAYAPI.merged(answer, submission, decision))
    assert merged["ids"] == [integer_of(record(1)), theirs, integer_of(record(4))]
    assert merged["usage"] == body_of(answer)["usage"]
    assert GATEWAYAPI.told(answer, submission, decision) == [Told.ACCEPTED]


def test_an_answer_with_every_message_is_left_as_it_is():
    submission = GATEWAYAPI.read(message())
    decision = decided((SENT, BLOCKED, REPEATED))
    answer = asked(standin.answer, GATEWAYAPI.narrowed(submission, decision.kept()))
    assert answer.status == 200
    assert GATEWAYAPI.merged(answer, submission, decision) is answer
    odd = Answer(200, b"[]")
    assert GATEWAYAPI.merged(odd, submission, decided((TAKEN,) * 3)) == odd


def test_problems_have_the_providers_form():
    for problem in Problem:
        answer = GATEWAYAPI.problem(problem, "why")
        assert answer.status == problem.status
        assert body_of(answer)["message"] == "why"
        assert body_of(answer)["code"].startswith("0x0")


@pytest.mark.parametrize("request_", [message(), form(PATH, FIELDS, BASIC)])
def test_a_report_is_signed_as_the_provider_signs(request_):
    submission = GATEWAYAPI.read(request_)
    decision = decided((TAKEN,) * len(submission.messages[0].destinations))
    report = GATEWAYAPI.report(submission, decision, 0, 1, "secret")
    told = json.loads(report.body)
    assert report.url == "https://tool.example/dsn"
    assert told == {
        "id": integer_of(record(1)),
        "msisdn": int(PEOPLE[1]),
        "time": 1_735_689_600,
        "status": "REJECTED",
        "error": "Error, destination blocked",
        "code": "0x1034",
        "userref": "order 7",
    }
    head, claims, signed = dict(report.headers)["X-Gwapi-Signature"].split(".")
    expected = hmac.new(b"secret", f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(signed + "=") == expected
    assert json.loads(base64.urlsafe_b64decode(claims + "===")) == told
    assert json.loads(base64.urlsafe_b64decode(head + "===")) == {"typ": "JWT", "alg": "HS256"}


def test_no_report_where_none_is_asked_for():
    submission = GATEWAYAPI.read(message(to(PEOPLE[0])))
    assert GATEWAYAPI.report(submission, decided(TAKEN), 0, 0, "") is None


def test_ten_thousand_are_the_most():
    many = [f"35840{number:07d}" for number in range(10_000)]
    assert len(GATEWAYAPI.read(message(to(*many))).messages[0].destinations) == 10_000
    assert refused(GATEWAYAPI, message(to(*many, PEOPLE[0]))) is Problem.TOO_MANY


@pytest.mark.parametrize(
    "request_",
    [
        document(PATH, BODY, ("Authorization", 'OAuth oauth_consumer_key="k"')),
        document(PATH, BODY, ("Authorization", 'oauth oauth_consumer_key="k"')),
        document(PATH, BODY)._replace(query="oauth_consumer_key=k&oauth_signature=s"),
        form(PATH, [*FIELDS, ("oauth_consumer_key", "k")]),
        Request("GET", "/rest/me", "oauth_signature=s"),
    ],
)
def test_a_signature_of_the_request_is_refused_in_clear_words(request_):
    with pytest.raises(Refusal, match=r"OAuth 1\.0a .* use the API token") as caught:
        GATEWAYAPI.read(request_)
    assert caught.value.problem is Problem.UNKNOWN_CALLER


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PATH),
        ("PUT", PATH),
        ("POST", "/REST/mtsms"),
        ("POST", f"{PATH}/"),
        ("POST", f"{PATH}.json"),
        ("POST", "/rest/mtsm%73"),
        ("POST", "/api/v2/sendsms"),
        ("POST", "/sendsms"),
        ("POST", "/rest/email"),
        ("POST", "/rest/hlr"),
        ("POST", "/mobile/single"),
        ("POST", f"{PATH}/1"),
    ],
)
def test_other_ways_are_refused(method, path):
    request = document(path, BODY, BASIC)._replace(method=method)
    assert refused(GATEWAYAPI, request) is Problem.UNKNOWN_PATH


def test_a_get_that_sends_is_refused():
    query = urlencode([("token", "t"), *FIELDS])
    assert refused(GATEWAYAPI, Request("GET", PATH, query)) is Problem.UNKNOWN_PATH
    sent = asked(standin.answer, Request("GET", PATH, query))
    assert sent.status == 200, "the provider itself would have sent it"


def test_recipients_in_the_url_are_refused():
    query = f"token=t&recipients.1.msisdn={PEOPLE[3]}"
    assert refused(GATEWAYAPI, message()._replace(query=query)) is Problem.MALFORMED


@pytest.mark.parametrize("path", [f"{PATH}/421332671", "/rest/me", "/rest/mosms"])
def test_what_only_reads_may_pass(path):
    assert GATEWAYAPI.read(Request("GET", path, "token=t")) is None
    with pytest.raises(Refusal):
        GATEWAYAPI.read(document(path, BODY, BASIC)._replace(method="GET"))


def test_what_is_scheduled_may_be_taken_back():
    assert GATEWAYAPI.read(Request("DELETE", f"{PATH}/421332671", "token=t")) is None


@pytest.mark.parametrize(
    ("request_", "credential"),
    [
        (message(), Credential("", "Go-Token")),
        (document(PATH, BODY, ("Authorization", "Token Go-Token")), Credential("", "Go-Token")),
        (document(PATH, BODY)._replace(query="token=Go-Token"), Credential("", "Go-Token")),
        (
            document(PATH, BODY, ("Authorization", f"Basic {base64.b64encode(b'u:p').decode()}")),
            Credential("u", "p"),
        ),
        (form(PATH, [*FIELDS, ("user", "u"), ("password", "p")]), Credential("u", "p")),
    ],
)
def test_the_tokens_place_takes_the_secret(request_, credential):
    assert GATEWAYAPI.read(request_)
    scheme = next(one for one in GATEWAYAPI.schemes if one.shows(request_, credential))
    written = scheme.write(request_, Credential("name", "real"))
    assert scheme.shows(written, Credential("", "real"))
    assert asked(standin.answer, written).status == 200


def test_the_stand_in_answers_as_documented():
    assert asked(standin.answer, document(PATH, BODY)).status == 401
    signed = ("Authorization", 'OAuth oauth_signature="x"')
    assert asked(standin.answer, document(PATH, BODY, signed)).status == 401
    twice = asked(standin.answer, message(to(PEOPLE[0], PEOPLE[0])))
    assert body_of(twice)["code"] == "0x0310"
    assert asked(standin.answer, form(PATH, FIELDS, BASIC)).status == 200
