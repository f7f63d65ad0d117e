"""What a page shows, against what the rules would do: it never promises more or less."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.contact import Channel
from gateway.decision.facts import ConsentState
from gateway.entry.entry import EMPTY, ConsentStatus, Scope
from gateway.entry.event import Event, EventKind
from gateway.entry.projection import project
from gateway.entry.repetition import in_force
from gateway.entry.standing import Standing
from gateway.page.choice import Act, refusal
from gateway.page.view import CONFIRM_DAYS, Offer, View, may_confirm, view_of

NOW = 1_800_000_000_000
DAY = 86_400_000
OFFERS = (Offer("news", "Yes.", "1", "en"), Offer("*", "Yes to all.", "1", "en"))

TIMES = st.integers(NOW - 30 * DAY, NOW)
TOPICS = st.sampled_from(["news", "other"])


@st.composite
def events(draw):
    kind = draw(st.sampled_from([EventKind.BAN, EventKind.CONSENT, EventKind.WITHDRAW]))
    how = {"kind": kind, "at": draw(TIMES), "actor": "t", "source": "t"}
    channel = draw(st.sampled_from(list(Channel)))
    if kind is EventKind.BAN:
        scope = draw(st.sampled_from([Scope.ALL, Scope.CHANNEL, Scope.TOPIC, Scope.CONTACT]))
        how["scope"] = scope
        if scope is Scope.CHANNEL or draw(st.booleans()):
            how["channel"] = channel
        if scope is Scope.TOPIC:
            how["topic"] = draw(TOPICS)
    else:
        how |= {"channel": channel, "topic": draw(st.sampled_from(["news", "other", "*"]))}
        if kind is EventKind.CONSENT:
            status = draw(st.sampled_from([ConsentStatus.GRANTED, ConsentStatus.PENDING]))
            proven = draw(st.booleans())
            how |= {"status": status, "proven": proven, "lifts": proven}
            how["expires"] = draw(st.none() | st.integers(NOW - DAY, NOW + DAY))
    return Event(**how)


@st.composite
def standings(draw):
    entry = EMPTY
    for event in draw(st.lists(events(), max_size=7)):
        entry = project(entry, event)
    return Standing(entry, known=True)


@given(standings(), st.sampled_from([None, "news"]))
def test_what_is_said_to_be_stopped_is_stopped(standing, topic):
    view = view_of(standing, Channel.EMAIL, topic, OFFERS, NOW)

    def is_stopped(channel: Channel, about: str | None) -> bool:
        facts = standing.facts(channel, about, None, NOW)
        return facts.ban_all or facts.ban_channel or facts.ban_topic

    if view.topic_stopped:
        assert is_stopped(Channel.EMAIL, topic)
    if view.channel_stopped:
        assert all(is_stopped(Channel.EMAIL, about) for about in ("news", "other", "third", None))
    if view.all_stopped:
        assert all(is_stopped(each, about) for each in Channel for about in ("news", "other", None))


@given(standings())
def test_a_ban_that_the_rules_see_is_shown(standing):
    view = view_of(standing, Channel.EMAIL, "news", OFFERS, NOW)
    shown = {one.scope for one in view.refusals}
    for channel in Channel:
        for topic in ("news", "other"):
            facts = standing.facts(channel, topic, None, NOW)
            if facts.ban_all:
                assert shown & {Scope.ALL, Scope.CONTACT}
            if facts.ban_channel:
                assert Scope.CHANNEL in shown
            if facts.ban_topic:
                assert Scope.TOPIC in shown


@given(standings())
def test_a_consent_that_is_shown_as_given_allows_what_it_says(standing):
    view = view_of(standing, Channel.EMAIL, "news", OFFERS, NOW)
    for one in view.consents:
        if one.status is ConsentStatus.GRANTED:
            topic = "third" if one.topic == "*" else one.topic
            facts = standing.facts(Channel.EMAIL, topic, None, NOW)
            assert facts.consent is ConsentState.GRANTED
            assert not (facts.ban_all or facts.ban_channel or facts.ban_topic)


def stopped(view: View, act: Act) -> bool:
    return {
        Act.TOPIC: view.topic_stopped,
        Act.CHANNEL: view.channel_stopped,
        Act.ALL: view.all_stopped,
    }[act]


@given(standings(), st.sampled_from([Act.TOPIC, Act.CHANNEL, Act.ALL]))
def test_a_refusal_that_is_not_recorded_again_is_in_force_by_itself(standing, act):
    event = refusal(act, Channel.EMAIL, "news", "e", "one-click", NOW)
    before = view_of(standing, Channel.EMAIL, "news", OFFERS, NOW)
    if in_force(event, standing.exact):
        assert stopped(before, act)
    after = Standing(project(standing.exact, event), known=True)
    told = view_of(after, Channel.EMAIL, "news", OFFERS, NOW + 1)
    assert stopped(told, act)
    assert in_force(event, after.exact)


@given(standings())
def test_who_has_refused_is_not_asked_back(standing):
    view = view_of(standing, Channel.EMAIL, "news", OFFERS, NOW)
    facts = standing.facts(Channel.EMAIL, "news", None, NOW)
    if facts.ban_all or facts.ban_channel or facts.ban_topic:
        assert not view.promoted
    if facts.ban_contact:
        assert view.offers == ()


@given(standings())
def test_what_may_be_confirmed_was_asked_lately_and_not_forbidden_since(standing):
    asked = may_confirm(standing, Channel.EMAIL, "news", NOW)
    if asked is None:
        return
    assert asked.status is ConsentStatus.PENDING
    assert NOW - asked.at <= CONFIRM_DAYS * DAY
    event = Event(
        kind=EventKind.CONSENT,
        at=NOW + 1,
        actor="person",
        source="link",
        channel=Channel.EMAIL,
        topic="news",
        proven=True,
        lifts=True,
    )
    after = Standing(project(standing.exact, event), known=True)
    facts = after.facts(Channel.EMAIL, "news", None, NOW + 1)
    assert facts.consent is ConsentState.GRANTED
    assert not (facts.ban_all or facts.ban_channel or facts.ban_topic)
