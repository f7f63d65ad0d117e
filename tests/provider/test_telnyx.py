"""Telnyx: its messages are read, narrowed and answered as Telnyx would."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.credential import Credential
from gateway.provider.identifier import record_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.registry import find_adapter
from gateway.provider.request import Request
from gateway.provider.submission import Told
from tests.peers.standins import telnyx as standin
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
    record,
    refused,
)

TELNYX = find_adapter("telnyx")
PATH = "/v2/messages"
ONE = f"{PATH}/40385f64-5717-4562-b3fc-2c963f66afa6"
BEARER = ("Authorization", "Bearer KEY0123456789_abc")
MAIJA = f"+{PEOPLE[0]}"
BODY = {
    "from": "Acme",
    "to": MAIJA,
    "text": "Moi ä",
    "messaging_profile_id": "9f1c1f4e-0d4e-4c36-a3f2-0b3f7d1f0b11",
    "webhook_url": "https://tool.example/hooks",
    "use_profile_webhooks": False,
}


def message(**changed):
    return document(PATH, {**BODY, **changed}, BEARER)


def test_a_message_is_read():
    submission = TELNYX.read(message())
    (read,) = submission.messages
    assert read == ("Acme", "Moi ä", (MAIJA,), "https://tool.example/hooks")
    assert submission.refuses
    assert not submission.scheduled


def test_the_profile_chooses_the_sender_where_none_is_named():
    request = document(PATH, {k: v for k, v in BODY.items() if k != "from"}, BEARER)
    assert TELNYX.read(request).messages[0].sender == BODY["messaging_profile_id"]


def test_media_alone_is_no_text():
    body = {"to": MAIJA, "from": "+12025550123", "media_urls": ["https://a.example/x.png"]}
    assert TELNYX.read(document(PATH, body, BEARER)).messages[0].text is None


def test_a_message_for_later_is_scheduled():
    assert TELNYX.read(message(send_at="2030-01-01T10:00:00Z")).scheduled


def test_the_message_leaves_written_anew():
    request = message()
    narrowed = TELNYX.narrowed(TELNYX.read(request), [[0]])
    assert body_of(narrowed) == BODY
    assert narrowed._replace(body=b"") == request._replace(body=b"")


def test_one_that_is_taken_here_is_answered_as_queued():
    answer = TELNYX.accepted(TELNYX.read(message()), decided(TAKEN))
    assert answer.status == 200
    data = body_of(answer)["data"]
    assert record_of(data["id"]) == record(1)
    assert data["to"] == [
        {"phone_number": MAIJA, "status": "queued", "carrier": "", "line_type": ""}
    ]
    assert data["from"]["phone_number"] == "Acme"
    assert data["text"] == "Moi ä"
    assert data["errors"] == []
    native = body_of(asked(standin.answer, message()))["data"]
    assert native.keys() - data.keys() == {"organization_id"}


def test_one_that_is_blocked_is_refused_and_not_tried_again():
    answer = TELNYX.blocked(TELNYX.read(message()), decided(BLOCKED))
    assert answer.status == 409
    (error,) = body_of(answer)["errors"]
    assert (error["code"], error["title"]) == ("40300", "Blocked due to STOP message")
    assert PEOPLE[0] not in answer.body.decode()
    assert dict(answer.headers) == {"x-should-retry": "false"}


@pytest.mark.parametrize("problem", list(Problem))
def test_only_what_was_not_sent_may_be_tried_again(problem):
    answer = TELNYX.problem(problem, "why")
    assert answer.status == problem.status
    (error,) = body_of(answer)["errors"]
    assert error.keys() == {"code", "title", "detail"}
    assert error["detail"] == "why"
    # The provider's clients try again by themselves after 408, 409, 429 and 5xx.
    assert dict(answer.headers) == ({} if problem.temporary else {"x-should-retry": "false"})


def test_the_providers_answer_is_the_tools():
    submission = TELNYX.read(message())
    answer = asked(standin.answer, TELNYX.narrowed(submission, [[0]]))
    assert answer.status == 200
    assert TELNYX.usable(answer)
    assert TELNYX.merged(answer, submission, decided(SENT)) == answer
    assert TELNYX.told(answer, submission, decided(SENT)) == [Told.ACCEPTED]
    refusal = answer._replace(status=409)
    assert TELNYX.told(refusal, submission, decided(SENT)) == [Told.REFUSED]


@pytest.mark.parametrize("to", [[MAIJA], [MAIJA, MAIJA], {"phone_number": MAIJA}, None, True])
def test_a_recipient_that_is_no_text_is_refused(to):
    assert refused(TELNYX, message(to=to)) is Problem.MALFORMED


@pytest.mark.parametrize(
    "name", ["To", "to[]", "to_", "cc", "bcc", "recipients", "sms_fallback", "whatsapp_message"]
)
def test_unknown_members_are_refused(name):
    assert refused(TELNYX, message(**{name: MAIJA})) is Problem.HIDDEN_RECIPIENTS


def test_a_member_that_stands_twice_leaves_once():
    body = b'{"from":"Acme","to":"+%b","text":"x","to":"+%b"}' % (
        PEOPLE[0].encode(),
        PEOPLE[1].encode(),
    )
    submission = TELNYX.read(message()._replace(body=body))
    assert submission.messages[0].destinations == (f"+{PEOPLE[1]}",)
    assert PEOPLE[0].encode() not in TELNYX.narrowed(submission, [[0]]).body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{PATH}/long_code"),
        ("POST", f"{PATH}/number_pool"),
        ("POST", f"{PATH}/short_code"),
        ("POST", f"{PATH}/group_mms"),
        ("POST", f"{PATH}/alphanumeric_sender_id"),
        ("POST", f"{PATH}/schedule"),
        ("POST", f"{PATH}/whatsapp"),
        ("POST", f"{PATH}/rcs"),
        ("POST", "/v2/verifications/sms"),
        ("POST", "/v2/calls"),
        ("POST", "/V2/Messages"),
        ("POST", f"{PATH}/"),
        ("POST", "//v2/messages"),
        ("POST", "/v2/message%73"),
        ("POST", "/messages"),
        ("PUT", PATH),
        ("GET", PATH),
    ],
)
def test_other_ways_are_refused(method, path):
    request = document(path, BODY, BEARER)._replace(method=method)
    assert refused(TELNYX, request) is Problem.UNKNOWN_PATH


@pytest.mark.parametrize(
    "path",
    [
        ONE,
        f"{PATH}/group/40385f64-5717-4562-b3fc-2c963f66afa6",
        "/v2/messaging_optouts",
        "/v2/messaging_profiles",
        "/v2/balance",
    ],
)
def test_what_only_reads_may_pass(path):
    assert TELNYX.read(Request("GET", path, "", (BEARER,))) is None
    with pytest.raises(Refusal):
        TELNYX.read(document(path, BODY, BEARER)._replace(method="GET"))


def test_what_is_scheduled_may_be_cancelled():
    assert TELNYX.read(Request("DELETE", ONE, "", (BEARER,))) is None


def test_the_tokens_place_takes_the_secret():
    (scheme,) = TELNYX.schemes
    assert scheme.shows(message(), Credential("", "KEY0123456789_abc"))
    written = scheme.write(message(), Credential("", "KEY9"))
    assert written.header("authorization") == "Bearer KEY9"


def test_the_stand_in_answers_as_documented():
    assert asked(standin.answer, message(), Authorization="Basic x").status == 401
    assert asked(standin.answer, message(to="0401234567")).status == 400
    assert asked(standin.answer, Request("GET", ONE, "", (BEARER,))).status == 200
    assert asked(standin.answer, document(f"{PATH}/schedule", BODY, BEARER)).status == 404


bodies = st.fixed_dictionaries(
    {"to": st.sampled_from([f"+{one}" for one in PEOPLE]) | st.just("12345"), "text": st.just("x")},
    optional={"from": st.just("Acme"), "auto_detect": st.booleans(), "subject": st.just("s")},
)


@settings(max_examples=150)
@given(bodies, extras("to text from subject"))
def test_nobody_leaves_who_was_not_read_and_kept(body, more):
    checked(
        TELNYX,
        document(PATH, {**body, **more}, BEARER),
        lambda destinations: range(len(destinations)),
        lambda request: [body_of(request)["to"]],
    )
