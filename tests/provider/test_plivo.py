"""Plivo: destinations joined by ``<``, an id for each, other message types refused."""

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
from tests.peers.standins import plivo as standin
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

PLIVO = find_adapter("plivo")
ACCOUNT = "/v1/Account/MAXXXXXXXXXXXXXXXXXX"
PATH = f"{ACCOUNT}/Message/"
MAIJA, PEKKA, LIISA = PEOPLE[:3]
KEY = {"Authorization": "Basic " + base64.b64encode(b"MAXXXXXXXXXXXXXXXXXX:token").decode()}
BODY = {"src": "14156667777", "text": "Moi ä", "type": "sms", "log": "true", "trackable": False}


def to(*numbers: str, **more) -> Request:
    return document(PATH, BODY | {"dst": "<".join(numbers)} | more)


def test_each_destination_is_read():
    submission = PLIVO.read(to(MAIJA, f"+{PEKKA}", url="https://tool.example/status"))
    (message,) = submission.messages
    assert message.sender == "14156667777"
    assert message.text == "Moi ä"
    assert message.destinations == (MAIJA, f"+{PEKKA}")
    assert message.report_url == "https://tool.example/status"
    assert not submission.refuses
    assert not submission.scheduled


def test_the_sender_may_be_a_powerpack():
    body = {"dst": int(MAIJA), "powerpack_uuid": "86bbb125", "media_urls": ["https://x.example/a"]}
    (message,) = PLIVO.read(document(PATH, body | {"type": "mms"})).messages
    assert message == ("86bbb125", None, (MAIJA,), "")


def test_only_those_kept_leave_and_nothing_else_changes():
    submission = PLIVO.read(to(MAIJA, f"+{PEKKA}", LIISA))
    left = body_of(PLIVO.narrowed(submission, [[1, 2]]))
    assert left == BODY | {"dst": f"+{PEKKA}<{LIISA}"}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"Dst": PEKKA}, Problem.MALFORMED),
        ({"dst[]": PEKKA}, Problem.MALFORMED),
        ({"to": PEKKA}, Problem.HIDDEN_RECIPIENTS),
        ({"dst": [MAIJA, PEKKA]}, Problem.MALFORMED),
        ({"dst": {"number": MAIJA}}, Problem.MALFORMED),
        ({"dst": ""}, Problem.MALFORMED),
        ({"dst": "<"}, Problem.MALFORMED),
        ({"dst": None}, Problem.MALFORMED),
        ({"dst": "<".join([MAIJA] * 1001)}, Problem.TOO_MANY),
        ({"type": "whatsapp"}, Problem.MALFORMED),
        ({"type": "SMS"}, Problem.MALFORMED),
        ({"template": {"name": "x"}}, Problem.HIDDEN_RECIPIENTS),
        ({"fallback": {"dst": PEKKA}}, Problem.HIDDEN_RECIPIENTS),
    ],
)
def test_another_place_for_a_recipient_is_refused(more, problem):
    assert refused(PLIVO, to(MAIJA, **more)) is problem


@pytest.mark.parametrize(
    "path",
    [
        f"{ACCOUNT}/Message",
        f"{ACCOUNT}/message/",
        f"{ACCOUNT}/MESSAGE/",
        f"{ACCOUNT}//Message/",
        f"{ACCOUNT}/Call/",
        f"{ACCOUNT}/Verify/Session/",
        f"{ACCOUNT}/Session/",
        f"{ACCOUNT}/Powerpack/",
        "/v1/account/MAXXXXXXXXXXXXXXXXXX/Message/",
        "/v1/Account/../Account/MAXXXXXXXXXXXXXXXXXX/Message/",
        "/v2/Account/MAXXXXXXXXXXXXXXXXXX/Message/",
    ],
)
def test_other_ways_of_sending_are_refused(path):
    assert refused(PLIVO, to(MAIJA)._replace(path=path)) is Problem.UNKNOWN_PATH


def test_other_bodies_are_refused():
    assert refused(PLIVO, form(PATH, BODY | {"dst": MAIJA})) is Problem.WRONG_TYPE
    assert refused(PLIVO, to(MAIJA)._replace(query="dst=1")) is Problem.MALFORMED


def test_what_only_reads_passes():
    one = f"{PATH}5b40a428-bfc7-4daf-9d06-726c558bf3b8/"
    for path in (f"{ACCOUNT}/", PATH, one, f"{one}Media/"):
        assert PLIVO.read(Request("GET", path, "limit=20")) is None
        assert asked(standin.answer, Request("GET", path), **KEY).status == 200
    assert refused(PLIVO, Request("DELETE", one)) is Problem.UNKNOWN_PATH


# -- answers --------------------------------------------------------------------------


def test_an_accepted_message_has_an_id_for_each_number():
    submission = PLIVO.read(to(MAIJA, "nobody", PEKKA, MAIJA))
    answer = PLIVO.accepted(submission, decided([TAKEN, INVALID, TAKEN, REPEATED]))
    assert answer.status == 202
    body = body_of(answer)
    assert [record_of(one) for one in body["message_uuid"]] == [record(1), record(2)]
    assert body["invalid_number"] == ["nobody"]
    theirs = body_of(asked(standin.answer, to(MAIJA, "nobody"), **KEY))
    assert body.keys() == theirs.keys()


def test_a_blocked_message_is_an_error():
    submission = PLIVO.read(to(MAIJA, PEKKA))
    answer = PLIVO.blocked(submission, decided([BLOCKED, BLOCKED]))
    assert answer.status == 400
    assert body_of(answer).keys() == {"api_id", "error"}


def test_without_any_number_it_is_an_error():
    submission = PLIVO.read(to("nobody"))
    assert PLIVO.accepted(submission, decided(INVALID)).status == 400


def test_a_mixed_answer_has_each_in_its_place():
    numbers = PEOPLE[:6]
    submission = PLIVO.read(to(*numbers))
    mixed = decided([TAKEN, SENT, BLOCKED, INVALID, REPEATED, SENT])
    theirs = asked(standin.answer, PLIVO.narrowed(submission, mixed.kept()), **KEY)
    first, second = body_of(theirs)["message_uuid"]
    merged = body_of(PLIVO.merged(theirs, submission, mixed))
    ours, *rest = merged["message_uuid"]
    assert record_of(ours) == record(1)
    assert rest == [first, second]
    assert merged["invalid_number"] == [numbers[2], numbers[3]]
    assert merged["api_id"] == body_of(theirs)["api_id"]
    assert PLIVO.told(theirs, submission, mixed) == [Told.ACCEPTED] * 2


def test_a_number_that_the_provider_finds_invalid_gets_no_id():
    submission = PLIVO.read(to(f"+{MAIJA}", PEKKA, LIISA))
    mixed = decided([SENT, TAKEN, SENT])
    body = {"api_id": "a", "message_uuid": ["theirs"], "invalid_number": [MAIJA]}
    answer = Answer(202, json.dumps(body).encode())
    merged = body_of(PLIVO.merged(answer, submission, mixed))
    ours, last = merged["message_uuid"]
    assert record_of(ours) == record(2)
    assert last == "theirs"
    assert PLIVO.told(answer, submission, mixed) == [Told.REFUSED, Told.ACCEPTED]


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"message_uuid": 1}', b"1"])
def test_an_answer_of_another_shape_is_left_alone(body):
    submission = PLIVO.read(to(MAIJA, PEKKA))
    mixed = decided([SENT, TAKEN])
    answer = Answer(202, body)
    assert PLIVO.merged(answer, submission, mixed) == answer
    assert PLIVO.told(answer, submission, mixed) == [Told.ACCEPTED]


def test_the_status_tells_of_all():
    submission = PLIVO.read(to(MAIJA, PEKKA))
    both = decided([SENT, SENT])
    assert PLIVO.told(Answer(400), submission, both) == [Told.REFUSED] * 2
    assert PLIVO.told(Answer(503), submission, both) == [Told.LATER] * 2


@pytest.mark.parametrize("problem", Problem)
def test_a_problem_is_an_error(problem):
    answer = PLIVO.problem(problem, "what to do")
    assert answer.status == problem.status
    assert body_of(answer) == {"error": "what to do"}


# -- callbacks ------------------------------------------------------------------------


def right_signature(url: str, headers: dict) -> bool:
    nonce = headers["X-Plivo-Signature-V2-Nonce"]
    base = url.partition("?")[0]
    made = hmac.new(b"token", f"{base}{nonce}".encode(), hashlib.sha256).digest()
    return headers["X-Plivo-Signature-V2"] == base64.b64encode(made).decode()


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_a_callback_tells_of_the_opt_out(method):
    submission = PLIVO.read(to(MAIJA, f"+{PEKKA}", url="https://tool.example/s", method=method))
    report = PLIVO.report(submission, decided([TAKEN, TAKEN]), 0, 1, "token")
    assert report.method == method
    if method == "POST":
        assert report.url == "https://tool.example/s"
        fields = dict(parse_qsl(report.body.decode()))
    else:
        assert report.body == b""
        fields = dict(parse_qsl(urlsplit(report.url).query))
    assert fields["Status"] == "failed"
    assert fields["ErrorCode"] == "200"
    assert fields["To"] == PEKKA
    assert fields["From"] == "14156667777"
    assert record_of(fields["MessageUUID"]) == record(2)
    assert right_signature(report.url, dict(report.headers))


def test_a_callback_without_a_secret_is_not_signed():
    submission = PLIVO.read(to(MAIJA, url="https://tool.example/s"))
    report = PLIVO.report(submission, decided(TAKEN), 0, 0, "")
    assert [name for name, _ in report.headers] == ["Content-Type"]
    assert PLIVO.report(PLIVO.read(to(MAIJA)), decided(TAKEN), 0, 0, "") is None


# -- the property ---------------------------------------------------------------------


def test_the_stand_in_wants_the_accounts_credential():
    assert asked(standin.answer, to(MAIJA)).status == 401
    other = base64.b64encode(b"MAYYYYYYYYYYYYYYYYYY:token").decode()
    assert asked(standin.answer, to(MAIJA), Authorization=f"Basic {other}").status == 401


DOCUMENTED = (
    "src text type url method log trackable powerpack_uuid media_urls media_ids message_expiry"
    " dlt_entity_id dlt_template_id dlt_template_category"
)


def held(request: Request) -> list[str]:
    return body_of(request)["dst"].split("<")


@settings(deadline=None)
@given(
    st.data(),
    st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=6, unique=True),
    extras(DOCUMENTED),
)
def test_nobody_is_forwarded_whom_the_gateway_did_not_see(data, numbers, more):
    body = BODY | {"dst": "<".join(numbers)} | more

    def chosen(read):
        return sorted(data.draw(st.sets(st.sampled_from(range(len(read))))))

    checked(PLIVO, document(PATH, body), chosen, held)
