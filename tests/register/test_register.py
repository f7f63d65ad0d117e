"""Changes and look-ups on a real server: seen at once, by every spelling and key."""

import asyncio
import contextlib
import os
import signal
import time
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.contacts.contact import Channel, Tier
from gateway.contacts.digest import KeyRing
from gateway.contacts.parse import parse_email, parse_phone
from gateway.decision.facts import PersonClass, Relationship
from gateway.entry.entry import EMPTY, ConsentStatus, DeliveryReason, Scope
from gateway.entry.event import Attributes, Event, EventError, EventKind
from gateway.entry.projection import project
from gateway.failure import InputError, RegisterUnavailable
from gateway.register import layout
from gateway.register.register import Register

NOW = 1_795_379_602_872
ANNA = parse_email("anna@example.com")


@pytest.fixture
async def register(register_url, ring):
    async with await Register.open(register_url, ring) as register:
        yield register


def ban(scope=Scope.ALL, at=NOW, **members):
    return Event(kind=EventKind.BAN, at=at, actor="test", scope=scope, **members)


def unban(scope=Scope.ALL, at=NOW + 1, **members):
    return Event(kind=EventKind.UNBAN, at=at, actor="test", scope=scope, **members)


async def facts(register, contact, topic=None, now=NOW + 1000):
    (standing,) = await register.look_up([contact])
    return standing.facts(contact.channel, topic, None, now)


async def test_nothing_is_known_of_a_stranger(register):
    (standing,) = await register.look_up([ANNA])
    assert not standing.known
    assert standing.exact == EMPTY
    assert standing.position.endswith(":0-0")
    assert await register.look_up([]) == []
    assert await register.history(ANNA) == []


async def test_a_ban_is_seen_by_the_very_next_look_up_of_any_process(register, register_url, ring):
    async with await Register.open(register_url, ring) as other:
        for number in range(50):
            contact = parse_email(f"p{number}@example.com")
            event = await register.apply(ban(), contact)
            assert (await facts(other, contact)).ban_all
            assert event.subject == str(ring.digests(f"e:p{number}@example.com")[0])
            assert event.id
            assert event.recorded


@pytest.mark.parametrize(
    ("banned", "asked"),
    [
        ("anna+news@example.com", "anna@example.com"),
        ("anna+news@example.com", "anna+offers@example.com"),
        ("anna@example.com", "anna+news@example.com"),
        ("an.na+x@gmail.com", "a.n.n.a@googlemail.com"),
        ("ANNA@example.com", "anna@EXAMPLE.com"),
    ],
)
async def test_a_ban_counts_for_every_spelling(register, banned, asked):
    await register.apply(ban(), parse_email(banned))
    found = await facts(register, parse_email(asked))
    assert found.ban_all
    await register.apply(unban(), parse_email(banned))
    assert not (await facts(register, parse_email(asked))).ban_all


async def test_a_withdrawal_and_an_erasure_count_for_every_spelling(register):
    for number, kind in enumerate([EventKind.WITHDRAW, EventKind.ERASE]):
        event = Event(kind=kind, at=NOW, actor="test", channel=Channel.EMAIL)
        await register.apply(event, parse_email(f"bo{number}+a@example.com"))
        found = await facts(register, parse_email(f"bo{number}@example.com"))
        assert found.ban_channel or found.ban_all
        assert found.tier is Tier.BASE
        assert not found.known


async def test_one_spellings_unban_leaves_anothers_ban(register):
    first, second = parse_email("eva+1@example.com"), parse_email("eva+2@example.com")
    await register.apply_many([(ban(), first), (ban(), second)])
    await register.apply(unban(), first)
    assert (await facts(register, parse_email("eva@example.com"))).ban_all


async def test_a_consent_counts_for_its_own_spelling_only(register):
    plain, tagged = ANNA, parse_email("anna+news@example.com")
    await register.apply(ban(), plain)
    consent = Event(
        kind=EventKind.CONSENT,
        at=NOW + 5,
        actor="test",
        channel=Channel.EMAIL,
        proven=True,
        lifts=True,
        expires=NOW + 2000,
    )
    await register.apply(consent, tagged)
    assert not (await facts(register, tagged)).ban_all
    assert (await facts(register, plain)).ban_all
    assert (await facts(register, tagged, now=NOW + 2000)).ban_all


async def test_an_organisations_ban_holds_below_its_domain(register):
    logged = await register.apply_organisation(ban(), "Example.COM")
    assert [event.scope for event in logged] == [Scope.ORGANISATION]
    for address in ("a@example.com", "b@mail.example.com"):
        found = await facts(register, parse_email(address))
        assert found.ban_organisation
        assert found.tier is Tier.ORGANISATION
        assert not found.known
    assert not (await facts(register, parse_email("a@example.org"))).ban_organisation
    assert (await register.show_organisation("example.com")).bans
    await register.apply_organisation(unban(), "example.com")
    assert not (await facts(register, parse_email("a@example.com"))).ban_organisation
    with pytest.raises(EventError):
        await register.apply(ban(Scope.ORGANISATION), ANNA)
    with pytest.raises(EventError):
        await register.apply_organisation(
            Event(kind=EventKind.ERASE, at=1, actor="a"), "example.com"
        )


async def test_one_look_up_answers_many_contacts_of_all_kinds(register):
    phone = parse_phone("+358401234567")
    await register.apply(ban(Scope.CHANNEL, channel=Channel.SMS), phone)
    await register.apply(ban(Scope.TOPIC, topic="News"), ANNA)
    people = [parse_email(f"x{number}+t@firm{number % 7}.example.com") for number in range(200)]
    standings = await register.look_up([*people, phone, ANNA, *people, phone])
    assert len(standings) == 403
    assert standings[200].facts(Channel.SMS, None, None, NOW).ban_channel
    assert standings[402] == standings[200]
    assert standings[201].facts(Channel.EMAIL, "news", None, NOW).ban_topic
    assert not standings[201].facts(Channel.EMAIL, "other", None, NOW).ban_topic
    assert standings[201].facts(Channel.EMAIL, None, None, NOW).ban_topic
    assert not any(standing.known for standing in standings[:200])


async def test_entries_of_an_old_key_count_until_lifted(register_url, ring):
    keys = {"k1": bytes(range(32)), "k2": bytes(32)}
    async with await Register.open(register_url, KeyRing(keys, "k1")) as old:
        await old.apply(ban(), parse_email("anna+x@example.com"))
        await old.apply_organisation(ban(), "old.example.com")
        customer = Event(
            kind=EventKind.CLASSIFY,
            at=NOW,
            actor="test",
            attributes=Attributes(person_class=PersonClass.LEGAL),
        )
        await old.apply(customer, ANNA)
    async with await Register.open(register_url, KeyRing(keys, "k2")) as new:
        tagged = parse_email("anna+x@example.com")
        for contact in (tagged, ANNA, parse_email("anna+y@example.com")):
            assert (await facts(new, contact)).ban_all
        assert (await facts(new, parse_email("b@old.example.com"))).ban_organisation
        event = await new.apply(ban(Scope.TOPIC, topic="news"), ANNA)
        assert event.subject.startswith("k2:")
        assert (await facts(new, ANNA)).person_class is PersonClass.LEGAL
        await new.apply(unban(), tagged)
        for contact in (tagged, ANNA):
            assert not (await facts(new, contact)).ban_all
        assert [each.kind for each in await new.history(tagged)] == [
            EventKind.BAN,
            EventKind.UNBAN,
            EventKind.UNBAN,
        ]
        await new.apply_organisation(unban(), "old.example.com")
        assert not (await facts(new, parse_email("b@old.example.com"))).ban_organisation


async def test_events_carry_sealed_addresses_and_no_plain_ones(register_url, ring):
    def seal(address):
        return address.encode()[::-1]

    async with await Register.open(register_url, ring, seal=seal) as register:
        contact = parse_email("anna+x@example.com")
        await register.apply(ban(), contact)
        await register.apply(Event(kind=EventKind.ERASE, at=NOW + 1, actor="test"), contact)
        logged, erased = await register.history(contact)
        assert logged.sealed == b"anna+x@example.com"[::-1]
        assert erased.sealed is None
        inherited = await register.history(ANNA)
        assert {event.sealed for event in inherited} == {None}
        assert [event.cause for event in inherited] == [logged.id, erased.id]
        dump = await register.connections.stream.keys("*")
        for key in dump:
            assert b"anna" not in key
            if key.endswith(b":ev"):
                assert b"anna" not in repr(await register.connections.stream.xrange(key)).encode()


async def test_the_position_is_that_of_the_last_event(register):
    await register.apply(ban(), ANNA)
    position = await register.position()
    (standing,) = await register.look_up([ANNA])
    assert standing.position.partition(":")[2] == position
    streams = layout.event_streams()
    assert len(set(streams)) == 64
    assert sum([await register.connections.stream.xlen(stream) for stream in streams]) == 1


async def test_entries_can_be_rebuilt_from_the_log(register, register_server):
    contacts = [parse_email(f"r{number}+x@example.com") for number in range(20)]
    await register.apply_many([(ban(), contact) for contact in contacts])
    entries = [await register.show(contact) for contact in contacts]
    log = [event for contact in contacts for event in await register.history(contact)]
    await register.connections.stream.flushall()
    assert await register.replay(log) == 20
    assert [await register.show(contact) for contact in contacts] == entries
    assert await register.history(contacts[0]) == []
    with pytest.raises(EventError):
        await register.replay([ban()])


@st.composite
def person_events(draw):
    kind = draw(st.sampled_from([EventKind.BAN, EventKind.UNBAN, EventKind.CONSENT,
                                 EventKind.WITHDRAW, EventKind.RESTRICT, EventKind.UNRESTRICT,
                                 EventKind.ERASE, EventKind.RELATIONSHIP]))  # fmt: skip
    members = {"kind": kind, "at": draw(st.integers(0, 9)), "actor": "a",
               "channel": Channel.EMAIL, "topic": draw(st.sampled_from(["*", "news"]))}  # fmt: skip
    if kind in (EventKind.BAN, EventKind.UNBAN):
        members["scope"] = draw(st.sampled_from([Scope.ALL, Scope.CHANNEL, Scope.CONTACT]))
    if kind is EventKind.CONSENT:
        members |= {"status": ConsentStatus.GRANTED, "proven": True, "lifts": True}
    return Event(**members)


counter = iter(range(10_000_000))


@settings(max_examples=20, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.lists(st.tuples(person_events(), st.booleans()), min_size=2, max_size=12))
def test_any_interleaving_ends_in_the_projection_of_the_log(register_url, ring, changes):
    """Concurrent changes of one mailbox by two processes: entry == replayed history."""
    name = f"i{next(counter)}"
    tagged, plain = parse_email(f"{name}+t@example.com"), parse_email(f"{name}@example.com")

    async def run():
        async with (
            await Register.open(register_url, ring) as one,
            await Register.open(register_url, ring) as two,
        ):
            await asyncio.gather(
                *(
                    (one if place % 2 else two).apply(event, tagged if tag else plain)
                    for place, (event, tag) in enumerate(changes)
                )
            )
            for contact in (tagged, plain):
                entry = EMPTY
                for event in await one.history(contact):
                    entry = project(entry, event)
                assert await two.show(contact) == entry
            own = [event.id for event in await one.history(tagged)]
            own += [event.id for event in await one.history(plain) if not event.origin]
            assert len(set(own)) == len(changes)

    asyncio.run(run())


async def test_a_batch_of_one_contacts_events_keeps_their_order(register):
    events = [ban(at=1), unban(at=2), ban(at=3), unban(at=3), ban(Scope.CONTACT, at=4)]
    logged = await register.apply_many([(event, ANNA) for event in events])
    assert [event.kind for event in logged] == [event.kind for event in events]
    assert [each.scope for each in (await register.show(ANNA)).bans] == [Scope.CONTACT]


async def test_a_change_that_changes_nothing_is_logged_only_when_asked(register):
    assert len(await register.apply_many([(ban(), ANNA)], only_changes=True)) == 1
    assert await register.apply_many([(ban(), ANNA)], only_changes=True) == []
    assert len(await register.apply_many([(ban(), ANNA)])) == 1


async def test_a_cancelled_caller_disturbs_nobody(register):
    people = [parse_email(f"c{number}@example.com") for number in range(200)]
    await register.apply_many([(ban(at=number), who) for number, who in enumerate(people)])
    for delay in (0, 0, 0.0005, 0.001):
        asks = [asyncio.create_task(register.look_up([who])) for who in people]
        await asyncio.sleep(delay)
        for ask in asks[::3]:
            ask.cancel()
        for number, ask in enumerate(asks):
            if number % 3 == 0:
                with contextlib.suppress(asyncio.CancelledError):
                    await ask
                continue
            (standing,) = await ask
            assert standing.exact.bans[0].at == number


async def test_a_cancelled_change_never_mixes_up_replies(register):
    people = [parse_email(f"d{number}@example.com") for number in range(60)]
    for delay in (0.0, 0.0003, 0.0006, 0.001, 0.002):
        tasks = [asyncio.create_task(register.apply(ban(at=7), who)) for who in people[:20]]
        await asyncio.sleep(delay)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for who in people[20:40]:
            assert (await register.show(who)) == EMPTY
    await register.apply_many([(ban(at=number), who) for number, who in enumerate(people)])
    for number, standing in enumerate(await register.look_up(people)):
        assert standing.exact.bans[0].at in (7, number)


async def test_a_hanging_register_is_unavailable_in_time_and_recovers(
    register_url, register_server, ring
):
    people = [parse_email(f"h{number}@example.com") for number in range(30)]
    async with await Register.open(register_url, ring) as register:
        await register.apply_many([(ban(at=number), who) for number, who in enumerate(people)])
    async with await Register.open(register_url, ring, timeout=1, write_timeout=1) as register:
        await register.look_up(people)
        os.kill(register_server.pid, signal.SIGSTOP)
        try:
            for _ in range(2):
                began = time.monotonic()
                asks = [register.look_up([who]) for who in people]
                results = await asyncio.gather(*asks, return_exceptions=True)
                assert {type(result) for result in results} == {RegisterUnavailable}
                assert time.monotonic() - began < 5
            with pytest.raises(RegisterUnavailable):
                await register.apply(ban(), ANNA)
        finally:
            os.kill(register_server.pid, signal.SIGCONT)
        for _ in range(3):
            for number, standing in enumerate(await register.look_up(people)):
                assert standing.exact.bans[0].at == number


async def test_a_closed_connection_is_replaced_unnoticed(register):
    await register.apply(ban(), ANNA)
    for _ in range(5):
        await register.connections.stream.client_kill_filter(_type="normal", skipme=True)
        assert (await facts(register, ANNA)).ban_all


async def test_an_unreachable_register_fails_fast(tmp_path, ring):
    began = time.monotonic()
    with pytest.raises(RegisterUnavailable):
        await Register.open(f"unix://{tmp_path}/none.sock", ring)
    assert time.monotonic() - began < 5


async def test_the_layout_is_fixed_at_creation(register_url, ring):
    async with await Register.open(register_url, ring, bits=12) as register:
        await register.apply(ban(), ANNA)
    async with await Register.open(register_url, ring) as register:
        assert (await facts(register, ANNA)).ban_all
    with pytest.raises(InputError, match="2\\*\\*12"):
        await Register.open(register_url, ring, bits=16)
    with pytest.raises(InputError):
        await Register.open(register_url, ring, bits=5)


async def test_buckets_that_would_outgrow_are_warned_of(register, register_url, ring):
    client = register.connections.stream
    await client.config_set("hash-max-listpack-entries", 128)
    try:
        with capture_logs() as logs:
            async with await Register.open(register_url, ring):
                pass
        assert [each["event"] for each in logs] == ["register_listpack_entries_small"]
    finally:
        await client.config_set("hash-max-listpack-entries", 1024)


async def test_a_damaged_entry_makes_the_register_unavailable(register, ring):
    await register.apply(ban(), ANNA)
    place = layout.Layout().place(ring.digest("e:anna@example.com"))
    await register.connections.stream.hset(place.bucket, place.field, b"\xff\xff")
    with pytest.raises(RegisterUnavailable, match="version"):
        await register.look_up([ANNA])


async def test_a_relationship_is_merged_into_the_facts(register):
    event = Event.from_json(
        b'{"kind":"relationship","at":1,"actor":"crm","attributes":'
        b'{"relationship_start":"2020-01-01","collected":"sale","product_groups":["Heating"]}}'
    )
    await register.apply(event, ANNA)
    (standing,) = await register.look_up([ANNA])
    found = standing.facts(Channel.EMAIL, None, "heating", NOW)
    assert found.relationship is Relationship.ACTIVE
    assert found.product.value == "same"
    assert replace(event, attributes=Attributes()) != event


async def test_an_identity_code_is_masked_wherever_an_event_tells_it(register):
    code = "131052-308T"
    event = Event(
        kind=EventKind.CONSENT,
        at=NOW,
        actor="anna",
        source=f"order {code}",
        evidence=f"form {code}",
        wording=f"I, {code}, agree",
        channel=Channel.EMAIL,
        status=ConsentStatus.GRANTED,
    )
    logged = await register.apply(event, ANNA)
    (kept,) = await register.history(ANNA)
    for each in (logged, kept):
        assert each.source == "order ***********"
        assert each.evidence == "form ***********"
        assert each.wording == "I, ***********, agree"


def undeliverable(reason, at=NOW, **members):
    kind = EventKind.UNDELIVERABLE
    return Event(kind=kind, at=at, actor="test", delivery=reason, **members)


def deliverable(at=NOW + 1, **members):
    return Event(kind=EventKind.DELIVERABLE, at=at, actor="test", **members)


PLAIN, TAGGED, OTHER = map(
    parse_email, ("maija@example.com", "maija+x@example.com", "maija+y@example.com")
)


async def bounced(register, *contacts, now=NOW + 1000):
    return [(await facts(register, contact, now=now)).undeliverable for contact in contacts]


@pytest.mark.parametrize("reason", [DeliveryReason.HARD_BOUNCE, DeliveryReason.REJECTED])
async def test_a_bounce_says_nothing_of_other_spellings(register, reason):
    await register.apply(undeliverable(reason, expires=NOW + 2000), TAGGED)
    assert await bounced(register, TAGGED, PLAIN, OTHER) == [True, False, False]
    assert await bounced(register, TAGGED, now=NOW + 2000) == [False]
    await register.apply(undeliverable(reason), PLAIN)
    assert await bounced(register, PLAIN, OTHER) == [True, False]


async def test_a_complaint_counts_for_every_spelling_until_lifted_by_any(register):
    complaint = undeliverable(DeliveryReason.COMPLAINT)
    await register.apply(complaint, TAGGED)
    assert await bounced(register, TAGGED, PLAIN, OTHER) == [True, True, True]
    assert not (await facts(register, PLAIN)).known
    assert not (await facts(register, PLAIN)).ban_all
    # The person's word on it reached us by another spelling, which stays suppressed itself.
    await register.apply(deliverable(delivery=DeliveryReason.COMPLAINT), OTHER)
    assert await bounced(register, TAGGED, PLAIN, OTHER) == [True, False, False]
    await register.apply(deliverable(), TAGGED)
    assert await bounced(register, TAGGED, PLAIN, OTHER) == [False, False, False]


async def test_a_delivery_suppression_of_an_old_key_counts_until_lifted(register_url, ring):
    complaint = undeliverable(DeliveryReason.COMPLAINT)
    async with await Register.open(register_url, ring) as register:
        await register.apply_many(
            [(complaint, TAGGED), (undeliverable(DeliveryReason.REJECTED), TAGGED)]
        )
    newer = KeyRing({"k1": bytes(range(32)), "k2": bytes(range(1, 33))}, "k2")
    async with await Register.open(register_url, newer) as register:
        assert await bounced(register, TAGGED, PLAIN) == [True, True]
        await register.apply(deliverable(delivery=DeliveryReason.COMPLAINT), TAGGED)
        assert await bounced(register, TAGGED, PLAIN) == [True, False]
        await register.apply(deliverable(), TAGGED)
        assert await bounced(register, TAGGED, PLAIN) == [False, False]


async def test_neither_consent_nor_unban_lifts_a_delivery_suppression(register):
    await register.apply(undeliverable(DeliveryReason.COMPLAINT), ANNA)
    await register.apply(ban(), ANNA)
    consent = Event(
        kind=EventKind.CONSENT,
        at=NOW + 5,
        actor="person",
        channel=Channel.EMAIL,
        proven=True,
        lifts=True,
        source="page",
    )
    await register.apply(consent, ANNA)
    await register.apply(unban(at=NOW + 6), ANNA)
    found = await facts(register, ANNA)
    assert found.undeliverable
    assert not found.ban_all
    assert await register.apply_many([(deliverable(NOW + 7), ANNA)], only_changes=True)
    assert not await register.apply_many([(deliverable(NOW + 8), ANNA)], only_changes=True)
    assert await bounced(register, ANNA) == [False]
