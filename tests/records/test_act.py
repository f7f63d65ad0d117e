import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failure import InputError, RecordsUnavailable
from gateway.records.act import Act, Action
from gateway.records.archiver import Archiver
from gateway.records.entry import ACT, parse
from gateway.records.journal import StreamEntry, lines_of
from gateway.records.record import RecordError
from gateway.records.recorder import Recorder

text = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20)
acts = st.builds(
    Act,
    action=st.sampled_from(Action),
    actor=text.filter(str.strip),
    reason=text,
    subject=text,
    detail=st.dictionaries(text, text | st.integers(-(2**53), 2**53) | st.booleans() | st.none()),
    id=text,
    at=st.integers(0, 2**53),
)


@given(acts)
def test_an_act_reads_back_as_it_was_written(act: Act):
    assert parse({ACT: act.to_json()}) == act


@given(acts)
def test_an_act_becomes_one_row_of_the_journal(act: Act):
    ((kind, (values, digest)),) = lines_of(StreamEntry(b"s", b"1-0", {ACT: act.to_json()}))
    assert (kind, len(digest)) == ("act", 32)
    assert values == (
        act.id, act.at, act.action, act.actor, act.subject, act.reason, act.detail_json
    )  # fmt: skip


def test_nobody_acts_without_a_name():
    with pytest.raises(InputError, match="--by"):
        Act(action=Action.READ, actor=" ")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"v":2}',
        b'{"v":1,"id":"a","at":1,"action":"read","actor":"a","subject":"","reason":"","detail":{}}',
        b'{"v":2,"id":"a","at":1,"action":"eat","actor":"a","subject":"","reason":"","detail":{}}',
        b'{"v":2,"id":"a","at":1,"action":"read","actor":"","subject":"","reason":"","detail":{}}',
        b'{"v":2,"id":"a","at":1,"action":"read","actor":"a","subject":"","reason":"","detail":[]}',
    ],
)
def test_what_is_no_act_is_refused_without_its_text(text: bytes):
    with pytest.raises(RecordError, match=r"^(not an act|an act)"):
        Act.from_json(text)


async def test_acts_are_archived_and_chained_and_a_changed_one_is_named(wire, sealer, archive):
    recorder = Recorder(wire, sealer)
    first = Act(action=Action.READ, actor="anna", reason="access request", subject="k1:00")
    await recorder.act(first, Act(action=Action.EXPORT, actor="anna", detail={"contacts": 12}))
    await recorder.aclose()
    assert await Archiver(wire, archive).run_once() == 2
    assert (await archive.verify()).whole
    async with archive._database.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE act SET reason = 'curious' WHERE action = 'read'")
    faults = (await archive.verify()).faults
    assert len(faults) == 1
    assert f"act {first.id}" in faults[0]
    assert "was changed" in faults[0]


async def test_what_cannot_be_recorded_is_not_to_be_done(own_server, sealer):
    from gateway.register.connect import connect

    own_server.start()
    connections = connect(f"unix://{own_server.socket}")
    recorder = Recorder(connections.wire, sealer, timeout=0.5)
    own_server.kill()
    with pytest.raises(RecordsUnavailable):
        await recorder.act(Act(action=Action.READ, actor="anna"))
    await recorder.aclose(0.1)
    await connections.aclose()
