"""Counts for research: every table divides its channel, and nothing small is told."""

from datetime import UTC, datetime

from gateway.contacts.contact import Channel
from gateway.decision.facts import PersonClass
from gateway.entry.entry import Ban, Consent, ConsentStatus, Entry, Scope
from gateway.entry.merging import merge
from gateway.register.statistics import TABLES, Tally

NOW = 1_795_379_602_872


def year(number):
    return int(datetime(number, 6, 1, tzinfo=UTC).timestamp() * 1000)


def consent(status=ConsentStatus.GRANTED, **more):
    return Consent(Channel.EMAIL, "*", status, 1, **more)


def test_tables_of_a_channel():
    tally = Tally(NOW)
    kinds = [
        (40, Entry(source_known=True, person_class=PersonClass.NATURAL), year(2020)),
        (30, Entry((Ban(Scope.ALL, 1), Ban(Scope.DISCLOSURE, 1))), year(2021)),
        (9, Entry((Ban(Scope.TOPIC, 1, topic="x"),)), year(2022)),
        (2, Entry((Ban(Scope.CONTACT, 1),)), year(2023)),
        (8, Entry(consents=(consent(proven=True), )), year(2020)),
        (7, Entry(consents=(consent(ConsentStatus.WITHDRAWN),)), year(2020)),
        (6, Entry(consents=(consent(expires=5),)), year(2020)),
    ]  # fmt: skip
    for count, entry, since in kinds:
        for _ in range(count):
            tally.add("email", merge([entry]), since)
    told = {(one.table, one.value): one.count for one in tally.counts(5)}
    assert told["contacts", ""] == 102
    assert {table for table, _ in told} == {*TABLES, "contacts"}
    assert told["class", "natural"] == 40
    assert told["class", "unsaid"] == 62
    assert told["ban", "none"] == 54
    assert told["ban", "all"] == 30
    # Two people: the withdrawals (7) are the smallest other count, and are withheld too.
    assert told["ban", "contact"] is None
    assert told["ban", "channel"] is None
    assert told["ban", "topic"] == 9
    assert [told["consent", value] for value in ("granted", "withdrawn", "expired", "none")] == [
        8,
        7,
        6,
        81,
    ]
    assert told["year", "2023"] is None
    assert told["year", "2022"] is None
    assert told["year", "2021"] == 30


def test_a_small_channel_is_not_divided_and_not_told_by_the_rest():
    tally = Tally(NOW)
    known = merge([Entry(source_known=True)])
    for channel, count in (("email", 50), ("sms", 3), ("organisation", 20)):
        for _ in range(count):
            tally.add(channel, known, year(2024))
    rows = tally.counts(5)
    told = {(one.channel, one.table): one.count for one in rows}
    assert told["all", "contacts"] == 73
    assert told["sms", "contacts"] is None
    assert told["organisation", "contacts"] is None
    assert told["email", "contacts"] == 50
    assert {one.channel for one in rows if one.table in TABLES} == {"email"}


def test_where_everything_is_small_nothing_is_told():
    tally = Tally(NOW)
    for _ in range(4):
        tally.add("email", merge([Entry(source_known=True)]), year(2024))
    assert [one.count for one in tally.counts(5)] == [None, None]
    assert [one.count for one in Tally(NOW).counts(5)] == [0]
