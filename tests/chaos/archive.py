"""The gateway's archive as anyone with its keys can read it: the SQLite file itself."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

from gateway.contacts.digest import subject_of
from gateway.contacts.parse import parse_contact
from gateway.serve.keys import key_ring
from tests.peers.process import RunningGateway

_QUERY = """
SELECT message.id, message.sender_digest, message.rule_set_hash,
       record.digest, record.outcome, record.rule, record.result
FROM record JOIN message ON message.id = record.message_id ORDER BY record.id
"""


@dataclass(frozen=True)
class Row:
    """The record of one recipient of one message."""

    message: str
    """The gateway's id."""
    letter: str
    """Found by the digest of its envelope sender."""
    address: str
    """Found by its digest; empty if it is none of those asked about."""
    outcome: str
    result: str | None
    rule: str = ""
    rules: str = ""
    """The rule set's hash."""


def read_rows(
    gateway: RunningGateway, senders: Iterable[str], recipients: Iterable[str]
) -> list[Row]:
    """Every record; the gateway should have stopped, or have archived what was recorded."""
    settings = gateway.settings
    ring = key_ring(settings)

    def digests(addresses: Iterable[str]) -> dict[str, str]:
        return {str(ring.digest(subject_of(parse_contact(one)))): one for one in addresses}

    letters = {digest: one.partition("@")[0] for digest, one in digests(senders).items()}
    people = digests(recipients)
    path = settings.records.archive
    assert path is not None
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as database:
        found = database.execute(_QUERY).fetchall()
    return [
        Row(id_, letters.get(sender, ""), people.get(digest, ""), outcome, result, rule, rules)
        for id_, sender, rules, digest, outcome, rule, result in found
    ]
