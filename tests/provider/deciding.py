"""What the tests of several providers share: requests, decisions, and a stand-in asked."""

import asyncio
import json
from collections.abc import Callable, Sequence
from urllib.parse import urlencode

import aiohttp.web
import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import strategies as st
from ulid import ULID

from gateway.provider.adapter import Adapter
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import FORM, JSON, Answer, Request
from gateway.provider.submission import Decided, Fate, Submission

SENT, BLOCKED, TAKEN = Fate.SENT, Fate.BLOCKED, Fate.TAKEN
INVALID, REPEATED = Fate.INVALID, Fate.REPEATED
AT = 1_735_689_600_000
"""2025-01-01T00:00:00Z, when everything here is decided."""

PEOPLE = [f"35840{number:07d}" for number in range(1_234_000, 1_234_012)]
STRANGERS = [f"46701{number:06d}" for number in range(555_000, 555_004)]
"""Numbers that stand only where no recipient belongs."""


def record(number: int) -> str:
    """The id of a record."""
    return str(ULID.from_bytes(bytes([1] * 15 + [number])))


def form(path: str, fields: object, *headers: tuple[str, str]) -> Request:
    """A request with a form, of a mapping or of pairs."""
    body = urlencode(fields).encode()
    return Request("POST", path, headers=(("Content-Type", FORM), *headers), body=body)


def document(path: str, body: object, *headers: tuple[str, str]) -> Request:
    """A request with a JSON document."""
    kind = ("Content-Type", f"{JSON}; charset=utf-8")
    return Request("POST", path, headers=(kind, *headers), body=json.dumps(body).encode())


def decided(*fates: Fate | Sequence[Fate]) -> Decided:
    """A decision: the fates of each message's destinations; one message may be left bare."""
    each = [list(one) if isinstance(one, list | tuple) else [one] for one in fates]
    numbers = iter(range(1, 200))
    ids = [
        ["" if fate in (INVALID, REPEATED) else record(next(numbers)) for fate in one]
        for one in each
    ]
    return Decided(each, ids, AT)


def refused(adapter: Adapter, request: Request) -> Problem:
    """The problem for which the request is refused, in words that hold no number."""
    with pytest.raises(Refusal) as caught:
        adapter.read(request)
    assert not any(number in str(caught.value) for number in (*PEOPLE, *STRANGERS))
    return caught.value.problem


def body_of(answer: Answer | Request) -> dict:
    """The JSON document of an answer or a request."""
    return json.loads(answer.body)


Standin = Callable[[aiohttp.web.Request, bytes], object]


def asked(standin: Standin, request: Request, **headers: str) -> Answer:
    """What a stand-in answers to a request."""
    merged = dict(request.headers) | headers
    target = request.path + (f"?{request.query}" if request.query else "")
    mocked = make_mocked_request(request.method, target, headers=merged)
    response = asyncio.run(standin(mocked, request.body))
    return Answer(response.status, response.body or b"", response.content_type)


# -- properties -----------------------------------------------------------------------

_TEMPTING = [
    *("to", "To", "TO", "to[]", "to[0]", "t_o", "tos", "dst", "Dst", "DST[]", "recipient"),
    *("recipients", "Recipients", "recipients[]", "recipient_list", "destinations", "msisdn"),
    *("destination", "groupIds", "group_ids", "GroupIds", "groups", "cc", "bcc", "contacts"),
    *("failover", "fallback", "topicArn", "phone_number", "phoneNumber", "messages", "numbers"),
]


def extras(documented: str) -> st.SearchStrategy[dict]:
    """Members that a request may have besides: none of those documented as something else."""
    number = st.sampled_from(STRANGERS)
    value = st.recursive(
        number | st.none(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(_TEMPTING), inner, max_size=2)
        ),
        max_leaves=4,
    )
    name = st.sampled_from(_TEMPTING) | st.text("abcTOto_-[]0 ", min_size=1, max_size=6)
    plain = set(documented.split())
    return st.dictionaries(name.filter(lambda one: one not in plain), value, max_size=2)


def checked(
    adapter: Adapter,
    request: Request,
    chosen: Callable[[Sequence[str]], Sequence[int]],
    held: Callable[[Request], Sequence[str]],
) -> Submission | None:
    """What is forwarded holds no destination but those read and kept; None: refused.

    ``held`` reads the destinations of a request as the vendor's documentation has them.
    """
    try:
        submission = adapter.read(request)
    except Refusal as refusal:
        assert not any(number in str(refusal) for number in (*PEOPLE, *STRANGERS))
        return None
    assert submission is not None
    kept = [list(chosen(message.destinations)) for message in submission.messages]
    expected = [
        message.destinations[place]
        for message, places in zip(submission.messages, kept, strict=True)
        for place in places
    ]
    if not expected:
        return submission
    narrowed = adapter.narrowed(submission, kept)
    assert list(held(narrowed)) == expected
    text = narrowed.body.decode()
    everybody = [one for message in submission.messages for one in message.destinations]
    assert not [one for one in everybody if one not in expected and one in text]
    assert not [one for one in STRANGERS if one not in expected and one in text]
    again = adapter.read(narrowed)
    assert [one for message in again.messages for one in message.destinations] == expected
    return submission
