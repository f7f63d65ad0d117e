"""MessageBird: recipients in both of their shapes, groups refused, a status for each."""

import base64
import hashlib
import hmac
import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.identifier import record_of
from gateway.provider.problem import Problem
from gateway.provider.registry import find_adapter
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Told
from tests.peers.standins import messagebird as standin
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

BIRD = find_adapter("messagebird")
PATH = "/messages"
MAIJA, PEKKA, LIISA = PEOPLE[:3]
KEY = {"Authorization": "AccessKey test_gshuPaZoeEG6ovbc8M79w0QyM"}
BODY = {"originator": "Acme", "body": "Moi ä", "reference": "order 7"}


def to(listed: object, **more) -> Request:
    return document(PATH, BODY | {"recipients": listed} | more)


@pytest.mark.parametrize(
    ("recipients", "numbers"),
    [
        (f"{MAIJA},+{PEKKA}", (MAIJA, f"+{PEKKA}")),
        (f"{MAIJA},{PEKKA},", (MAIJA, PEKKA)),
        ([MAIJA, int(PEKKA)], (MAIJA, PEKKA)),
        (MAIJA, (MAIJA,)),
        (int(MAIJA), (MAIJA,)),
    ],
)
def test_recipients_are_read_in_each_shape(recipients, numbers):
    submission = BIRD.read(to(recipients, reportUrl="https://tool.example/report"))
    (message,) = submission.messages
    assert message == ("Acme", "Moi ä", numbers, "https://tool.example/report")
    assert not submission.refuses
    assert not submission.scheduled


def test_a_list_stays_a_list_and_nothing_else_changes():
    submission = BIRD.read(to([MAIJA, int(PEKKA), LIISA], validity=300, mclass=0))
    left = body_of(BIRD.narrowed(submission, [[1, 2]]))
    assert left == BODY | {"recipients": [int(PEKKA), LIISA], "validity": 300, "mclass": 0}


def test_a_joined_text_stays_one():
    submission = BIRD.read(to(f"{MAIJA},{PEKKA},+{LIISA}"))
    assert body_of(BIRD.narrowed(submission, [[0, 2]]))["recipients"] == f"{MAIJA},+{LIISA}"


def test_a_later_date_is_noticed():
    assert BIRD.read(to(MAIJA, scheduledDatetime="2027-01-01T00:00:00+00:00")).scheduled
    assert not BIRD.read(to(MAIJA, scheduledDatetime=None)).scheduled


def test_what_is_no_text_is_not_taken_for_one():
    binary = BIRD.read(to(MAIJA, type="binary", typeDetails={"udh": "050003340201"}))
    assert binary.messages[0].text is None


def test_what_an_sdk_writes_of_unset_members_is_no_obstacle():
    unset = {"type": "sms", "typeDetails": [], "gateway": None, "groupIds": None}
    submission = BIRD.read(to([MAIJA], direction="mt", **unset))
    assert "groupIds" not in body_of(BIRD.narrowed(submission, [[0]]))


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"groupIds": ["1"]}, Problem.HIDDEN_RECIPIENTS),
        ({"groupIds": "1"}, Problem.HIDDEN_RECIPIENTS),
        ({"group_ids": ["1"]}, Problem.HIDDEN_RECIPIENTS),
        ({"GroupIDs": []}, Problem.HIDDEN_RECIPIENTS),
        ({"groups": ["1"]}, Problem.HIDDEN_RECIPIENTS),
        ({"Recipients": [PEKKA]}, Problem.MALFORMED),
        ({"recipients[]": PEKKA}, Problem.MALFORMED),
        ({"contacts": [PEKKA]}, Problem.HIDDEN_RECIPIENTS),
        ({"typeDetails": {"member": PEKKA}}, Problem.HIDDEN_RECIPIENTS),
        ({"recipients": [f"{MAIJA},{PEKKA}"]}, Problem.MALFORMED),
        ({"recipients": [[MAIJA]]}, Problem.MALFORMED),
        ({"recipients": [{"msisdn": MAIJA}]}, Problem.MALFORMED),
        ({"recipients": {"msisdn": MAIJA}}, Problem.MALFORMED),
        ({"recipients": float(MAIJA)}, Problem.MALFORMED),
        ({"recipients": []}, Problem.MALFORMED),
        ({"recipients": ""}, Problem.MALFORMED),
        ({"recipients": None}, Problem.MALFORMED),
        ({"recipients": ",".join([MAIJA] * 51)}, Problem.TOO_MANY),
        ({"recipients": [MAIJA] * 51}, Problem.TOO_MANY),
    ],
)
def test_another_place_for_a_recipient_is_refused(more, problem):
    assert refused(BIRD, to(MAIJA, **more)) is problem


@pytest.mark.parametrize(
    "path",
    [
        *("/Messages", "/messages/", "//messages", "/mms", "/voicemessages", "/verify", "/groups"),
        *("/hlr", "/lookup/358401234000/hlr", "/contacts", "/conversations/start", "/v1/send"),
    ],
)
def test_other_ways_of_sending_are_refused(path):
    request = to(MAIJA)._replace(path=path)
    assert refused(BIRD, request) is Problem.UNKNOWN_PATH


def test_other_bodies_are_refused():
    assert refused(BIRD, form(PATH, BODY | {"recipients": MAIJA})) is Problem.WRONG_TYPE
    in_url = to(MAIJA)._replace(query=f"recipients={PEKKA}")
    assert refused(BIRD, in_url) is Problem.MALFORMED


def test_what_sends_nothing_passes():
    one = "/messages/e8077d803532c0b5937c639b60216938"
    for path in ("/balance", "/messages", one):
        assert BIRD.read(Request("GET", path, "limit=20&offset=0")) is None
    assert BIRD.read(Request("DELETE", one, body=b"{}")) is None
    assert refused(BIRD, Request("DELETE", "/messages")) is Problem.UNKNOWN_PATH
    assert refused(BIRD, Request("POST", one)) is Problem.UNKNOWN_PATH


# -- answers --------------------------------------------------------------------------


def test_an_accepted_message_has_an_item_for_each():
    submission = BIRD.read(to(["+" + MAIJA, PEKKA, LIISA, "nobody"]))
    answer = BIRD.accepted(submission, decided([TAKEN, BLOCKED, REPEATED, INVALID]))
    assert answer.status == 201
    message = body_of(answer)
    assert record_of(message["id"]) == record(1)
    assert message["originator"] == "Acme"
    assert message["reference"] == "order 7"
    recipients = message["recipients"]
    assert recipients["totalCount"] == 3
    assert recipients["totalSentCount"] == 1
    assert recipients["totalDeliveryFailedCount"] == 2
    taken, blocked, invalid = recipients["items"]
    assert (taken["recipient"], taken["status"]) == (int(MAIJA), "sent")
    assert (blocked["recipient"], blocked["status"]) == (int(PEKKA), "delivery_failed")
    assert blocked["statusErrorCode"] == 103
    assert invalid["status"] == "delivery_failed"
    theirs = body_of(asked(standin.answer, to([MAIJA]), **KEY))
    assert message.keys() == theirs.keys()
    assert taken.keys() == theirs["recipients"]["items"][0].keys()


def test_a_scheduled_message_is_accepted_as_such():
    submission = BIRD.read(to([MAIJA], scheduledDatetime="2027-01-01T00:00:00+00:00"))
    recipients = body_of(BIRD.accepted(submission, decided(TAKEN)))["recipients"]
    assert recipients["items"][0]["status"] == "scheduled"
    assert recipients["totalSentCount"] == 0


def test_a_blocked_message_says_so_of_each():
    submission = BIRD.read(to([MAIJA, PEKKA]))
    answer = BIRD.blocked(submission, decided([BLOCKED, BLOCKED]))
    assert {one["statusErrorCode"] for one in body_of(answer)["recipients"]["items"]} == {103}


def test_without_any_number_it_is_the_providers_error():
    submission = BIRD.read(to("nobody"))
    answer = BIRD.accepted(submission, decided(INVALID))
    assert answer.status == 422
    theirs = asked(standin.answer, to("nobody"), **KEY)
    assert body_of(answer)["errors"] == body_of(theirs)["errors"]


def test_a_mixed_answer_has_each_in_its_place():
    submission = BIRD.read(to([MAIJA, PEKKA, LIISA]))
    mixed = decided([BLOCKED, SENT, TAKEN])
    theirs = asked(standin.answer, BIRD.narrowed(submission, mixed.kept()), **KEY)
    merged = body_of(BIRD.merged(theirs, submission, mixed))
    assert merged["id"] == body_of(theirs)["id"]
    items = merged["recipients"]["items"]
    assert [one["recipient"] for one in items] == [int(MAIJA), int(PEKKA), int(LIISA)]
    assert [one["status"] for one in items] == ["delivery_failed", "sent", "sent"]
    assert items[1] == body_of(theirs)["recipients"]["items"][0]
    assert merged["recipients"]["totalCount"] == 3
    assert merged["recipients"]["totalSentCount"] == 2
    assert BIRD.told(theirs, submission, mixed) == [Told.ACCEPTED]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"recipients": {"items": 1}}'])
def test_an_answer_of_another_shape_is_left_alone(body):
    submission = BIRD.read(to([MAIJA, PEKKA]))
    mixed = decided([SENT, BLOCKED])
    answer = Answer(201, body)
    assert BIRD.merged(answer, submission, mixed) == answer
    assert BIRD.told(answer, submission, mixed) == [Told.ACCEPTED]


def test_each_item_tells():
    submission = BIRD.read(to([f"+{MAIJA}", PEKKA]))
    failed = {"recipient": int(MAIJA), "status": "delivery_failed"}
    sent = {"recipient": int(PEKKA), "status": "sent"}
    answer = Answer(201, json.dumps({"recipients": {"items": [sent, failed]}}).encode())
    both = decided([SENT, SENT])
    assert BIRD.told(answer, submission, both) == [Told.REFUSED, Told.ACCEPTED]
    assert BIRD.told(Answer(422), submission, both) == [Told.REFUSED] * 2
    assert BIRD.told(Answer(429), submission, both) == [Told.LATER] * 2


@pytest.mark.parametrize("problem", Problem)
def test_a_problem_is_a_list_of_errors(problem):
    answer = BIRD.problem(problem, "what to do")
    assert answer.status == (422 if problem.status in (400, 415) else problem.status)
    (error,) = body_of(answer)["errors"]
    assert error["description"] == "what to do"
    assert isinstance(error["code"], int)
    assert "parameter" in error


# -- status reports -------------------------------------------------------------------


def test_a_report_is_a_get_that_tells_of_the_opt_out():
    submission = BIRD.read(to([MAIJA, f"+{PEKKA}"], reportUrl="https://tool.example/r?a=1"))
    report = BIRD.report(submission, decided([TAKEN, TAKEN]), 0, 1, "")
    assert (report.method, report.body, report.headers) == ("GET", b"", ())
    fields = dict(parse_qsl(urlsplit(report.url).query))
    assert report.url.startswith("https://tool.example/r?a=1&")
    assert record_of(fields["id"]) == record(1)
    assert fields["recipient"] == PEKKA
    assert fields["reference"] == "order 7"
    assert fields["status"] == "delivery_failed"
    assert fields["statusErrorCode"] == "103"
    assert fields["statusDatetime"] == "2025-01-01T00:00:00+00:00"


def test_a_report_is_signed():
    submission = BIRD.read(to([MAIJA], reportUrl="https://tool.example/r"))
    report = BIRD.report(submission, decided(TAKEN), 0, 0, "key")
    head, claims, made = dict(report.headers)["MessageBird-Signature-JWT"].split(".")
    right = hmac.new(b"key", f"{head}.{claims}".encode(), hashlib.sha256).digest()
    assert base64.urlsafe_b64decode(made + "=") == right
    said = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    assert said["iss"] == "MessageBird"
    assert said["url_hash"] == hashlib.sha256(report.url.encode()).hexdigest()
    assert "payload_hash" not in said
    assert said["nbf"] < said["exp"]


def test_no_report_where_none_is_asked_for():
    assert BIRD.report(BIRD.read(to([MAIJA])), decided(TAKEN), 0, 0, "") is None


# -- the property ---------------------------------------------------------------------


def test_the_stand_in_wants_an_access_key():
    assert asked(standin.answer, to([MAIJA])).status == 401
    assert asked(standin.answer, to([MAIJA]), Authorization="Bearer 12345678").status == 401


DOCUMENTED = (
    "id href direction type originator body reference reportUrl validity gateway typeDetails"
    " datacoding mclass shortenUrls scheduledDatetime createdDatetime"
)


def held(request: Request) -> list[str]:
    body = body_of(request)
    assert not body.get("groupIds")
    listed = body["recipients"]
    return [str(one) for one in listed] if isinstance(listed, list) else listed.split(",")


@settings(deadline=None)
@given(
    st.data(),
    st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=6, unique=True),
    extras(DOCUMENTED),
)
def test_nobody_is_forwarded_whom_the_gateway_did_not_see(data, numbers, more):
    listed = data.draw(st.sampled_from([",".join(numbers), numbers, [int(one) for one in numbers]]))
    body = BODY | {"recipients": listed} | more

    def chosen(read):
        places = range(len(read))
        return sorted(data.draw(st.sets(st.sampled_from(places)))) if read else []

    checked(BIRD, document(PATH, body), chosen, held)
