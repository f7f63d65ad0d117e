"""A provider made from a table: only what the table names goes on, and only to whom it may."""

import asyncio
import json
import re
import tomllib
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from gateway.contacts.destination import Notation
from gateway.provider.adapter import Adapter
from gateway.provider.credential import Basic, Credential, Header, Query, Token
from gateway.provider.identifier import uuid_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import FORM, JSON, Answer, Request
from gateway.provider.submission import Decided, Fate, Told
from gateway.provider.table import Table, TableShape
from tests.peers.standins import table as standin

PAGE = Path(__file__).parents[2] / "docs" / "sms-providers.md"
EXAMPLE = tomllib.loads(re.search(r"```toml\n(.*?)```", PAGE.read_text(), re.S)[1])
SHAPE = TypeAdapter(TableShape).validate_python(EXAMPLE["sms"]["providers"][0])
OPERATOR = Table(SHAPE)
SENT = json.loads(re.search(r"```\nPOST /v2/messages\n(.*?)```", PAGE.read_text(), re.S)[1])

FLAT = TableShape(
    name="flat",
    base_url="http://sms.example",
    sends=("/send",),
    recipients="to",
    accepted="OK {id} {to}",
    refused="ERROR {code}: {text}",
)
RECORD = "01JGFJJZ00ABCDEFGHJKMNPQRS"


def post(document, path="/v2/messages", **more) -> Request:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = (("Content-Type", JSON), ("X-Api-Key", "gateway-token"))
    return Request("POST", path, "", headers, body)._replace(**more)


def form(pairs, **more) -> Request:
    pairs = list(pairs.items()) if isinstance(pairs, dict) else pairs
    return post(urlencode(pairs).encode(), "/send", headers=(("Content-Type", FORM),), **more)


def refused(adapter: Adapter, request: Request) -> Problem:
    with pytest.raises(Refusal) as caught:
        adapter.read(request)
    assert "35840" not in str(caught.value)
    return caught.value.problem


def decided(*fates) -> Decided:
    return Decided(fates, [[RECORD] * len(each) for each in fates], 1_735_689_600_000)


# -- the page's example -------------------------------------------------------------


def test_the_example_is_read():
    submission = OPERATOR.read(post(SENT))
    first, second = submission.messages
    assert first == ("Kauppa", "Moi", ("358401234567", "358401234568"), "")
    assert second == ("Kauppa", "Hei", ("358401234569",), "")
    assert submission.refuses and not submission.scheduled
    assert OPERATOR.notation is Notation.INTERNATIONAL
    assert (OPERATOR.name, OPERATOR.title) == ("our-operator", "Our operator")
    assert OPERATOR.base_url == "https://sms.operator.example"
    assert OPERATOR.read(post(SENT | {"send_at": "2026-01-01"})).scheduled


@pytest.mark.parametrize(
    ("kept", "left"),
    [
        ([[0, 1], [0]], [["358401234567", "358401234568"], ["358401234569"]]),
        ([[1], [0]], [["358401234568"], ["358401234569"]]),
        ([[0], []], [["358401234567"]]),
        ([[], [0]], [["358401234569"]]),
    ],
)
def test_only_those_who_are_kept_leave_and_nothing_else_changes(kept, left):
    request = post(SENT)
    narrowed = OPERATOR.narrowed(OPERATOR.read(request), kept)
    expected = json.loads(request.body)
    expected["messages"] = [
        {**message, "to": [message["to"][place] for place in places]}
        for message, places in zip(SENT["messages"], kept, strict=True)
        if places
    ]
    assert json.loads(narrowed.body) == expected
    assert [message["to"] for message in expected["messages"]] == left
    assert narrowed._replace(body=b"") == request._replace(body=b"")


def from_standin(request: Request) -> Answer:
    mocked = make_mocked_request(request.method, request.path, headers=list(request.headers))
    response = asyncio.run(standin.answer(mocked, request.body))
    return Answer(response.status, response.body, response.content_type)


def test_the_stand_in_takes_what_leaves_and_answers_alike():
    submission = OPERATOR.read(post(SENT))
    (scheme,) = OPERATOR.schemes
    assert scheme.shows(submission.request, Credential("", "gateway-token"))
    narrowed = OPERATOR.narrowed(submission, [[1], []])
    answer = from_standin(scheme.write(narrowed, Credential("", "providers-key")))
    fates = decided([Fate.BLOCKED, Fate.SENT], [Fate.BLOCKED])
    merged = OPERATOR.merged(answer, submission, fates)
    ours = OPERATOR.accepted(submission, decided([Fate.TAKEN] * 2, [Fate.TAKEN]))
    assert OPERATOR.usable(answer) and merged.status == ours.status == 202
    assert json.loads(merged.body).keys() == json.loads(ours.body).keys()
    assert json.loads(ours.body) == {"id": uuid_of(RECORD), "status": "queued"}
    assert OPERATOR.told(answer, submission, fates) == [Told.ACCEPTED]
    assert from_standin(narrowed.with_headers({"X-Api-Key": None})).status == 401
    assert from_standin(post(b"{")).status == 400
    assert from_standin(post({})).status == 422
    assert OPERATOR.read(Request("GET", "/v2/balance")) is None
    balance = Request("GET", "/v2/balance", headers=narrowed.headers)
    assert from_standin(balance).status == 200


def test_refusals_have_the_providers_form():
    submission = OPERATOR.read(post(SENT))
    answer = OPERATOR.blocked(submission, decided([Fate.BLOCKED] * 2, [Fate.BLOCKED]))
    assert answer.status == 403
    error = json.loads(answer.body)["error"]
    assert error == {"code": "blacklisted", "message": "The recipient has opted out"}
    for problem in Problem:
        answer = OPERATOR.problem(problem, 'it is "wrong"')
        assert answer.status == problem.status
        assert json.loads(answer.body)["error"]["message"] == 'it is "wrong"'
        assert json.loads(answer.body)["error"]["code"] == problem.name.lower()


def test_templates_of_text():
    adapter = Table(FLAT)
    submission = adapter.read(post({"to": ["+358401234567", "+358401234568"]}, "/send"))
    answer = adapter.accepted(submission, decided([Fate.TAKEN] * 2))
    assert answer.body == f"OK {uuid_of(RECORD)} +358401234567,+358401234568".encode()
    assert answer.content_type.startswith("text/plain")
    assert adapter.blocked(submission, decided([Fate.BLOCKED] * 2)).body.startswith(
        b"ERROR opted_out: "
    )
    assert adapter.usable(Answer(200, b"OK", "text/plain"))
    assert not adapter.usable(Answer(200, b"<html>", "text/html"))
    assert not OPERATOR.usable(Answer(200, b"OK", "text/plain"))


# -- what is refused ----------------------------------------------------------------


def changed(where: str, key: str, value) -> dict:
    document = json.loads(json.dumps(SENT))
    if where == "messages[]":
        document["messages"][1][key] = value
    else:
        document[key] = value
    return document


@pytest.mark.parametrize("where", ["", "messages[]"])
@pytest.mark.parametrize(
    "key",
    ["To", "to[]", "cc", "groups", "recipients", "messages.to", "", "to ", "fallback", "ｔｏ"],
)
def test_a_member_that_is_not_named_is_refused(where, key):
    problem = refused(OPERATOR, post(changed(where, key, "358401234560")))
    assert problem is Problem.HIDDEN_RECIPIENTS


def test_a_key_that_spells_a_place_is_not_that_place():
    adapter = Table(replace(FLAT, recipients="message.to", others=("options.flash",)))
    document = {"message": {"to": "+358401234567"}}
    assert adapter.read(post(document, "/send")).messages[0].destinations == ("+358401234567",)
    for key in ("message.to", "options.flash"):
        problem = refused(adapter, post(document | {key: "+358401234568"}, "/send"))
        assert problem is Problem.HIDDEN_RECIPIENTS


def test_the_last_of_doubled_members_alone_leaves():
    body = b'{"to": "+358401234568", "to": "+358401234567", "text": "Moi"}'
    submission = Table(FLAT).read(post(body, "/send"))
    assert submission.messages[0].destinations == ("+358401234567",)
    assert b"358401234568" not in Table(FLAT).narrowed(submission, [[0]]).body


@pytest.mark.parametrize(
    "document",
    [
        [],
        "x",
        {},
        {"messages": []},
        {"messages": {}},
        {"messages": "x"},
        {"messages": [[]]},
        {"messages": ["358401234567"]},
        {"messages": [{"to": None}]},
        {"messages": [{"to": ""}]},
        {"messages": [{"to": []}]},
        {"messages": [{"to": {"number": "358401234567"}}]},
        {"messages": [{"to": [["358401234567"]]}]},
        {"messages": [{"to": [True]}]},
        {"messages": [{"to": [358401234567.0]}]},
        {"messages": [{"to": ["358401234567"], "text": ["Moi"]}]},
        {"messages": [{"to": ["358401234567"], "text": "Moi"}], "from": {}},
    ],
)
def test_another_shape_is_malformed(document):
    assert refused(OPERATOR, post(document)) is Problem.MALFORMED


def test_other_paths_methods_and_queries():
    for path in ("/V2/messages", "/v2/messages/", "/v2//messages", "/v2/message%73", "/v2"):
        assert refused(OPERATOR, post(SENT, path)) is Problem.UNKNOWN_PATH
    for method in ("GET", "PUT", "post", "PATCH"):
        assert refused(OPERATOR, post(SENT, method=method)) is Problem.UNKNOWN_PATH
    assert refused(OPERATOR, post(SENT, query="to=358401234567")) is Problem.MALFORMED
    assert refused(OPERATOR, post(SENT, headers=())) is Problem.WRONG_TYPE
    balance = Request("GET", "/v2/balance", body=b"x")
    assert refused(OPERATOR, balance) is Problem.MALFORMED
    dotted = Table(replace(FLAT, sends=("/a.b",)))
    assert refused(dotted, post({"to": "1"}, "/aXb")) is Problem.UNKNOWN_PATH


def test_more_recipients_than_the_most():
    several = {"from": "K", "messages": [{"to": ["358401234567"] * 251, "text": "x"}] * 2}
    assert refused(OPERATOR, post(several)) is Problem.TOO_MANY


# -- other shapes -------------------------------------------------------------------


def test_one_text_with_a_separator():
    adapter = Table(replace(FLAT, separator=";"))
    submission = adapter.read(post({"to": "+358401234567;+358401234568;1,2", "text": "x"}, "/send"))
    assert submission.messages[0].destinations == ("+358401234567", "+358401234568", "1,2")
    narrowed = adapter.narrowed(submission, [[1]])
    assert json.loads(narrowed.body) == {"to": "+358401234568", "text": "x"}
    listed = adapter.read(post({"to": ["1;2", 358401234567]}, "/send"))
    assert listed.messages[0].destinations == ("1;2", "358401234567")
    assert json.loads(adapter.narrowed(listed, [[1]]).body) == {"to": [358401234567]}


def test_objects_of_recipients_share_a_text_outside_of_their_list():
    shape = replace(FLAT, recipients="batch.people[].number", text="batch.text", sender="from")
    adapter = Table(shape)
    people = [{"number": 358401234567}, {"number": "+358401234568"}]
    document = {"from": 16400, "batch": {"text": "Moi", "people": people}}
    submission = adapter.read(post(document, "/send"))
    assert submission.messages == (
        ("16400", "Moi", ("358401234567",), ""),
        ("16400", "Moi", ("+358401234568",), ""),
    )
    narrowed = json.loads(adapter.narrowed(submission, [[], [0]]).body)
    assert narrowed == {"from": 16400, "batch": {"text": "Moi", "people": people[1:]}}


FORMED = Table(replace(FLAT, body="form", separator=",", sender="from", others=("dlr",)))


def test_a_form():
    pairs = {"from": "Kauppa", "to": "+358401234567,+358401234568", "text": "Moi ä&", "dlr": "1"}
    submission = FORMED.read(form(pairs))
    (message,) = submission.messages
    assert message == ("Kauppa", "Moi ä&", ("+358401234567", "+358401234568"), "")
    narrowed = FORMED.narrowed(submission, [[1]])
    assert parse_qsl(narrowed.body.decode()) == list((pairs | {"to": "+358401234568"}).items())


@pytest.mark.parametrize("name", ["to", "to[]", "TO", "to.0", "cc", "dlr", "text", "group"])
def test_a_forms_field_that_stands_twice_or_is_not_named(name):
    pairs = [("to", "+358401234567"), ("text", "Moi"), ("dlr", "1"), (name, "+358401234568")]
    assert refused(FORMED, form(pairs)) in (Problem.MALFORMED, Problem.HIDDEN_RECIPIENTS)


@pytest.mark.parametrize(
    ("text", "scheme"),
    [
        ("basic", Basic()),
        ("bearer", Token("Bearer")),
        ("token:AccessKey", Token("AccessKey")),
        ("header:X-Api-Key", Header("X-Api-Key")),
        ("query:token", Query("token")),
    ],
)
def test_credentials(text, scheme):
    adapter = Table(replace(FLAT, credential=text))
    assert adapter.schemes == (scheme,)
    one, other = Credential("", "one"), Credential("", "other")
    request = scheme.write(post({"to": "+358401234567"}, "/send"), one)
    assert scheme.shows(request, one) and not scheme.shows(request, other)
    assert scheme.shows(scheme.write(request, other), other)
    assert adapter.read(request).messages[0].destinations == ("+358401234567",)


# -- settings that are wrong --------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "setting"),
    [
        ({"name": ""}, "name"),
        ({"name": "Our Operator"}, "name"),
        ({"name": "twilio"}, "name"),
        ({"base_url": "sms.example"}, "base_url"),
        ({"base_url": "https://sms.example/api"}, "base_url"),
        ({"base_url": "ftp://sms.example"}, "base_url"),
        ({"sends": ()}, "sends"),
        ({"sends": ("send",)}, "sends"),
        ({"sends": ("/send?x=1",)}, "sends"),
        ({"reads": ("/.*", "/a b")}, "reads"),
        ({"recipients": ""}, "recipients"),
        ({"recipients": "a..b"}, "recipients"),
        ({"recipients": "to[]"}, "recipients"),
        ({"recipients": "a[].b[].c"}, "recipients"),
        ({"text": "to"}, "text"),
        ({"text": "list[].text"}, "text"),
        ({"sender": "text"}, "sender"),
        ({"others": ("To",)}, "others"),
        ({"others": ("t-o",)}, "others"),
        ({"recipients": "message.to", "others": ("message",)}, "others"),
        ({"recipients": "list[].to", "others": ("list",)}, "others"),
        ({"others": ("to.more",)}, "others"),
        ({"scheduled": ("at",)}, "scheduled"),
        ({"body": "form", "recipients": "message.to"}, "recipients"),
        ({"body": "form", "others": ("a.b",)}, "others"),
        ({"separator": "1"}, "separator"),
        ({"separator": "+"}, "separator"),
        ({"credential": "digest"}, "credential"),
        ({"credential": "header:"}, "credential"),
        ({"credential": "header:X Y"}, "credential"),
        ({"credential": "basic:x"}, "credential"),
        ({"accepted_status": 404}, "accepted_status"),
        ({"refused_status": 200}, "refused_status"),
        ({"most": 0}, "most"),
        ({"accepted": "{code}"}, "accepted"),
        ({"accepted": '{"id": {id}}'}, "accepted"),
        ({"refused": '{"error": "{id}"}'}, "refused"),
        ({"refused": '{"error": '}, "refused"),
    ],
)
def test_what_is_wrong_names_its_setting(wrong, setting):
    with pytest.raises(ValueError, match=f"^{setting}: "):
        replace(FLAT, **wrong)


def test_a_setting_that_is_not_known_is_refused():
    table = EXAMPLE["sms"]["providers"][0] | {"recipient": "to"}
    with pytest.raises(ValidationError, match="recipient"):
        TypeAdapter(TableShape).validate_python(table)


# -- whatever the request's shape ---------------------------------------------------

numbers = st.integers(0, 40).map(lambda tail: f"3584012345{tail:02}")
words = st.text("abc", max_size=3)
keys = st.sampled_from(["to", "To", "text", "from", "cc", "messages", "reference", "validity"])
values = st.recursive(
    numbers | words | st.none() | st.lists(numbers, max_size=3),
    lambda inner: st.dictionaries(keys, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=6,
)
messages = st.lists(
    st.fixed_dictionaries(
        {"to": st.lists(numbers, min_size=1, max_size=4) | numbers | values, "text": words},
        optional={"reference": words, "cc": values, "To": values},
    ),
    min_size=1,
    max_size=3,
)
documents = st.fixed_dictionaries(
    {"messages": messages | values},
    optional={"from": words, "validity": words, "to": values, "cc": values},
)


def numbers_in(value) -> list[str]:
    return re.findall("35840[0-9]{7}", json.dumps(value))


@given(documents, st.data())
@settings(deadline=None, max_examples=500)
def test_of_a_list_only_those_who_are_kept_leave(document, data):
    check(OPERATOR, post(document), data)


@given(
    st.dictionaries(keys, values, max_size=4)
    | st.fixed_dictionaries({"to": st.lists(numbers, min_size=1)}, optional={"text": words}),
    st.data(),
)
@settings(deadline=None, max_examples=500)
def test_of_a_flat_object_only_those_who_are_kept_leave(document, data):
    check(Table(FLAT), post(document, "/send"), data)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["to", "text", "To", "to[]", "dlr", "cc", "from"]),
            words | st.lists(numbers, min_size=1, max_size=4).map(",".join),
        ),
        max_size=4,
    ),
    st.data(),
)
@settings(deadline=None, max_examples=500)
def test_of_a_form_only_those_who_are_kept_leave(pairs, data):
    check(FORMED, form(pairs), data)


def check(adapter: Table, request: Request, data) -> None:
    try:
        submission = adapter.read(request)
    except Refusal:
        return
    destinations = [message.destinations for message in submission.messages]
    kept = [sorted(data.draw(st.sets(st.sampled_from(range(len(each)))))) for each in destinations]
    if not any(kept):
        return
    body = adapter.narrowed(submission, kept).body
    if adapter is FORMED:
        written = dict(parse_qsl(body.decode(), keep_blank_values=True, strict_parsing=True))
    else:
        written = json.loads(body)
    left = [destinations[number][place] for number, places in enumerate(kept) for place in places]
    assert numbers_in(recipients_of(written)) == [one for one in left if numbers_in(one)]


def recipients_of(value):
    """All of a document that is not text, sender or one of the others."""
    if isinstance(value, dict):
        rest = {"text", "from", "reference", "validity", "dlr"}
        return {key: recipients_of(one) for key, one in value.items() if key not in rest}
    return [recipients_of(one) for one in value] if isinstance(value, list) else value
