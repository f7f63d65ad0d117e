from collections.abc import Callable

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import Kind, Outcome
from gateway.records.entry import MESSAGE, OUTCOMES, SEALED, outcomes_json, pack
from gateway.records.journal import StreamEntry, long, rows_of
from gateway.records.line import line_of
from gateway.records.record import (
    Direction,
    MessageRecord,
    OutcomeRecord,
    RecipientRecord,
    RecordError,
    Result,
)
from gateway.records.shortcut import short

text = st.text(max_size=20)
# Ids, digests and positions are of these, or go the long way.
plain = st.text(alphabet="0123456789ABCXYZabcxyz:._-", max_size=30)
moment = st.integers(0, 2**53)
recipients = st.builds(
    RecipientRecord,
    id=plain,
    digest=plain,
    outcome=st.sampled_from(Outcome),
    rule=text,
    address_class=text,
    tier=st.none() | st.sampled_from(Tier),
    facts=st.dictionaries(text, st.none() | st.booleans() | text | moment, max_size=5),
    register_position=plain,
    retain_until=st.none() | moment,
)
messages = st.builds(
    MessageRecord,
    id=text,
    direction=st.sampled_from(Direction),
    received=moment,
    decided=moment,
    client=text,
    campaign=st.none() | text,
    channel=st.sampled_from(Channel),
    kind=st.sampled_from(Kind),
    topic=st.none() | text,
    product_group=st.none() | text,
    size=moment,
    content=st.none() | text,
    recipients=st.lists(recipients, max_size=3).map(tuple),
)
outcomes = st.lists(
    st.builds(
        OutcomeRecord,
        id=plain,
        record_id=plain,
        at=moment,
        result=st.sampled_from(Result),
        reply_code=st.none() | st.integers(200, 599),
        reply_text=text,
        upstream=text,
        person=text,
        reason=text,
    ),
    max_size=4,
)


def entry_of(message: MessageRecord, part: bytes = b"") -> dict[bytes, bytes]:
    parts = [part] * (len(message.recipients) + 2)
    return {MESSAGE: message.to_json(), SEALED: pack(parts)}


def writes_nul(fields: dict[bytes, bytes]) -> bool:
    return any(b"\\u0000" in value for value in fields.values())


@given(messages, st.binary(max_size=50))
def test_a_message_gives_the_same_lines_both_ways(message: MessageRecord, part: bytes):
    fields = entry_of(message, part)
    assume(not writes_nul(fields))
    lines = short(fields)
    assert lines is not None
    assert lines == long(fields)


@given(outcomes)
def test_outcomes_give_the_same_lines_both_ways(records: list[OutcomeRecord]):
    fields = {OUTCOMES: outcomes_json([one.to_json() for one in records])}
    assume(not writes_nul(fields))
    lines = short(fields)
    assert lines is not None
    assert lines == long(fields)


@given(st.dictionaries(st.sampled_from([b"m", b"s", b"o", b"r", b"x"]), st.binary(max_size=30)))
def test_anything_else_goes_the_long_way(fields: dict[bytes, bytes]):
    assert short(fields) in (None, [])


VALUE = st.sampled_from([None, True, 1.5, -1, 1, 2**63, "", "x", "a\0b", 'a"b\\ä', [], {}, "{}"])


@given(st.data())
def test_an_odd_member_is_read_alike_or_not_at_all(data: st.DataObject):
    """Whatever stands in a member, the short way gives what the long way gives, or nothing."""
    message = MessageRecord(
        id="m",
        received=1,
        decided=2,
        recipients=(RecipientRecord(id="r", digest="d", outcome=Outcome.HOLD, rule="R1"),),
    )
    fields = entry_of(message)
    members = orjson.loads(fields[MESSAGE])
    within = data.draw(st.sampled_from([members, members["recipients"][0], members["grounds"][0]]))
    if isinstance(within, list):
        place = data.draw(st.integers(0, len(within)))
        within[place : place + data.draw(st.integers(0, 1))] = data.draw(
            st.lists(VALUE, max_size=1)
        )
    else:
        name = data.draw(st.sampled_from([*within, "more"]))
        if data.draw(st.booleans()):
            within[name] = data.draw(VALUE)
        else:
            within.pop(name, None)
    fields[MESSAGE] = orjson.dumps(members)
    agree(fields)


@given(st.data())
def test_an_odd_member_of_an_outcome_too(data: st.DataObject):
    members = orjson.loads(OutcomeRecord(record_id="r", at=1, result=Result.HELD).to_json())
    name = data.draw(st.sampled_from([*members, "more", "pair"]))
    if name == "pair":
        members["of"][0][data.draw(st.integers(0, 1))] = data.draw(VALUE)
    else:
        members[name] = data.draw(VALUE)
    agree({OUTCOMES: orjson.dumps([members])})


def agree(fields: dict[bytes, bytes]) -> None:
    lines = short(fields)
    try:
        expected = long(fields)
    except RecordError:
        expected = None
    assert lines is None or lines == expected


def test_what_has_the_wrong_number_of_sealed_parts_goes_the_long_way(
    make_message: Callable[..., MessageRecord],
):
    fields = entry_of(make_message(2))
    assert short(fields) is not None
    fields[SEALED] = pack([b""] * 3)
    assert short(fields) is None
    del fields[SEALED]
    assert short(fields) is None


@pytest.mark.parametrize(
    ("named", "facts"),
    [
        ("not canonical", '{"b": 1}'),
        ("not sorted", '{"b":1,"a":2}'),
        ("no object", "[1]"),
        ("not JSON", "{"),
    ],
)
def test_facts_that_are_not_as_the_archive_keeps_them_go_the_long_way(
    make_message: Callable[..., MessageRecord], named: str, facts: str
):
    fields = entry_of(make_message())
    members = orjson.loads(fields[MESSAGE])
    members["grounds"][0][4] = facts
    fields[MESSAGE] = orjson.dumps(members)
    assert short(fields) is None, named


def test_what_is_no_plain_id_goes_the_long_way_and_is_the_same_there(
    make_message: Callable[..., MessageRecord],
):
    message = make_message(2)
    odd = message.recipients[1]._replace(digest='k1:"ä')
    fields = entry_of(message._replace(recipients=(message.recipients[0], odd)))
    assert short(fields) is None
    assert long(fields)[-1][1][0][4] == 'k1:"ä'


def test_an_entry_of_an_earlier_version_is_set_aside_with_its_cause():
    """Its recipients would be read as something else."""
    earlier = b'{"v":1,"id":"a","received":1,"decided":2,"recipients":[{"id":"b"}]}'
    batch = rows_of([StreamEntry(b"s", b"1-1", {MESSAGE: earlier, SEALED: pack([b""] * 3)})])
    assert not any(batch.lines.values())
    assert [row["cause"] for row in batch.unreadable] == [
        "a record of version 1; this program reads 2"
    ]
    told = b'[{"v":1,"id":"a","record_id":"b","at":1,"result":"held","reply_code":null}]'
    batch = rows_of([StreamEntry(b"s", b"1-2", {OUTCOMES: told})])
    assert not any(batch.lines.values())
    assert [row["cause"] for row in batch.unreadable] == [
        "a record of version 1; this program reads 2"
    ]


def test_digests_stay_what_they_are():
    """Archives are verified years later: a row's digest never changes its form."""
    message = MessageRecord(
        id="01A",
        received=1,
        decided=2,
        campaign="kevät",
        recipients=(
            RecipientRecord(
                id="01B",
                digest="k1:00",
                outcome=Outcome.SUPPRESS,
                rule="R11",
                tier=Tier.BASE,
                facts={"known": True, "age": "adult"},
            ),
        ),
    )
    told = OutcomeRecord(id="01C", record_id="01B", at=3, result=Result.REJECTED, reply_code=550)
    fields = entry_of(message, b"\x01\xff")
    lines = long(fields) + long({OUTCOMES: outcomes_json([told.to_json()])})
    assert lines[:3] == short(fields)
    assert [(kind, digest.hex()) for kind, (_, digest) in lines] == [
        ("ground", "17accbada1b37dbf14f79f1e83d7fbc0bded96e45a5262715fdf23dbec84c286"),
        ("message", "b8d3170f815e79d92b05bebbab772a59cbe5ab40301e63bbc2b0d77d9b1b46d2"),
        ("record", "edf112d30d56bdefdc9471e830c3886de8d03d2da2beb3e7c4cd7e4a8042a849"),
        ("outcome", "39835f866e10f30ff614447f7f7b731c771a3520661071127696b66f9e93bb3c"),
    ]


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"at": "1"}, "at is a str"),
        ({"at": True}, "at is a bool"),
        ({"at": 2**63}, "at is out of range"),
        ({"upstream": None}, "upstream is a NoneType"),
        ({"reply_text": "\0"}, "NUL in reply_text"),
    ],
)
def test_what_a_database_would_refuse_or_change_is_no_line(change: dict[str, object], fault: str):
    row = {"id": "a", "record_id": "b", "at": 1, "result": "held", "reply_code": None}
    row |= dict.fromkeys(("reply_text", "upstream", "person", "reason"), "")
    assert line_of("outcome", row)[0][:4] == ("a", "b", 1, "held")
    with pytest.raises(RecordError, match=fault):
        line_of("outcome", row | change)
