"""A person's ban holds for every contact of the person, whatever becomes of them."""

import asyncio

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.digest import KeyRing
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.failure import RegisterUnavailable
from gateway.records.identifier import new_id
from gateway.register.importing import import_file
from gateway.subject.directory import PersonStateError, State
from gateway.subject.person import Objection, PersonError
from tests.subject.conftest import WHO, open_site

OLD, NEW, PHONE = "maija.virtanen@example.com", "maija.korhonen@example.com", "+358401234567"


async def _person(site, *addresses, name="Maija Virtanen"):
    stored = await site.people.add(
        WHO, name=name, contacts=[parse_contact(each) for each in addresses], source="order form"
    )
    return stored.person.id


async def test_finland_9209_157_2019_a_changed_surname_and_address_lose_no_ban(site, tmp_path):
    """The ban was lost when the surname changed and a replication brought the address back."""
    maija = await _person(site, OLD)
    words = Objection(
        words="Älkää enää lähettäkö mainoksia!", received=now_ms(), scope=Scope.ALL, how="puhelin"
    )
    await site.wishes.object(maija, words, WHO)
    await site.people.rename(maija, "Maija Korhonen", WHO)
    await site.people.change_contact(
        maija, parse_contact(OLD), parse_contact(NEW), WHO, source="customer service"
    )
    # The customer system replicates both: the new address as a customer who consented.
    replica = tmp_path / "replica.csv"
    replica.write_text(
        "email,consent_email,consent_proof,person_class,relationship_start,source\n"
        f"{OLD},granted,form 1,natural,2020-01-01,crm\n"
        f"{NEW},granted,form 1,natural,2020-01-01,crm\n"
    )
    for _ in range(2):
        done = await import_file(replica, site.register, actor="replication")
        assert done.applied
        await site.archived()
        await site.spreader.heal()
    assert await site.scopes(OLD) == {"ban_all"}
    assert await site.scopes(NEW) == {"ban_all"}
    person = (await site.people.read(maija, WHO)).person
    assert person.objections == (words,)
    assert person.name == "Maija Korhonen"


@pytest.mark.parametrize(
    ("scope", "members", "reached"),
    [
        (Scope.ALL, {}, {"mail": {"ban_all"}, "phone": {"ban_all"}}),
        (
            Scope.CONTACT,
            {},
            {"mail": {"ban_all", "ban_contact"}, "phone": {"ban_all", "ban_contact"}},
        ),
        (Scope.DISCLOSURE, {}, {"mail": {"disclosure"}, "phone": {"disclosure"}}),
        (Scope.TOPIC, {"topic": "news"}, {"mail": {"ban_topic"}, "phone": {"ban_topic"}}),
        (Scope.CHANNEL, {"channel": Channel.EMAIL}, {"mail": {"ban_channel"}, "phone": set()}),
        (Scope.CHANNEL, {"channel": Channel.SMS}, {"mail": set(), "phone": {"ban_channel"}}),
        (
            Scope.TOPIC,
            {"topic": "news", "channel": Channel.EMAIL},
            {"mail": {"ban_topic"}, "phone": set()},
        ),
    ],
)
async def test_a_ban_made_anywhere_reaches_the_contacts_that_it_is_about(
    site, scope, members, reached
):
    maija = await _person(site, OLD, NEW, PHONE)
    event = await site.ban(OLD, scope, **members)
    await site.archived()
    assert await site.scopes(NEW) == reached["mail"]
    assert await site.scopes(PHONE) == reached["phone"]
    copies = [
        each
        for address in (NEW, PHONE)
        for each in await site.register.history(parse_contact(address))
    ]
    await site.archiver.run_once()
    stored = await site.events.of(
        [site.store.digests(parse_contact(each))[0] for each in (NEW, PHONE)]
    )
    copies += [Event.from_json(each) for each in stored]
    assert {each.cause for each in copies} <= {event.id}
    assert {each.source for each in copies} <= {"person"}
    late = "late@example.com"
    await site.people.link(maija, parse_contact(late), WHO, source="telephone")
    assert await site.scopes(late) == reached["mail"]


async def test_a_stop_by_text_message_stops_the_mail_as_well_when_it_means_everything(site):
    await _person(site, NEW, PHONE)
    withdrawn = Event(
        kind=EventKind.WITHDRAW, at=now_ms(), actor="sms", channel=Channel.SMS, topic="*"
    )
    await site.register.apply(withdrawn, parse_contact(PHONE))
    await site.archived()
    assert await site.scopes(NEW) == set()
    await site.ban(PHONE)
    await site.archived()
    assert await site.scopes(NEW) == {"ban_all"}


async def test_a_consent_reaches_no_other_contact_and_lifts_only_where_it_was_given(site):
    await _person(site, OLD, NEW)
    await site.ban(OLD, at=now_ms() - 10_000)
    await site.archived()
    consent = Event(
        kind=EventKind.CONSENT,
        at=now_ms(),
        actor="web",
        source="form",
        channel=Channel.EMAIL,
        proven=True,
        lifts=True,
    )
    await site.register.apply(consent, parse_contact(NEW))
    await site.archived()
    assert await site.scopes(NEW) == set()
    assert await site.scopes(OLD) == {"ban_all"}
    (standing,) = await site.register.look_up([parse_contact(OLD)])
    assert standing.exact.consents == ()


async def test_what_was_carried_goes_when_its_source_is_lifted_and_not_otherwise(site):
    await _person(site, OLD, NEW, PHONE)
    await site.ban(OLD)
    await site.archived()
    await site.unban(NEW)
    await site.archived()
    assert await site.scopes(NEW) == {"ban_all"}
    await site.unban(OLD)
    await site.archived()
    assert [await site.scopes(each) for each in (OLD, NEW, PHONE)] == [set()] * 3


async def test_a_lost_entry_lifts_nothing(site):
    """Only a lifting on record does: an emptied register looks as if it had been lifted."""
    maija = await _person(site, OLD, NEW)
    await site.ban(OLD)
    await site.archived()
    digest = site.ring.digest(f"e:{OLD}")
    place = site.register._committer._layout.place(digest)
    await site.register.connections.wire.exchange([(b"HDEL", place.bucket, place.field)], 5.0)
    assert await site.scopes(OLD) == set()
    await site.spreader.visit(maija)
    assert await site.scopes(NEW) == {"ban_all"}


async def test_a_register_rebuilt_from_the_archive_has_what_was_carried(
    site, tmp_path, register_url, ring
):
    maija = await _person(site, OLD, "maija+shop@example.com", PHONE)
    await site.ban(OLD)
    await site.ban(PHONE, Scope.DISCLOSURE)
    await site.archived()
    await site.unban(OLD)
    await site.archived()
    await site.archiver.run_once()
    every = (OLD, "maija+shop@example.com", "maija@example.com", PHONE)
    before = [await site.scopes(each) for each in every]
    assert before == [{"disclosure"}] * 4
    await site.register.connections.wire.exchange([(b"FLUSHALL",)], 5.0)
    async with open_site(tmp_path, register_url, ring) as later:
        assert await later.scopes(PHONE) == set()
        await later.register.replay([Event.from_json(body) async for body in later.events.all()])
        assert [await later.scopes(each) for each in every] == before
        assert await later.spreader.visit(maija) == (0, 0)


async def test_a_ban_of_another_spelling_is_the_persons(site):
    await _person(site, "maija+shop@example.com", PHONE)
    await site.ban("maija@example.com")
    await site.archived()
    assert await site.scopes(PHONE) == {"ban_all"}
    await site.unban("maija@example.com")
    await site.archived()
    assert await site.scopes(PHONE) == set()


async def test_a_merged_duplicate_brings_its_bans_and_is_found_under_its_old_id(site):
    first = await _person(site, OLD)
    second = await _person(site, NEW, PHONE, name="M. Korhonen")
    await site.ban(PHONE, Scope.DISCLOSURE)
    await site.ban(OLD)
    stored = await site.people.merge(first, second, WHO)
    assert stored.person.id == first
    assert await site.scopes(NEW) == {"ban_all", "disclosure"}
    assert await site.scopes(OLD) == {"ban_all", "disclosure"}
    assert (await site.people.read(second, WHO)).person == stored.person
    assert (await site.store.row(second)).state is State.MERGED
    assert await site.store.of(parse_contact(PHONE)) == [first]
    assert await site.store.merged_into(first) == [second]


async def test_a_shared_address_passes_on_its_own_bans_and_not_anothers(site):
    wife = await _person(site, "family@example.com", "wife@example.com")
    await _person(site, "family@example.com", "husband@example.com", name="Matti")
    await site.ban("wife@example.com")
    await site.archived()
    assert await site.scopes("family@example.com") == {"ban_all"}
    assert await site.scopes("husband@example.com") == set()
    await site.ban("family@example.com", Scope.DISCLOSURE)
    await site.archived()
    assert await site.scopes("husband@example.com") == {"disclosure"}
    assert len(await site.store.of(parse_contact("family@example.com"))) == 2
    assert wife in await site.store.of(parse_contact("family@example.com"))


async def test_a_contact_that_never_was_the_persons_can_be_parted_again(site):
    maija = await _person(site, OLD, NEW)
    await site.ban(OLD)
    await site.archived()
    with pytest.raises(PersonError, match="say why"):
        await site.people.unlink(maija, parse_contact(OLD), WHO.__class__("anna"), lift=True)
    await site.people.unlink(maija, parse_contact(OLD), WHO, lift=True)
    assert await site.scopes(NEW) == set()
    assert await site.scopes(OLD) == {"ban_all"}
    await site.ban(OLD, Scope.CONTACT)
    await site.archived()
    assert await site.scopes(NEW) == set()


async def test_a_person_is_lifted_from_all_contacts_at_once(site):
    maija = await _person(site, OLD, NEW, "maija+x@example.com", PHONE)
    await site.wishes.object(
        maija, Objection(words="stop", received=now_ms(), scope=Scope.ALL), WHO
    )
    await site.archived()
    every = (OLD, NEW, "maija+x@example.com", "maija@example.com", PHONE)
    assert [await site.scopes(each) for each in every] == [{"ban_all"}] * 5
    assert await site.wishes.unban(maija, WHO, scope=Scope.ALL) == 4
    assert [await site.scopes(each) for each in every] == [set()] * 5
    await site.archived()
    await site.spreader.heal()
    assert [await site.scopes(each) for each in every] == [set()] * 5


async def test_a_restriction_holds_for_every_contact_until_it_is_lifted_for_the_person(site):
    maija = await _person(site, OLD)
    await site.wishes.restrict(maija, WHO)
    await site.people.link(maija, parse_contact(NEW), WHO, source="telephone")
    assert await site.scopes(NEW) == {"restricted"}
    imported = Event(kind=EventKind.RESTRICT, at=now_ms(), actor="import", imported=True)
    await site.wishes.unrestrict(maija, WHO)
    assert await site.scopes(OLD) == await site.scopes(NEW) == set()
    await site.archived()
    await site.spreader.heal()
    assert await site.scopes(OLD) == await site.scopes(NEW) == set()
    await site.register.apply(imported, parse_contact(OLD))
    await site.archived()
    assert await site.scopes(NEW) == {"restricted"}


async def test_two_changes_at_once_keep_both(site):
    maija = await _person(site, OLD)
    await asyncio.gather(
        site.people.link(maija, parse_contact(NEW), WHO, source="a"),
        site.people.link(maija, parse_contact(PHONE), WHO, source="b"),
        site.people.rename(maija, "Maija Korhonen", WHO),
    )
    person = (await site.store.get(maija)).person
    assert {each.address for each in person.contacts} == {OLD, NEW, PHONE}
    assert person.name == "Maija Korhonen"
    with pytest.raises(PersonStateError):
        await site.people.rename(new_id(), "Nobody", WHO)


async def test_a_new_digest_key_finds_people_again(site, tmp_path, register_url):
    maija = await _person(site, OLD, NEW)
    keys = {"k1": bytes(range(32)), "k2": bytes(32)}
    async with open_site(tmp_path, register_url, KeyRing(keys, "k2")) as later:
        assert await later.store.of(parse_contact(OLD)) == [maija]
        assert (await later.spreader.heal()).reindexed == 1
        await later.ban(OLD)
        await later.archived()
        assert await later.scopes(NEW) == {"ban_all"}
        assert (await later.spreader.heal()).reindexed == 0


async def test_no_name_or_address_lies_open_in_the_archive_or_its_keys(site, tmp_path):
    maija = await _person(site, OLD, PHONE)
    await site.wishes.object(
        maija, Objection(words="En halua mainoksia", received=now_ms(), scope=Scope.ALL), WHO
    )
    await site.archived()
    for path in tmp_path.glob("*.sqlite*"):
        octets = path.read_bytes()
        for secret in ("Virtanen", "virtanen", PHONE, "En halua"):
            assert secret.encode() not in octets, path


@pytest.mark.parametrize("how", ["link", "change", "merge"])
async def test_what_is_cut_off_while_contacts_are_joined_leaves_none_of_them_free(site, how):
    """At no moment is a contact the person's without the person's bans."""
    for cut in range(7):
        old, phone = f"cut{cut}{how}@example.com", f"+3584012{cut}4567"
        new, other = parse_contact(f"new{cut}{how}@example.com"), parse_contact(phone)
        maija = await _person(site, old)
        duplicate = await _person(site, new.canonical, phone) if how == "merge" else ""
        for scope in (Scope.ALL, Scope.DISCLOSURE):
            await site.ban(old, scope)
        site.register.apply_many = _Failing(site.register, cut)
        try:
            if how == "link":
                await site.people.link(maija, new, WHO, source="t")
            elif how == "change":
                await site.people.change_contact(maija, parse_contact(old), new, WHO, source="t")
            else:
                await site.people.merge(maija, duplicate, WHO)
        except RegisterUnavailable:
            pass
        finally:
            del site.register.apply_many
        person = (await site.store.get(maija)).person
        for contact in (new, other):
            if contact in person.every_contact:
                assert await site.scopes(contact.canonical) == {"ban_all", "disclosure"}
    assert new in person.every_contact  # the last was not cut off any more


# -- any sequence ---------------------------------------------------------------------

_ADDRESSES = ("a@x.fi", "b@x.fi", "c+1@x.fi", "c+2@x.fi", "+358401234561", "+358401234562")
_SCOPES = (
    (Scope.ALL, None, None),
    (Scope.CHANNEL, Channel.EMAIL, None),
    (Scope.CHANNEL, Channel.SMS, None),
    (Scope.TOPIC, None, "news"),
    (Scope.DISCLOSURE, None, None),
)
_place, _scope = st.integers(0, len(_ADDRESSES) - 1), st.sampled_from(_SCOPES)
_who = st.integers(0, 1)
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ban"), _place, _scope),
        st.tuples(st.just("unban"), _place, _scope),
        st.tuples(st.just("link"), _who, _place),
        st.tuples(st.just("change"), _who, _place),
        st.tuples(st.just("merge"), _who, st.none()),
        st.tuples(st.just("follow"), st.none(), st.none()),
    ),
    min_size=2,
    max_size=9,
)


class _Failing:
    """The register's changes, cut off after some of them."""

    def __init__(self, register, left):
        self._apply, self._left = register.apply_many, left
        self.broken = False

    async def __call__(self, *args, **how):
        if self._left <= 0:
            self.broken = True
            raise RegisterUnavailable("cut off")
        self._left -= 1
        return await self._apply(*args, **how)


async def _walk(site, steps, cut):
    """Do the steps, the register failing after ``cut`` writes; heal; what must hold."""
    mark = new_id().lower()
    names = [
        each.replace("@", f"{mark}@")
        if "@" in each
        else f"+35840{int(mark[-9:], 36) % 10**6:06}{n}"
        for n, each in enumerate(_ADDRESSES)
    ]
    contacts = [parse_contact(each) for each in names]
    people = [await _person(site, names[0]), await _person(site, names[1])]
    own: dict[int, set] = {n: set() for n in range(len(names))}
    failing = _Failing(site.register, cut)
    site.register.apply_many = failing
    at = now_ms() - 60_000
    try:
        for what, first, second in steps:
            at += 1
            if what == "ban":
                scope, channel, topic = second
                await site.ban(names[first], scope, channel=channel, topic=topic, at=at)
                own[first].add(second)
            elif what == "unban":
                scope, channel, topic = second
                own[first].discard(second)
                await site.unban(names[first], scope, channel=channel, topic=topic, at=at)
            elif what == "link":
                await site.people.link(people[first], contacts[second], WHO, source="t")
            elif what == "change":
                known = (await site.store.get(people[first])).person.every_contact[-1]
                await site.people.change_contact(
                    people[first], known, contacts[second], WHO, source="t"
                )
            elif what == "merge":
                await site.people.merge(people[first], people[1 - first], WHO)
            else:
                await site.archived()
    except RegisterUnavailable:
        assert failing.broken
    except PersonError:
        pass  # both were one person already
    finally:
        del site.register.apply_many
    before = await _everybody(site, people)
    await site.archived()
    healed = await site.spreader.heal()
    assert healed.failed == 0
    assert await _everybody(site, people) == before
    for person in before.values():
        places = [contacts.index(each) for each in person]
        banned = {ban for place in places for ban in own[place]}
        for place in places:
            entry = await site.register.show(contacts[place])
            held = {(each.scope, each.channel, each.topic) for each in entry.bans}
            wanted = {ban for ban in banned if ban[1] is None or ban[1] is contacts[place].channel}
            assert wanted <= held, (names[place], wanted, held)
    # A second time there is nothing to do.
    again = await site.spreader.heal()
    assert (again.tightened, again.lifted) == (0, 0)


async def _everybody(site, people):
    return {
        stored.person.id: stored.person.every_contact
        for stored in [await site.store.get(each) for each in people]
    }


@pytest.fixture(scope="module")
def _folder(tmp_path_factory):
    return tmp_path_factory.mktemp("any")


@pytest.mark.slow
def test_whatever_is_done_and_cut_off_no_contact_is_freer_than_the_persons_bans_say(
    _folder, register_url, ring
):
    """After any steps, cut off anywhere, and healing, each contact has each ban that reaches it."""

    @settings(
        max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(_STEPS, st.integers(0, 12) | st.just(1000))
    def walk(steps, cut):
        async def run():
            folder = _folder / new_id()
            folder.mkdir()
            async with open_site(folder, register_url, ring) as site:
                await _walk(site, steps, cut)

        asyncio.run(run())

    walk()
