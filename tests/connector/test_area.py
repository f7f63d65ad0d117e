"""Areas of tools, answers and callers."""

import pytest

from gateway.connector.area import Areas
from gateway.connector.connector import Place
from gateway.connector.saying import canonical, moment_of, stamp
from gateway.connector.suppression import Reason, Suppression
from gateway.connector.webhook import told
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.failure import InputError

AREAS = Areas(Place("tool", topics=(("News", "n"), ("Offers", "o"), ("Deals", "o"))), "main")


def entry(scope, topic=None, channel=None, text="a@example.com"):
    return Suppression(parse_contact(text), scope, Reason.OBJECTION, channel, topic)


def test_an_area_is_a_scope():
    assert AREAS.names == ("main", "n", "o")
    assert AREAS.topics == {"news", "offers", "deals"}
    assert list(AREAS.meanings("main")) == [(Scope.CHANNEL, None)]
    assert list(AREAS.meanings("n")) == [(Scope.TOPIC, "news")]
    assert list(AREAS.meanings("o")) == [(Scope.TOPIC, "offers"), (Scope.TOPIC, "deals")]
    assert list(AREAS.meanings("elsewhere")) == []


@pytest.mark.parametrize(
    ("one", "areas"),
    [
        (entry(Scope.ALL), ("main", "n", "o")),
        (entry(Scope.CHANNEL, channel=Channel.EMAIL), ("main", "n", "o")),
        (entry(Scope.CHANNEL, channel=Channel.SMS), ()),
        (entry(Scope.TOPIC, "NEWS"), ("n",)),
        (entry(Scope.TOPIC, "deals", Channel.EMAIL), ("o",)),
        (entry(Scope.TOPIC, "other"), ()),
        (entry(Scope.TOPIC), ()),
        (entry(Scope.ORGANISATION), ()),
        (entry(Scope.ALL, text="+358401234567"), ()),
    ],
)
def test_a_ban_of_everything_belongs_into_every_area(one, areas):
    assert AREAS.of(one) == areas


@pytest.mark.parametrize("area", ["main", ""])
def test_a_topic_needs_an_area_of_its_own(area):
    with pytest.raises(InputError, match="tool: topics: News"):
        Areas(Place("tool", topics=(("News", area),)), "main")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-02-01T10:53:34.416071Z", 1769943214416),
        ("2014-08-01T13:28:10.2735393-04:00", 1406914090274),
        ("2014-01-15 11:32:19", 1389785539000),
        ("2015-10-21T15:41:36+00:00", 1445442096000),
        ("1969-12-31T23:59:59Z", None),
        ("soon", None),
        (None, None),
        (17, None),
    ],
)
def test_times_of_every_tool_are_read(text, at):
    assert moment_of(text) == at


def test_times_are_written_in_whole_seconds():
    assert stamp(1769943214416) == "2026-02-01T10:53:34+00:00"


def test_addresses_are_compared_in_the_registers_form():
    assert canonical("Anna@Müller.example") == canonical("anna@xn--mller-kva.example")
    assert canonical("nobody") == canonical(None) == ""


def test_a_mark_is_a_keyed_hash_of_all_that_is_said():
    assert told("k", 1, "a", "b") == told("k", 1, "a", "b")
    marks = {told("k", 1, "a", "b"), told("j", 1, "a", "b"), told("k", 2, "a", "b")}
    assert len(marks | {told("k", 1, "ab", ""), told("k", 1, "a", None)}) == 5
    assert told("k", None, "a") == ""
