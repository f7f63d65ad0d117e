"""GatewayAPI: no recipient leaves that was not read, in whatever form it is written."""

import base64
from urllib.parse import parse_qsl

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.provider.problem import Problem
from gateway.provider.registry import find_adapter
from tests.provider.deciding import (
    PEOPLE,
    STRANGERS,
    body_of,
    checked,
    document,
    extras,
    form,
    refused,
)

GATEWAYAPI = find_adapter("gatewayapi")
PATH = "/rest/mtsms"
BASIC = ("Authorization", f"Basic {base64.b64encode(b'Go-Token:').decode()}")
BODY = {"message": "Moi", "sender": "Acme", "recipients": [{"msisdn": PEOPLE[0]}]}
FIELDS = [
    ("message", "Moi"),
    ("sender", "Acme"),
    ("recipients.0.msisdn", PEOPLE[0]),
    ("recipients.1.msisdn", PEOPLE[1]),
]


def message(**changed):
    return document(PATH, {**BODY, **changed}, BASIC)


@pytest.mark.parametrize(
    "changed",
    [
        {"Recipients": [{"msisdn": PEOPLE[3]}]},
        {"recipients.1.msisdn": PEOPLE[3]},
        {"recipients[]": PEOPLE[3]},
        {"to": PEOPLE[3]},
        {"group": 7},
        {"recipients": [{"msisdn": PEOPLE[0], "group": 7}]},
        {"recipients": [{"msisdn": PEOPLE[0], "number": STRANGERS[0], "countrycode": 46}]},
        {"recipients": [{"msisdn": PEOPLE[0], "MSISDN": PEOPLE[1]}]},
    ],
)
def test_hidden_recipients_are_refused(changed):
    assert refused(GATEWAYAPI, message(**changed)) is Problem.HIDDEN_RECIPIENTS


@pytest.mark.parametrize(
    "recipients",
    [None, [], {}, PEOPLE[0], [PEOPLE[0]], [{}], [{"msisdn": [PEOPLE[0]]}], [{"msisdn": None}]],
)
def test_recipients_of_another_form_are_refused(recipients):
    assert refused(GATEWAYAPI, message(recipients=recipients)) is Problem.MALFORMED


@pytest.mark.parametrize("body", [[], None, 1, "x", [[BODY]], {"messages": [BODY]}])
def test_bodies_of_another_form_are_refused(body):
    refused(GATEWAYAPI, document(PATH, body, BASIC))


@pytest.mark.parametrize(
    "pair",
    [
        ("recipients.0.msisdn", PEOPLE[2]),
        ("recipients.00.msisdn", PEOPLE[2]),
        ("recipients.01.msisdn", PEOPLE[2]),
        ("Recipients.2.msisdn", PEOPLE[2]),
        ("recipients.2.MSISDN", PEOPLE[2]),
        ("recipients[2][msisdn]", PEOPLE[2]),
        ("recipients.2.number", PEOPLE[2]),
        ("recipients.2.msisdn.0", PEOPLE[2]),
        ("recipients.2", PEOPLE[2]),
        ("recipients", PEOPLE[2]),
        ("1.recipients.0.msisdn", PEOPLE[2]),
        ("recipients.2.tagvalues.0", "x"),
        ("recipients.-1.msisdn", PEOPLE[2]),
        ("recipients.\u0662.msisdn", PEOPLE[2]),
        ("sender", "Other"),
        ("to", PEOPLE[2]),
    ],
)
def test_odd_fields_are_refused(pair):
    problem = refused(GATEWAYAPI, form(PATH, [*FIELDS, pair], BASIC))
    assert problem in (Problem.HIDDEN_RECIPIENTS, Problem.MALFORMED)


def numbers_in(request):
    """The numbers that the provider would send to."""
    if request.header("content-type").startswith("application/x-www-form"):
        pairs = parse_qsl(request.body.decode())
        return [value for name, value in pairs if name.endswith("msisdn")]
    found = body_of(request)
    messages = found if isinstance(found, list) else [found]
    return [str(one["msisdn"]) for message in messages for one in message["recipients"]]


recipients = st.fixed_dictionaries(
    {"msisdn": st.sampled_from(PEOPLE) | st.sampled_from(PEOPLE).map(int)},
    optional={"tagvalues": st.just(["a"]), "charge": st.just({"amount": 1.5})},
)
messages = st.fixed_dictionaries(
    {"recipients": st.lists(recipients, max_size=3), "message": st.just("x")},
    optional={"sender": st.just("Acme"), "label": st.just("l")},
)
KNOWN = "recipients message sender label tags class msisdn"


def choosing(data):
    """Keep some people, wherever they stand."""
    kept = data.draw(st.sets(st.sampled_from(PEOPLE)))
    return lambda destinations: [n for n, one in enumerate(destinations) if one in kept]


@settings(max_examples=150)
@given(st.lists(messages, min_size=1, max_size=3), extras(KNOWN), st.data())
def test_nobody_leaves_who_was_not_read_and_kept(bodies, more, data):
    holders = [*bodies, *(one for body in bodies for one in body["recipients"])]
    data.draw(st.sampled_from(holders)).update(more)
    whole = bodies[0] if len(bodies) == 1 and data.draw(st.booleans()) else bodies
    checked(GATEWAYAPI, document(PATH, whole, BASIC), choosing(data), numbers_in)


places = st.sampled_from(["0", "1", "2", "00", "10"])
fields = st.tuples(
    st.builds("recipients.{}.{}".format, places, st.sampled_from(["msisdn", "tagvalues.0", "x"])),
    st.sampled_from(PEOPLE),
)


@settings(max_examples=150)
@given(st.lists(fields, max_size=4), extras(KNOWN), st.data())
def test_nobody_leaves_in_a_form_who_was_not_read_and_kept(pairs, more, data):
    added = [("message", "x"), *((name, str(value)) for name, value in more.items())]
    written = [
        (name, "Maija" if "tagvalues" in name else value) for name, value in [*pairs, *added]
    ]
    checked(GATEWAYAPI, form(PATH, written, BASIC), choosing(data), numbers_in)
