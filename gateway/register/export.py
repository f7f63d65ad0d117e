"""Every known contact, in the form that an import reads."""

from __future__ import annotations

import csv
import sys
from collections.abc import AsyncIterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO

import orjson

from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import ANY_TOPIC, Consent, ConsentStatus, Entry, Scope
from gateway.failure import InputError
from gateway.register.register import Register
from gateway.register.rows import COLUMNS

Row = dict[str, str]

_WORDS = {
    Scope.ALL: "all",
    Scope.ORGANISATION: "all",
    Scope.CONTACT: "contact",
    Scope.DISCLOSURE: "disclosure",
}


async def export_rows(
    register: Register, addresses: AsyncIterable[str], target: Path | None
) -> int:
    """Write one contact's rows after the other as CSV or, by the name's ending, NDJSON.

    Consents of different states, times or topics take a row each, which an import
    joins again.  Returns the number of contacts.

    Raises:
        InputError: the file cannot be written.

    """
    if target is None:
        return await _write(register, addresses, sys.stdout, ndjson=False)
    draft = target.with_name(target.name + ".part")
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            count = await _write(register, addresses, file, ndjson=target.suffix == ".ndjson")
        draft.replace(target)
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)
    return count


async def _write(
    register: Register, addresses: AsyncIterable[str], file: IO[str], *, ndjson: bool
) -> int:
    writer = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\n")
    if not ndjson:
        writer.writeheader()
    count = 0
    async for address in addresses:
        if address.startswith("@"):
            rows = rows_of(
                "organisation", address[1:], await register.show_organisation(address[1:])
            )
        else:
            contact = parse_contact(address)
            column = "email" if contact.channel is Channel.EMAIL else "phone"
            rows = rows_of(column, address, await register.show(contact))
        count += bool(rows)
        for row in rows:
            if ndjson:
                file.write(orjson.dumps({k: v for k, v in row.items() if v}).decode() + "\n")
            else:
                writer.writerow(row)
    return count


def rows_of(column: str, address: str, entry: Entry) -> list[Row]:
    """A contact's rows: what does not repeat, then a row per consent and per time of bans."""
    if entry == Entry():
        return []
    first: Row = {
        column: address,
        "person_class": entry.person_class or "",
        "age": entry.age or "",
        "guardian_consent": _yes_no(entry.guardian_consent),
        "relationship_start": _day(entry.relationship_start),
        "relationship_end": _day(entry.relationship_end),
        "collected": entry.collected or "",
        "opt_out_offered": _yes_no(entry.opt_out_offered),
        "product_groups": ";".join(sorted(entry.product_groups or ())),
        "restricted": "yes" if entry.restricted else "",
        "source": "register export" if entry.source_known else "",
    }
    more: list[Row] = []
    for at in sorted({ban.at for ban in entry.bans if not ban.inherited}):
        bans = [ban for ban in entry.bans if ban.at == at and not ban.inherited]
        words = [
            ban.channel.value
            if ban.scope is Scope.CHANNEL and ban.channel is not None
            else _WORDS.get(ban.scope, "")
            for ban in bans
        ]
        more.append(
            {
                column: address,
                "ban": ";".join(sorted({word for word in words if word})),
                "ban_topics": ";".join(ban.topic for ban in bans if ban.topic is not None),
                "ban_at": _moment(at),
            }
        )
    more += [{column: address, **_consent(consent)} for consent in entry.consents]
    if more:
        first |= more.pop(0)
    return [first, *more]


def _consent(consent: Consent) -> Row:
    column = "consent_email" if consent.channel is Channel.EMAIL else "consent_sms"
    status = ConsentStatus(consent.status).value
    return {
        column: status,
        "consent_topics": "" if consent.topic == ANY_TOPIC else consent.topic,
        "consent_at": _moment(consent.at),
        "consent_expires": _moment(consent.expires) if consent.expires is not None else "",
        "consent_proof": "yes" if consent.proven else "",
    }


def _moment(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


def _day(value: date | None) -> str:
    return value.isoformat() if value is not None else ""


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
