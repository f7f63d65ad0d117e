"""A campaign's sums: how many went, how many did not, and why."""

from collections import Counter
from dataclasses import replace

import pytest

from gateway.contacts.contact import Channel
from gateway.records.archiver import Archiver
from gateway.records.counting import count
from gateway.records.finding import Wanted
from gateway.records.record import Direction, Result
from tests.records.test_archiver import recorded


def shown(sums):
    """What was decided, by which rule, with which end: of how many."""
    return {(one.outcome, one.rule, one.result): one.recipients for one in sums.shares}


async def test_a_campaign_is_counted(wire, sealer, archive, rules, make_message, outcome_of):
    first = make_message(50, decided=1_000, campaign="autumn")
    second = make_message(51, decided=2_000, campaign="autumn")
    others = [
        make_message(3, decided=1_500, campaign="winter"),
        make_message(3, decided=1_500, client="shop"),
        make_message(3, decided=1_500, direction=Direction.IN),
        make_message(3, decided=1_500, channel=Channel.SMS, topic="offers"),
    ]
    told = [outcome_of(first, Result.FORWARDED, n=n) for n in range(0, 40, 2)]
    told += [outcome_of(first, Result.SUPPRESSED, n=n) for n in range(1, 50, 2)]
    await recorded(wire, sealer, rules, first, second, *others, outcomes=told)
    await Archiver(wire, archive, clock=lambda: 3_000).run_once()

    sums = await archive.count(Wanted(client="crm", campaign="autumn"))
    assert (sums.messages, sums.recipients) == (2, 101)
    assert shown(sums) == {
        ("forward", "R40", Result.FORWARDED): 20,
        ("forward", "R40", None): 31,
        ("suppress", "R11", Result.SUPPRESSED): 25,
        ("suppress", "R11", None): 25,
    }
    assert [one.recipients for one in sums.shares] == [31, 25, 25, 20]
    assert {one.text.en for one in sums.shares if one.rule == "R11"} == {"banned"}

    async def recipients(**wanted):
        return (await archive.count(Wanted(**wanted))).recipients

    assert await recipients() == 110
    assert await recipients(since=1_500) == 60
    assert await recipients(until=1_500) == 50
    assert await recipients(since=2_000, until=2_000) == 0
    assert await recipients(topic="offers") == 3
    assert await recipients(channel=Channel.SMS) == 3
    assert await recipients(client="nobody") == 0
    assert (await archive.count(Wanted(client="nobody"))).messages == 0


@pytest.mark.parametrize("portion", [1, 2, 7, 1000])
async def test_every_record_counts_once_whatever_the_portions(
    wire, sealer, archive, database, rules, make_message, portion
):
    sizes = [3, 1, 4, 1, 5, 9, 2, 6]
    messages = [make_message(size, decided=n // 3) for n, size in enumerate(sizes)]
    await recorded(wire, sealer, rules, *messages)
    await Archiver(wire, archive).run_once()
    for since, until in ((None, None), (0, 3), (1, None), (2, 2), (None, 1)):
        inside = [
            m for m in messages if (since or 0) <= m.decided < (99 if until is None else until)
        ]
        sums = await count(database, Wanted(since=since, until=until), portion)
        assert sums.messages == len(inside)
        assert Counter(one.rule for m in inside for one in m.recipients) == {
            one.rule: one.recipients for one in sums.shares
        }


async def test_rules_that_said_something_else_then_are_told_apart(
    wire, sealer, archive, rules, make_message
):
    changed = replace(rules, hash="cd34", rules=(replace(rules.rules[0], en="no more"),))
    same = replace(rules, hash="ef56")
    await recorded(wire, sealer, rules, make_message(2))
    await recorded(wire, sealer, changed, make_message(2, rule_set_hash="cd34"))
    await recorded(wire, sealer, same, make_message(2, rule_set_hash="ef56"))
    await Archiver(wire, archive).run_once()
    sums = await archive.count(Wanted())
    told = {(one.rule, one.text and one.text.en): one.recipients for one in sums.shares}
    assert told == {
        ("R11", "banned"): 2,
        ("R11", "no more"): 1,
        ("R40", "consent"): 2,
        ("R40", None): 1,
    }
