"""LINK Mobility: its messages are read, narrowed and answered in LINK's own form."""

import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.credential import Credential
from gateway.provider.identifier import record_of
from gateway.provider.problem import Problem
from gateway.provider.registry import find_adapter
from gateway.provider.request import Answer, Request, json_answer
from gateway.provider.submission import Told
from tests.peers.standins import link as standin
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

LINK = find_adapter("link")
ONE, MANY = "/sms/send", "/sms/sendbatch"
BASIC = ("Authorization", f"Basic {base64.b64encode(b'acme:secret').decode()}")
MAIJA, MATTI, LIISA = (f"+{one}" for one in PEOPLE[:3])
PLATFORM = {"platformId": "COMMON_API", "platformPartnerId": "1234", "useDeliveryReport": True}
MESSAGE = {"source": "Acme", "sourceTON": "ALPHANUMERIC", "userData": "Moi ä", "refId": "7"}


def one(**changed):
    return document(ONE, {**PLATFORM, **MESSAGE, "destination": MAIJA, **changed}, BASIC)


def to(destination, **changed):
    return {**MESSAGE, "destination": destination, **changed}


def many(*messages, **changed):
    return document(MANY, {**PLATFORM, "sendRequestMessages": list(messages), **changed}, BASIC)


def test_one_message_is_read():
    submission = LINK.read(one())
    (message,) = submission.messages
    assert message == ("Acme", "Moi ä", (MAIJA,), "")
    assert submission.refuses
    assert not submission.scheduled


def test_a_batch_is_read():
    submission = LINK.read(many(to(MAIJA), to(MATTI, source="16400", userData="Hei")))
    assert submission.messages == (
        ("Acme", "Moi ä", (MAIJA,), ""),
        ("16400", "Hei", (MATTI,), ""),
    )


def test_a_binary_message_has_no_text():
    assert LINK.read(one(dcs="BINARY", userData="0a0b")).messages[0].text is None


@pytest.mark.parametrize(
    "custom", [{"scheduledTime": "2030-01-01"}, [{"key": "Schedule", "value": "x"}]]
)
def test_a_message_for_later_is_scheduled(custom):
    assert LINK.read(one(customParameters=custom)).scheduled
    assert LINK.read(many(to(MAIJA), customParameters=custom)).scheduled
    assert LINK.read(many(to(MAIJA), to(MATTI, customParameters=custom))).scheduled


def test_the_message_leaves_written_anew():
    request = one()
    narrowed = LINK.narrowed(LINK.read(request), [[0]])
    assert body_of(narrowed) == body_of(request)
    assert narrowed._replace(body=b"") == request._replace(body=b"")


def test_only_those_kept_leave():
    request = many(to(MAIJA), to(MATTI), to(LIISA))
    narrowed = LINK.narrowed(LINK.read(request), [[0], [], [0]])
    assert body_of(narrowed) == {**PLATFORM, "sendRequestMessages": [to(MAIJA), to(LIISA)]}
    assert narrowed._replace(body=b"") == request._replace(body=b"")


def test_one_that_is_taken_here_is_answered_as_queued():
    answer = LINK.accepted(LINK.read(one()), decided(TAKEN))
    said = body_of(answer)
    assert answer.status == 200
    assert record_of(said["messageId"]) == record(1)
    assert (said["resultCode"], said["description"]) == (1005, "Queued")
    assert said.keys() == body_of(asked(standin.answer, one())).keys()


def test_one_that_is_blocked_is_refused():
    answer = LINK.blocked(LINK.read(one()), decided(BLOCKED))
    assert answer.status == 403
    assert body_of(answer)["resultCode"] == 2105


def test_a_batch_of_blocked_has_a_result_for_each():
    answer = LINK.blocked(LINK.read(many(to(MAIJA), to(MATTI))), decided(BLOCKED, BLOCKED))
    assert answer.status == 200
    assert [said["resultCode"] for said in body_of(answer)] == [2105, 2105]


def test_the_providers_results_keep_their_messages():
    submission = LINK.read(many(to(MAIJA), to("12345"), to(MATTI), to(LIISA)))
    decision = decided(BLOCKED, INVALID, SENT, TAKEN)
    answer = asked(standin.answer, LINK.narrowed(submission, decision.kept()))
    merged = body_of(LINK.merged(answer, submission, decision))
    assert [said["resultCode"] for said in merged] == [2105, 2106, 1005, 1005]
    assert [merged[2]] == body_of(answer)
    assert record_of(merged[3]["messageId"]) == record(3)
    assert LINK.told(answer, submission, decision) == [Told.ACCEPTED]


def test_what_cannot_be_merged_is_left_as_it_is():
    submission, decision = LINK.read(many(to(MAIJA), to(MATTI))), decided(SENT, BLOCKED)
    for body in (b"", b"{}", b"x"):
        answer = Answer(200, body)
        assert LINK.merged(answer, submission, decision) == answer
    single = json_answer(200, {"resultCode": 1005})
    assert LINK.merged(single, LINK.read(one()), decided(SENT)) == single


def test_a_tool_that_wants_no_answer_gets_none():
    assert LINK.accepted(LINK.read(one(ignoreResponse=True)), decided(TAKEN)) == Answer(204)
    batch = LINK.read(many(to(MAIJA), ignoreResponse=True))
    assert LINK.blocked(batch, decided(BLOCKED)) == Answer(204)
    silent = asked(standin.answer, one(ignoreResponse=True))
    assert silent.status == 204
    assert LINK.usable(silent)
    assert LINK.told(silent, batch, decided(SENT)) == [Told.ACCEPTED]


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (1005, Told.ACCEPTED),
        (1000, Told.ACCEPTED),
        (2105, Told.REFUSED),
        (106101, Told.REFUSED),
        (3, Told.LATER),
        (2107, Told.LATER),
    ],
)
def test_each_result_is_heard(code, told):
    results = [{"resultCode": 1005}, {"resultCode": code}]
    batch = LINK.read(many(to(MAIJA), to(MATTI)))
    assert LINK.told(json_answer(200, results), batch, decided(SENT, SENT)) == [
        Told.ACCEPTED,
        told,
    ]
    single = json_answer(200, {"resultCode": code})
    assert LINK.told(single, LINK.read(one()), decided(SENT)) == [told]


def test_a_status_of_failure_counts_for_all():
    batch, decision = LINK.read(many(to(MAIJA), to(MATTI))), decided(SENT, SENT)
    assert LINK.told(Answer(400, b"{}"), batch, decision) == [Told.REFUSED, Told.REFUSED]
    assert LINK.told(Answer(503), batch, decision) == [Told.LATER, Told.LATER]


def test_problems_have_the_providers_form():
    for problem in Problem:
        answer = LINK.problem(problem, "why")
        assert answer.status == problem.status
        assert body_of(answer).keys() == {"resultCode", "description"}


def test_no_report_can_be_made():
    assert LINK.report(LINK.read(one()), decided(TAKEN), 0, 0, "") is None


@pytest.mark.parametrize(
    "name",
    ["Destination", "destination[]", "destinations", "recipients", "to", "sendRequestMessages"],
)
def test_unknown_members_are_refused(name):
    assert refused(LINK, one(**{name: MATTI})) is Problem.HIDDEN_RECIPIENTS
    assert refused(LINK, many(to(MAIJA, **{name: MATTI}))) is Problem.HIDDEN_RECIPIENTS


@pytest.mark.parametrize("name", ["destination", "SendRequestMessages", "messages", "userData"])
def test_unknown_members_of_a_batch_are_refused(name):
    assert refused(LINK, many(to(MAIJA), **{name: MATTI})) is Problem.HIDDEN_RECIPIENTS


@pytest.mark.parametrize("ton", ["ALPHANUMERIC", "SHORTCODE", "msisdn", ["MSISDN"]])
def test_a_destination_of_another_kind_is_refused(ton):
    assert refused(LINK, one(destinationTON=ton)) is Problem.BAD_RECIPIENT
    assert LINK.read(one(destinationTON="MSISDN"))


@pytest.mark.parametrize("destination", [None, [], [MAIJA], {"msisdn": MAIJA}])
def test_a_destination_of_another_form_is_refused(destination):
    assert refused(LINK, one(destination=destination)) is Problem.MALFORMED
    assert refused(LINK, many(to(destination))) is Problem.MALFORMED


@pytest.mark.parametrize("messages", [None, [], {}, "x", [MAIJA]])
def test_a_batch_of_another_form_is_refused(messages):
    body = {**PLATFORM, "sendRequestMessages": messages}
    assert refused(LINK, document(MANY, body, BASIC)) is Problem.MALFORMED


def test_a_thousand_are_the_most():
    batch = [to(f"+35840{number:07d}") for number in range(1_000)]
    assert len(LINK.read(many(*batch)).messages) == 1000
    assert refused(LINK, many(*batch, to(MAIJA))) is Problem.TOO_MANY


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", ONE),
        ("PUT", ONE),
        ("POST", "/SMS/send"),
        ("POST", "/sms/Send"),
        ("POST", "/sms/sendBatch"),
        ("POST", f"{ONE}/"),
        ("POST", "/sms/sen%64"),
        ("POST", "/sms/sendmessages"),
        ("POST", "/rcs/send"),
        ("POST", "/number/16400/keyword"),
    ],
)
def test_other_ways_are_refused(method, path):
    request = one()._replace(method=method, path=path)
    assert refused(LINK, request) is Problem.UNKNOWN_PATH


def test_parameters_in_the_url_are_refused():
    assert refused(LINK, one()._replace(query="destination=x")) is Problem.MALFORMED


def test_a_client_may_fetch_its_token():
    assert LINK.read(form("/auth/token", {"grant_type": "client_credentials"}, BASIC)) is None


def test_the_tokens_place_takes_the_secret():
    basic, bearer = LINK.schemes
    assert basic.shows(one(), Credential("acme", "secret"))
    shown = one().with_headers({"Authorization": "Bearer abc"})
    assert bearer.shows(shown, Credential("", "abc"))
    assert asked(standin.answer, bearer.write(shown, Credential("", "real"))).status == 200


def test_the_stand_in_answers_as_documented():
    assert body_of(asked(standin.answer, one(), Authorization="App x"))["resultCode"] == 106100
    assert body_of(asked(standin.answer, one(platformId="")))["resultCode"] == 106200
    assert asked(standin.answer, one(destination="0401234567")).status == 400
    mixed = body_of(asked(standin.answer, many(to(MAIJA), to("x"))))
    assert [result["resultCode"] for result in mixed] == [1005, 2106]
    assert asked(standin.answer, Request("GET", ONE, "", (BASIC,))).status == 405


parts = st.fixed_dictionaries(
    {"destination": st.sampled_from([f"+{one}" for one in PEOPLE]), "userData": st.just("x")},
    optional={"source": st.just("Acme"), "destinationTON": st.just("MSISDN")},
)
KNOWN = "destination userData source destinationTON sendRequestMessages"


def destinations_in(request):
    """The numbers that the provider would send to."""
    found = body_of(request)
    return [one["destination"] for one in found.get("sendRequestMessages", [found])]


@settings(max_examples=150)
@given(st.lists(parts, min_size=1, max_size=4), extras(KNOWN), st.booleans(), st.data())
def test_nobody_leaves_who_was_not_read_and_kept(messages, more, batch, data):
    if batch:
        messages[0].update(data.draw(extras(KNOWN)))
        request = many(*messages, **more)
    else:
        request = document(ONE, {**PLATFORM, **messages[0], **more}, BASIC)
    kept = data.draw(st.sets(st.sampled_from(PEOPLE)))
    checked(
        LINK,
        request,
        lambda read: [n for n, one in enumerate(read) if one[1:] in kept],
        destinations_in,
    )
