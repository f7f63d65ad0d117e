"""What a tool must hold: never narrower than the register says, within what it can hold."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.connector.connector import Holds
from gateway.connector.suppression import Reason, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import ANY_TOPIC, Ban, Consent, ConsentStatus, Entry, Scope
from gateway.entry.standing import Standing
from gateway.sync.entry import ban_of, covers, entry_of, scope_of
from gateway.sync.wanted import wanted

NOW = 1_800_000_000_000
TOPICS = ["news", "shop", "events"]
MAIL, PHONE = parse_contact("a@example.com"), parse_contact("+358401234567")

times = st.integers(min_value=NOW - 10, max_value=NOW)
channels = st.sampled_from(Channel)


@st.composite
def bans(draw):
    scope = draw(st.sampled_from(Scope))
    channel = draw(channels) if scope is Scope.CHANNEL else None
    topic = None
    if scope is Scope.TOPIC:
        channel, topic = draw(st.none() | channels), draw(st.sampled_from(TOPICS))
    return Ban(scope, draw(times), channel, topic, draw(st.sampled_from([b"", b"abcd"])))


consents = st.builds(
    Consent,
    channels,
    st.sampled_from([*TOPICS, ANY_TOPIC]),
    st.sampled_from(ConsentStatus),
    times,
    st.none() | st.just(NOW - 1),
    st.booleans(),
    st.booleans(),
)
entries = st.builds(
    Entry,
    st.lists(bans(), max_size=4).map(tuple),
    st.lists(consents, max_size=3).map(tuple),
)
standings = st.builds(
    Standing,
    entries,
    st.just(True),
    st.lists(entries, max_size=1).map(tuple),
    st.lists(entries, max_size=1).map(tuple),
    hashed=st.lists(entries, max_size=1).map(tuple),
)
holds = st.builds(
    Holds,
    st.sets(st.sampled_from([Scope.ALL, Scope.CHANNEL, Scope.TOPIC])).map(frozenset),
    st.sets(channels, min_size=1).map(frozenset),
    st.sets(st.sampled_from(["News", "shop"])).map(frozenset),
)
contacts = st.sampled_from([MAIL, PHONE])


def forbids(entry: Suppression, channel: Channel, topic: str | None) -> bool:
    """Whether a tool that has this entry sends no such message."""
    if entry.scope is Scope.TOPIC:
        return topic in (None, entry.topic) and entry.channel in (None, channel)
    return entry.scope is Scope.ALL or entry.channel is channel


@given(contacts, standings, holds, st.booleans(), st.sampled_from([None, *TOPICS, "else"]))
def test_never_narrower(contact, standing, held, accept_wider, topic):
    channel = contact.channel
    want = wanted(contact, standing, held, accept_wider, NOW)
    if channel not in held.channels:
        assert want.entries == ()
        return
    facts = standing._replace(organisations=()).facts(channel, topic, None, NOW)
    forbidden = facts.ban_all or facts.ban_channel or facts.ban_topic or facts.ban_contact
    if not forbidden:
        return
    # By a ban, then, that stands there or that the tool cannot hold.
    assert any(forbids(entry, channel, topic) for entry in want.entries) or any(
        ban.covers(channel, topic) for ban in want.left
    )


@given(contacts, standings, holds, st.booleans())
def test_no_wider_than_it_must_be_and_of_what_the_tool_can_hold(
    contact, standing, held, accept_wider
):
    want = wanted(contact, standing, held, accept_wider, NOW)
    known = standing.standing_bans(contact.channel, NOW)
    topics = {topic.lower() for topic in held.topics}
    for entry in want.entries:
        assert entry.scope in held.scopes
        assert entry.reason is Reason.OBJECTION
        assert entry.scope is not Scope.TOPIC or entry.topic in topics
        same = [ban for ban in known if covers(ban_of(ban), scope_of(entry))]
        assert same or accept_wider
    for ban in want.left:
        assert ban.scope is Scope.TOPIC or not held.scopes - {Scope.TOPIC} or not accept_wider
    names = [entry_of(entry) for entry in want.entries]
    assert len(set(names)) == len(names)
    assert not any(covers(one, other) for one in names for other in names if one is not other)


@given(contacts, holds, st.booleans(), st.lists(consents, max_size=3))
def test_nothing_for_whoever_has_refused_nothing(contact, held, accept_wider, agreed):
    agreed = [each for each in agreed if each.status is not ConsentStatus.WITHDRAWN]
    standing = Standing(Entry((), tuple(agreed)), True)
    assert wanted(contact, standing, held, accept_wider, NOW) == wanted(
        contact, Standing(), held, accept_wider, NOW
    )


@given(contacts, standings, holds, st.booleans())
def test_what_stands_there_is_not_wanted_again(contact, standing, held, accept_wider):
    want = wanted(contact, standing, held, accept_wider, NOW)
    there = [entry_of(entry) for entry in want.entries]
    again = wanted(contact, standing, held, accept_wider, NOW, there=there)
    assert not any(any(covers(one, entry_of(entry)) for one in there) for entry in again.entries)


def test_a_consent_to_all_takes_the_ban_away_and_one_to_a_topic_does_not():
    ban = Ban(Scope.ALL, NOW - 5)
    held = Holds(frozenset({Scope.ALL}), frozenset({Channel.EMAIL}))

    def entries_with(topic: str) -> int:
        consent = Consent(
            Channel.EMAIL, topic, ConsentStatus.GRANTED, NOW - 1, proven=True, lifts=True
        )
        standing = Standing(Entry((ban,), (consent,)), True)
        return len(wanted(MAIL, standing, held, False, NOW).entries)

    assert entries_with(ANY_TOPIC) == 0
    assert entries_with("news") == 1
