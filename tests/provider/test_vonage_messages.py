"""Vonage Messages: each message of a failover is asked about, and other channels refused."""

import base64
import hashlib
import hmac
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.identifier import record_of
from gateway.provider.problem import Problem
from gateway.provider.registry import find_adapter
from gateway.provider.request import Request
from gateway.provider.submission import Told
from tests.peers.standins import vonage_messages as standin
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

MESSAGES = find_adapter("vonage_messages")
PATH = "/v1/messages"
MAIJA, PEKKA, LIISA = PEOPLE[:3]
BASIC = ("Authorization", "Basic YWJjZDEyMzQ6c2VjcmV0")


def sms(to: str, **more) -> dict:
    return {
        "channel": "sms",
        "message_type": "text",
        "to": to,
        "from": "Acme",
        "text": f"Moi ä {len(more)}",
        **more,
    }


def test_one_message_is_read():
    body = sms(MAIJA, webhook_url="https://tool.example/status", sms={"encoding_type": "auto"})
    submission = MESSAGES.read(document(PATH, body))
    (message,) = submission.messages
    assert message == ("Acme", "Moi ä 2", (MAIJA,), "https://tool.example/status")
    assert not submission.refuses
    assert not submission.scheduled
    assert body_of(MESSAGES.narrowed(submission, [[0]])) == body


def test_each_message_of_a_failover_is_read():
    body = sms(MAIJA, failover=[sms(PEKKA, ttl=90), sms(LIISA)])
    submission = MESSAGES.read(document(PATH, body))
    assert [one.destinations for one in submission.messages] == [(MAIJA,), (PEKKA,), (LIISA,)]
    assert [one.text for one in submission.messages] == ["Moi ä 1", "Moi ä 1", "Moi ä 0"]
    assert body_of(MESSAGES.narrowed(submission, [[0], [0], [0]])) == body


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ([[0], [], []], sms(MAIJA, ttl=90)),
        ([[0], [], [0]], sms(MAIJA, ttl=90) | {"failover": [sms(LIISA)]}),
        ([[], [0], [0]], sms(PEKKA) | {"failover": [sms(LIISA)]}),
        ([[], [], [0]], sms(LIISA)),
    ],
)
def test_the_first_that_may_go_takes_the_place_of_those_before(kept, expected):
    body = sms(MAIJA, ttl=90) | {"failover": [sms(PEKKA), sms(LIISA)]}
    submission = MESSAGES.read(document(PATH, body))
    assert body_of(MESSAGES.narrowed(submission, kept)) == expected


@pytest.mark.parametrize(
    "channel", ["mms", "rcs", "whatsapp", "messenger", "viber_service", "email", "SMS", "", None, 1]
)
def test_other_channels_are_refused(channel):
    other = sms(PEKKA) | {"channel": channel}
    assert refused(MESSAGES, document(PATH, other)) is Problem.MALFORMED
    body = sms(MAIJA, failover=[other])
    assert refused(MESSAGES, document(PATH, body)) is Problem.MALFORMED


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"To": PEKKA}, Problem.MALFORMED),
        ({"to": [MAIJA, PEKKA]}, Problem.MALFORMED),
        ({"to": {"type": "sms", "number": MAIJA}}, Problem.MALFORMED),
        ({"Channel": "rcs"}, Problem.MALFORMED),
        ({"Failover": [sms(PEKKA)]}, Problem.HIDDEN_RECIPIENTS),
        ({"failover": sms(PEKKA)}, Problem.MALFORMED),
        ({"failover": [PEKKA]}, Problem.MALFORMED),
        ({"failover": [sms(PEKKA, failover=[sms(LIISA)])]}, Problem.HIDDEN_RECIPIENTS),
        ({"failover": [{"channel": "sms"}]}, Problem.MALFORMED),
        ({"workflow": [sms(PEKKA)]}, Problem.HIDDEN_RECIPIENTS),
        ({"email": {"bcc": [{"address": "a@b.example"}]}}, Problem.HIDDEN_RECIPIENTS),
        ({"sms": {"to": PEKKA}}, Problem.HIDDEN_RECIPIENTS),
        ({"sms": [PEKKA]}, Problem.MALFORMED),
        ({"text": {"a": 1}}, Problem.MALFORMED),
    ],
)
def test_another_place_for_a_recipient_is_refused(more, problem):
    assert refused(MESSAGES, document(PATH, sms(MAIJA) | more)) is problem


@pytest.mark.parametrize("nothing", [None, []])
def test_an_empty_failover_is_none(nothing):
    submission = MESSAGES.read(document(PATH, sms(MAIJA, failover=nothing)))
    assert len(submission.messages) == 1
    assert "failover" not in body_of(MESSAGES.narrowed(submission, [[0]]))


def test_a_member_that_stands_twice_leaves_once():
    body = json.dumps(sms(MAIJA)).encode()[:-1] + f', "to": "{PEKKA}"}}'.encode()
    submission = MESSAGES.read(document(PATH, {})._replace(body=body))
    assert submission.messages[0].destinations == (PEKKA,)
    assert MAIJA.encode() not in MESSAGES.narrowed(submission, [[0]]).body


@pytest.mark.parametrize(
    "path",
    [
        *("/v0.1/messages", "/v0.1/dispatch", "/V1/messages", "/v1/Messages", "/v1/messages/"),
        *("/v2/verify", "/v1/calls", "/v1/messages/send", "/beta/messages", "/sms/json"),
    ],
)
def test_other_ways_of_sending_are_refused(path):
    assert refused(MESSAGES, document(path, sms(MAIJA))) is Problem.UNKNOWN_PATH


def test_other_bodies_are_refused():
    assert refused(MESSAGES, form(PATH, sms(MAIJA))) is Problem.WRONG_TYPE
    assert refused(MESSAGES, document(PATH, [sms(MAIJA)])) is Problem.MALFORMED
    in_url = document(PATH, sms(MAIJA))._replace(query="to=1")
    assert refused(MESSAGES, in_url) is Problem.MALFORMED


def test_a_message_can_be_revoked():
    path = f"{PATH}/aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab"
    assert MESSAGES.read(Request("PATCH", path, body=b'{"status":"revoked"}')) is None
    assert refused(MESSAGES, Request("POST", path)) is Problem.UNKNOWN_PATH


# -- answers --------------------------------------------------------------------------


def test_an_accepted_message_has_an_id():
    submission = MESSAGES.read(document(PATH, sms(MAIJA)))
    answer = MESSAGES.accepted(submission, decided(TAKEN))
    assert answer.status == 202
    assert body_of(answer).keys() == {"message_uuid"}
    assert record_of(body_of(answer)["message_uuid"]) == record(1)


def test_an_accepted_failover_has_a_workflow():
    submission = MESSAGES.read(document(PATH, sms(MAIJA, failover=[sms(PEKKA)])))
    answer = MESSAGES.accepted(submission, decided(INVALID, TAKEN))
    assert record_of(body_of(answer)["message_uuid"]) == record(1)
    assert body_of(answer)["workflow_id"]


def test_the_answer_to_what_was_sent_is_the_providers():
    submission = MESSAGES.read(document(PATH, sms(MAIJA, failover=[sms(PEKKA)])))
    kept = decided(TAKEN, SENT)
    theirs = asked(
        standin.answer, MESSAGES.narrowed(submission, kept.kept()), Authorization=BASIC[1]
    )
    assert theirs.status == 202
    assert MESSAGES.merged(theirs, submission, kept) == theirs
    assert MESSAGES.told(theirs, submission, kept) == [Told.ACCEPTED]


@pytest.mark.parametrize(
    "answer",
    [
        MESSAGES.blocked(MESSAGES.read(document(PATH, sms(MAIJA))), decided(BLOCKED)),
        MESSAGES.accepted(MESSAGES.read(document(PATH, sms("nobody"))), decided(INVALID)),
        *(MESSAGES.problem(problem, "what to do") for problem in Problem),
    ],
)
def test_errors_are_problem_documents(answer):
    assert answer.content_type == "application/problem+json"
    assert answer.status >= 400
    assert body_of(answer).keys() == {"type", "title", "detail", "instance"}
    assert body_of(answer)["type"].startswith("https://developer.vonage.com/api-errors")


def test_what_cannot_be_processed_is_422_and_what_is_ours_is_503():
    assert MESSAGES.problem(Problem.HIDDEN_RECIPIENTS, "").status == 422
    assert MESSAGES.problem(Problem.UNKNOWN_CALLER, "").status == 401
    assert MESSAGES.problem(Problem.BUSY, "").status == 503


# -- status webhooks ------------------------------------------------------------------


def test_a_webhook_tells_of_the_opt_out():
    second = sms(PEKKA, webhook_url="https://tool.example/status", client_ref="order 7")
    body = sms(MAIJA, failover=[second])
    submission = MESSAGES.read(document(PATH, body, BASIC))
    both = decided(TAKEN, TAKEN)
    assert MESSAGES.report(submission, both, 0, 0, "") is None
    report = MESSAGES.report(submission, both, 1, 0, "")
    status = json.loads(report.body)
    assert report.url == "https://tool.example/status"
    assert status["status"] == "rejected"
    assert (status["to"], status["from"], status["channel"]) == (PEKKA, "Acme", "sms")
    assert status["client_ref"] == "order 7"
    assert status["timestamp"] == "2025-01-01T00:00:00Z"
    assert status["error"].keys() == {"type", "title", "detail", "instance"}
    assert record_of(status["message_uuid"]) == record(2)
    assert dict(report.headers) == {"Content-Type": "application/json"}


def test_a_webhook_of_the_older_version_is_not_made_up():
    body = sms(MAIJA, webhook_url="https://tool.example/status", webhook_version="v0.1")
    submission = MESSAGES.read(document(PATH, body))
    assert MESSAGES.report(submission, decided(TAKEN), 0, 0, "") is None


def unpacked(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_a_webhook_is_signed():
    body = sms(MAIJA, webhook_url="https://tool.example/status")
    submission = MESSAGES.read(document(PATH, body, BASIC))
    report = MESSAGES.report(submission, decided(TAKEN), 0, 0, "key")
    word, token = dict(report.headers)["Authorization"].split(" ")
    head, claims, made = token.split(".")
    assert word == "Bearer"
    assert json.loads(unpacked(head))["alg"] == "HS256"
    right = hmac.new(b"key", f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert unpacked(made) == right
    said = json.loads(unpacked(claims))
    assert said["payload_hash"] == hashlib.sha256(report.body).hexdigest()
    assert said["iss"] == "Vonage"
    assert said["api_key"] == "abcd1234"


# -- the property ---------------------------------------------------------------------


def test_the_stand_in_wants_a_credential_and_numbers():
    request = document(PATH, sms(MAIJA))
    assert asked(standin.answer, request).status == 401
    assert asked(standin.answer, request, Authorization="Bearer token").status == 401
    assert asked(standin.answer, request, Authorization="Bearer a.b.c").status == 202
    wrong = document(PATH, sms("nobody"), BASIC)
    assert asked(standin.answer, wrong).status == 422


DOCUMENTED = (
    "channel message_type from text ttl trusted_recipient client_ref webhook_url webhook_version"
)


def held(request: Request) -> list[str]:
    body = body_of(request)
    return [body["to"], *(one["to"] for one in body.get("failover", []))]


@settings(deadline=None)
@given(st.data(), st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=4, unique=True))
def test_nobody_is_forwarded_whom_the_gateway_did_not_see(data, numbers):
    more = extras(DOCUMENTED) if data.draw(st.booleans()) else st.just({})
    first, *others = [sms(one) | data.draw(more) for one in numbers]
    body = {**first, "failover": others} if others else first
    checked(MESSAGES, document(PATH, body), lambda _: [0] if data.draw(st.booleans()) else [], held)
