"""Infobip: many messages to many destinations, each with its own word in the answer."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.credential import Credential
from gateway.provider.identifier import record_of
from gateway.provider.problem import Problem
from gateway.provider.registry import find_adapter
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Told
from tests.peers.standins import infobip as standin
from tests.provider.deciding import (
    BLOCKED,
    INVALID,
    PEOPLE,
    REPEATED,
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

INFOBIP = find_adapter("infobip")
V3, V2 = "/sms/3/messages", "/sms/2/text/advanced"
MAIJA, PEKKA, LIISA = PEOPLE[:3]
KEY = {"Authorization": "App 003026bbc133714df1834b8638bb496e-8f4b3d9a"}
HOOK = "https://tool.example/dlr"


def v3(*numbers: str, **more) -> dict:
    return {
        "sender": "Acme",
        "destinations": [{"to": number} for number in numbers],
        "content": {"text": "Moi ä"},
        **more,
    }


def v2(*numbers: str, **more) -> dict:
    return {
        "from": "Acme",
        "destinations": [{"to": number} for number in numbers],
        "text": "Moi ä",
        **more,
    }


def body(*messages: dict, **more) -> dict:
    return {"messages": list(messages), **more}


BOTH = pytest.mark.parametrize(("path", "message"), [(V3, v3), (V2, v2)])


@BOTH
def test_each_message_and_destination_is_read(path, message):
    submission = INFOBIP.read(document(path, body(message(MAIJA, f"+{PEKKA}"), message(LIISA))))
    first, second = submission.messages
    assert first == ("Acme", "Moi ä", (MAIJA, f"+{PEKKA}"), "")
    assert second.destinations == (LIISA,)
    assert submission.refuses
    assert not submission.scheduled


def test_where_reports_go_is_read():
    hooked = v3(MAIJA, webhooks={"delivery": {"url": HOOK}})
    assert INFOBIP.read(document(V3, body(hooked))).messages[0].report_url == HOOK
    hooked = v2(MAIJA, notifyUrl=HOOK)
    assert INFOBIP.read(document(V2, body(hooked))).messages[0].report_url == HOOK


def test_a_message_without_a_readable_text_has_none():
    binary = v3(MAIJA) | {"content": {"hex": "00ff"}}
    assert INFOBIP.read(document(V3, body(binary))).messages[0].text is None
    bare = {"destinations": [{"to": MAIJA}]}
    (message,) = INFOBIP.read(document(V2, body(bare))).messages
    assert (message.sender, message.text) == ("", None)


WINDOW = {"days": ["MONDAY"], "from": {"hour": 9, "minute": 0}, "to": {"hour": 17, "minute": 0}}


@pytest.mark.parametrize(
    ("path", "sent"),
    [
        (V2, body(v2(MAIJA, sendAt="2027-01-01T00:00:00.000+00:00"))),
        (V2, body(v2(MAIJA), v2(PEKKA, deliveryTimeWindow=WINDOW))),
        (V3, body(v3(MAIJA), options={"schedule": {"sendAt": "2027-01-01T00:00:00.000+00:00"}})),
        (V3, body(v3(MAIJA, options={"deliveryTimeWindow": WINDOW}))),
    ],
)
def test_a_later_date_is_noticed(path, sent):
    assert INFOBIP.read(document(path, sent)).scheduled


@BOTH
def test_only_those_kept_leave_and_nothing_else_changes(path, message):
    first = message(MAIJA, PEKKA, LIISA)
    first["destinations"][1]["messageId"] = "mine"
    whole = body(first, message(MAIJA), message(LIISA))
    submission = INFOBIP.read(document(path, whole))
    left = body_of(INFOBIP.narrowed(submission, [[1, 2], [], [0]]))
    expected = {**first, "destinations": [{"to": PEKKA, "messageId": "mine"}, {"to": LIISA}]}
    assert left == body(expected, message(LIISA))
    assert body_of(INFOBIP.narrowed(submission, [[0, 1, 2], [0], [0]])) == whole


@BOTH
@pytest.mark.parametrize(
    "more",
    [
        {"destinations": [{"to": MAIJA, "groupId": "1"}]},
        {"destinations": [{"personId": "1"}]},
        {"destinations": [{"to": MAIJA, "To": PEKKA}]},
        {"Destinations": [{"to": PEKKA}]},
        {"to": PEKKA},
        {"to": [PEKKA]},
        {"failover": [{"channel": "viber", "destinations": [{"to": PEKKA}]}]},
        {"groups": ["1"]},
    ],
)
def test_another_place_for_a_recipient_is_refused(path, message, more):
    request = document(path, body(message(MAIJA, **more)))
    assert refused(INFOBIP, request) is Problem.HIDDEN_RECIPIENTS


@BOTH
@pytest.mark.parametrize("more", [{"to": PEKKA}, {"destinations": [{"to": PEKKA}]}, {"list": [1]}])
def test_another_place_beside_the_messages_is_refused(path, message, more):
    request = document(path, body(message(MAIJA), **more))
    assert refused(INFOBIP, request) is Problem.HIDDEN_RECIPIENTS


def test_unknown_options_are_refused():
    request = document(V3, body(v3(MAIJA, options={"failover": {"to": PEKKA}})))
    assert refused(INFOBIP, request) is Problem.HIDDEN_RECIPIENTS


@BOTH
@pytest.mark.parametrize(
    "more",
    [
        {"destinations": MAIJA},
        {"destinations": [MAIJA]},
        {"destinations": []},
        {"destinations": [{"to": [MAIJA]}]},
        {"destinations": [{"to": None}]},
        {"destinations": None},
    ],
)
def test_another_shape_of_destinations_is_refused(path, message, more):
    request = document(path, body(message(MAIJA, **more)))
    assert refused(INFOBIP, request) is Problem.MALFORMED


@pytest.mark.parametrize(
    "more",
    [
        {"options": {"schedule": 5}},
        {"options": {"schedule": "sendAt"}},
        {"options": [1]},
    ],
)
def test_another_shape_of_options_is_refused(more):
    assert refused(INFOBIP, document(V3, body(v3(MAIJA), **more))) is Problem.MALFORMED


@pytest.mark.parametrize("sent", [[], [v3(MAIJA)], {}, {"messages": {}}, {"messages": [1]}])
def test_another_shape_of_the_body_is_refused(sent):
    assert refused(INFOBIP, document(V3, sent)) is Problem.MALFORMED


def test_the_fields_of_one_version_are_not_those_of_the_other():
    assert refused(INFOBIP, document(V3, body(v2(MAIJA)))) is Problem.HIDDEN_RECIPIENTS
    assert refused(INFOBIP, document(V2, body(v3(MAIJA)))) is Problem.HIDDEN_RECIPIENTS


def test_too_many_recipients_are_refused():
    many = [v3(*[MAIJA] * 6000), v3(*[MAIJA] * 6000)]
    assert refused(INFOBIP, document(V3, body(*many))) is Problem.TOO_MANY


@pytest.mark.parametrize(
    "path",
    [
        *("/sms/1/text/single", "/sms/1/text/multi", "/sms/1/text/advanced", "/sms/2/text/single"),
        *("/sms/2/binary/advanced", "/sms/1/binary/single", "/sms/3/Messages", "/SMS/3/messages"),
        *("/sms/3/messages/", "/sms//3/messages", "/sms/3/text/advanced", "/sms/4/messages"),
        *(
            "/messages-api/1/messages",
            "/omni/1/advanced",
            "/omni/1/text",
            "/whatsapp/1/message/text",
        ),
        *("/viber/2/messages", "/mms/1/single", "/2fa/2/pin", "/email/3/send"),
    ],
)
def test_other_ways_of_sending_are_refused(path):
    assert refused(INFOBIP, document(path, body(v3(MAIJA)))) is Problem.UNKNOWN_PATH


@pytest.mark.parametrize("path", ["/sms/1/text/query", "/sms/3/text/query", V3, V2])
def test_sends_by_get_are_refused(path):
    request = Request("GET", path, f"to={MAIJA}&text=a")
    assert refused(INFOBIP, request) is Problem.UNKNOWN_PATH


def test_other_bodies_are_refused():
    assert refused(INFOBIP, form(V3, {"to": MAIJA})) is Problem.WRONG_TYPE
    in_url = document(V3, body(v3(MAIJA)))._replace(query="to=1")
    assert refused(INFOBIP, in_url) is Problem.MALFORMED


def test_what_sends_nothing_passes():
    for path in ("/sms/3/reports", "/sms/1/inbox/reports", "/sms/3/logs", "/account/1/balance"):
        assert INFOBIP.read(Request("GET", path, "limit=2")) is None
        assert asked(standin.answer, Request("GET", path), **KEY).status == 200
    assert INFOBIP.read(document("/sms/1/preview", {"text": "Moi"})) is None
    assert refused(INFOBIP, document("/sms/1/bulks", {})) is Problem.UNKNOWN_PATH
    assert refused(INFOBIP, Request("PUT", "/sms/1/bulks/status")) is Problem.UNKNOWN_PATH


# -- answers --------------------------------------------------------------------------


@BOTH
def test_the_answer_has_a_word_for_each(path, message):
    first = message(MAIJA, PEKKA, "nobody", MAIJA)
    first["destinations"][1]["messageId"] = "mine"
    submission = INFOBIP.read(document(path, body(first)))
    fates = decided([TAKEN, BLOCKED, INVALID, REPEATED])
    answer = INFOBIP.accepted(submission, fates)
    assert answer.status == 200
    taken, blocked, invalid = body_of(answer)["messages"]
    assert taken["status"]["name"] == "PENDING_ACCEPTED"
    assert record_of(taken["messageId"]) == record(1)
    assert blocked["status"]["groupName"] == "REJECTED"
    assert blocked["status"]["name"] == "REJECTED_DESTINATION_BLOCKLISTED"
    assert blocked["messageId"] == "mine"
    assert invalid["status"]["name"] == "REJECTED_DESTINATION"
    theirs = body_of(asked(standin.answer, document(path, body(message(MAIJA))), **KEY))
    assert taken.keys() == theirs["messages"][0].keys()
    assert taken["status"].keys() == theirs["messages"][0]["status"].keys()


def test_the_bulk_is_named_as_the_request_does():
    sent = body(v2(MAIJA), bulkId="mine")
    answer = INFOBIP.accepted(INFOBIP.read(document(V2, sent)), decided(TAKEN))
    assert body_of(answer)["bulkId"] == "mine"
    sent = body(v3(MAIJA), options={"schedule": {"bulkId": "mine"}})
    submission = INFOBIP.read(document(V3, sent))
    assert body_of(INFOBIP.accepted(submission, decided(TAKEN)))["bulkId"] == "mine"
    assert not submission.scheduled


def test_all_blocked_is_said_of_each():
    submission = INFOBIP.read(document(V3, body(v3(MAIJA), v3(PEKKA))))
    answer = INFOBIP.blocked(submission, decided(BLOCKED, BLOCKED))
    assert answer.status == 200
    assert [one["destination"] for one in body_of(answer)["messages"]] == [MAIJA, PEKKA]
    assert {one["status"]["id"] for one in body_of(answer)["messages"]} == {14}


@BOTH
def test_a_mixed_answer_has_each_in_its_place(path, message):
    whole = body(message(MAIJA, PEKKA), message(LIISA), message(MAIJA, LIISA))
    submission = INFOBIP.read(document(path, whole))
    mixed = decided([BLOCKED, SENT], [TAKEN], [SENT, INVALID])
    theirs = asked(standin.answer, INFOBIP.narrowed(submission, mixed.kept()), **KEY)
    merged = body_of(INFOBIP.merged(theirs, submission, mixed))
    key = "destination" if path == V3 else "to"
    assert [one[key] for one in merged["messages"]] == [MAIJA, PEKKA, LIISA, MAIJA, LIISA]
    assert [one["status"]["id"] for one in merged["messages"]] == [14, 26, 26, 26, 52]
    assert merged["messages"][1] == body_of(theirs)["messages"][0]
    assert merged["messages"][3] == body_of(theirs)["messages"][1]
    assert merged["bulkId"] == body_of(theirs)["bulkId"]
    assert INFOBIP.told(theirs, submission, mixed) == [Told.ACCEPTED] * 2


@pytest.mark.parametrize("sent", [b"", b"[]", b"{}", b'{"messages": 1}', b'{"messages": [1]}'])
def test_an_answer_of_another_shape_does_no_harm(sent):
    submission = INFOBIP.read(document(V3, body(v3(MAIJA, PEKKA))))
    mixed = decided([SENT, BLOCKED])
    INFOBIP.merged(Answer(200, sent), submission, mixed)
    assert INFOBIP.told(Answer(200, sent), submission, mixed) == [Told.ACCEPTED]


def test_each_item_tells():
    submission = INFOBIP.read(document(V3, body(v3(MAIJA, PEKKA), v3(LIISA))))
    groups = [{"status": {"groupId": group}} for group in (1, 5, 5)]
    answer = Answer(200, json.dumps({"messages": groups}).encode())
    mixed = decided([SENT, SENT], [SENT])
    assert INFOBIP.told(answer, submission, mixed) == [Told.ACCEPTED, Told.REFUSED, Told.REFUSED]
    assert INFOBIP.told(Answer(401), submission, mixed) == [Told.REFUSED] * 3
    assert INFOBIP.told(Answer(500), submission, mixed) == [Told.LATER] * 3


@pytest.mark.parametrize("problem", Problem)
def test_a_problem_is_a_service_exception(problem):
    answer = INFOBIP.problem(problem, "what to do")
    assert answer.status == problem.status
    error = body_of(answer)["requestError"]["serviceException"]
    assert error.keys() == {"messageId", "text"}
    assert error["text"] == "what to do"


# -- delivery reports -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (V3, v3(MAIJA, PEKKA, webhooks={"delivery": {"url": HOOK}, "callbackData": "order 7"})),
        (V2, v2(MAIJA, PEKKA, notifyUrl=HOOK, callbackData="order 7")),
    ],
)
def test_a_report_tells_of_the_opt_out(path, message):
    submission = INFOBIP.read(document(path, body(v3(LIISA) if path == V3 else v2(LIISA), message)))
    both = decided(TAKEN, [TAKEN, TAKEN])
    assert INFOBIP.report(submission, both, 0, 0, "") is None
    report = INFOBIP.report(submission, both, 1, 1, "")
    assert report.url == HOOK
    (result,) = json.loads(report.body)["results"]
    assert result["to"] == PEKKA
    assert result["status"]["name"] == "REJECTED_DESTINATION_BLOCKLISTED"
    assert result["callbackData"] == "order 7"
    assert record_of(result["messageId"]) == record(3)


# -- credentials, and the property ----------------------------------------------------


def test_the_key_is_replaced():
    app, basic, bearer = INFOBIP.schemes
    request = document(V3, body(v3(MAIJA)), ("authorization", "App mine"))
    assert app.shows(request, Credential("", "mine"))
    assert not app.shows(request, Credential("", "other"))
    assert not basic.shows(request, Credential("", "mine"))
    assert not bearer.shows(request, Credential("", "mine"))
    assert app.write(request, Credential("", "theirs")).header("authorization") == "App theirs"


def test_the_stand_in_wants_a_key():
    request = document(V3, body(v3(MAIJA)))
    assert asked(standin.answer, request).status == 401
    assert asked(standin.answer, request, Authorization="AccessKey 12345678").status == 401
    assert asked(standin.answer, document(V3, {}), **KEY).status == 400


DOCUMENTED = {
    "body": "messages options bulkId tracking urlOptions sendingSpeedLimit",
    "message": "sender from destinations content text options webhooks",
    "destination": "to messageId networkId urlOptions",
}


def held(request: Request) -> list[str]:
    return [
        destination["to"]
        for message in body_of(request)["messages"]
        for destination in message["destinations"]
    ]


@settings(deadline=None)
@given(st.data(), st.sampled_from([(V3, v3), (V2, v2)]), st.integers(1, 3))
def test_nobody_is_forwarded_whom_the_gateway_did_not_see(data, version, count):
    path, message = version
    numbers = iter(data.draw(st.permutations(PEOPLE)))
    more = extras if data.draw(st.booleans()) else lambda _: st.just({})
    messages = []
    for _ in range(count):
        one = message(*[next(numbers) for _ in range(data.draw(st.integers(1, 3)))])
        for destination in one["destinations"]:
            destination.update(data.draw(more(DOCUMENTED["destination"])))
        messages.append(one | data.draw(more(DOCUMENTED["message"])))
    whole = body(*messages, **data.draw(more(DOCUMENTED["body"])))

    def chosen(read):
        return sorted(data.draw(st.sets(st.sampled_from(range(len(read))))))

    checked(INFOBIP, document(path, whole), chosen, held)


@settings(deadline=None)
@given(st.lists(st.sampled_from([*PEOPLE, "", "+1"]), min_size=1, max_size=5), st.data())
def test_bare_destinations_are_read_as_those_with_more_beside_the_number(numbers, data):
    """What stands beside a number, as far as it is known, changes nothing in who is meant."""
    bare = v3(*numbers)
    more = [
        {"to": number, **data.draw(st.sampled_from([{}, {"messageId": "m"}, {"networkId": 1}]))}
        for number in numbers
    ]
    both = [
        INFOBIP.read(document(V3, body({**bare, "destinations": each})))
        for each in (bare["destinations"], more)
    ]
    assert both[0].messages == both[1].messages == (both[0].messages[0],)
    assert both[0].messages[0].destinations == tuple(numbers)


def test_an_answer_that_has_been_read_is_left_as_it_is():
    submission = INFOBIP.read(document(V3, body(v3(MAIJA, PEKKA))))
    said = {"messages": [{"to": MAIJA, "status": {"groupId": 1}}]}
    answer = Answer(200, json.dumps(said).encode()).read()
    merged = INFOBIP.merged(answer, submission, decided([SENT, BLOCKED]))
    assert answer.document == said
    assert len(merged.json()["messages"]) == 2
