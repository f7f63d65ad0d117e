"""How many went, how many did not, and by which rule: a campaign's sums.

One recipient of one message counts once.  A message that the tool sent again after a
4xx was decided, recorded, and is counted, anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.decision.facts import Outcome
from gateway.records import schema
from gateway.records.database import Database
from gateway.records.finding import Share, Sums, Wanted
from gateway.records.record import Direction, Result, RuleText

_PORTION: Final = 50_000


async def count(database: Database, wanted: Wanted, portion: int = _PORTION) -> Sums:
    """Count what was sent out.  Raises RecordsUnavailable.

    The archive is read in portions of so many records, each in a transaction of its own:
    what is decided or told meanwhile may be counted or not.
    """
    counted: Counter[_Group] = Counter()
    messages, begin, more = 0, wanted.since or 0, True
    while more:
        end = await database.read(partial(_end, begin=begin, until=wanted.until, portion=portion))
        narrowed = replace(wanted, since=begin, until=wanted.until if end is None else end)
        number, groups = await database.read(partial(_portion, wanted=narrowed))
        messages += number
        counted.update(groups)
        begin, more = end or begin, end is not None
    texts = await database.read(partial(_texts, rule_sets={one.rule_set for one in counted}))
    shares: Counter[tuple[str, str, str | None, RuleText | None]] = Counter()
    for group, number in counted.items():
        text = texts.get((group.rule_set, group.rule))
        shares[group.outcome, group.rule, group.result, text] += number
    return Sums(
        messages=messages,
        recipients=shares.total(),
        shares=tuple(
            Share(Outcome(outcome), rule, None if result is None else Result(result), text, number)
            for (outcome, rule, result, text), number in sorted(
                shares.items(), key=lambda item: (-item[1], item[0][:2], item[0][2] or "")
            )
        ),
    )


class _Group(NamedTuple):
    outcome: str
    rule: str
    result: str | None
    rule_set: str


async def _end(
    connection: AsyncConnection, begin: int, until: int | None, portion: int
) -> int | None:
    """The time before which some ``portion`` records lie; None: so many are not left.

    All records of a message have one time, so that no message is in two portions.
    """
    decided = schema.record.c.decided
    query = select(decided).where(decided >= begin).order_by(decided).offset(portion).limit(1)
    if until is not None:
        query = query.where(decided < until)
    end: int | None = await connection.scalar(query)
    # More than a portion of one moment: all of it.
    return None if end is None else max(end, begin + 1)


async def _portion(connection: AsyncConnection, wanted: Wanted) -> tuple[int, Counter[_Group]]:
    record, message = schema.record.c, schema.message.c
    messages = await connection.scalar(
        _narrowed(select(func.count(record.message_id.distinct())), wanted)
    )
    columns = (record.outcome, record.rule, record.result, message.rule_set_hash)
    query = _narrowed(select(*columns, func.count()), wanted).group_by(*columns)
    found = Counter({_Group(*row[:4]): row[4] for row in await connection.execute(query)})
    return messages or 0, found


def _narrowed(query: Select[Any], wanted: Wanted) -> Select[Any]:
    record, message = schema.record.c, schema.message.c
    query = query.join_from(schema.record, schema.message, record.message_id == message.id)
    query = query.where(message.direction == Direction.OUT.value)
    if wanted.since is not None:
        query = query.where(record.decided >= wanted.since)
    if wanted.until is not None:
        query = query.where(record.decided < wanted.until)
    channel = None if wanted.channel is None else wanted.channel.value
    for column, value in (
        (record.client, wanted.client),
        (message.campaign, wanted.campaign),
        (message.topic, wanted.topic),
        (message.channel, channel),
    ):
        if value is not None:
            query = query.where(column == value)
    return query


async def _texts(
    connection: AsyncConnection, rule_sets: set[str]
) -> dict[tuple[str, str], RuleText]:
    rows = await connection.execute(
        select(schema.rule_set.c.id, schema.rule_set.c.rules).where(
            schema.rule_set.c.id.in_(rule_sets)
        )
    )
    return {
        (rule_set, each["id"]): RuleText(**each)
        for rule_set, rules in rows
        for each in orjson.loads(rules)
    }
