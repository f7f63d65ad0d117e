"""What the gateway left behind: the sandbox's mail, the archive, the held messages."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.contacts.contact import Channel
from gateway.contacts.digest import subject_of
from gateway.contacts.email import parse_email
from gateway.demo.site import DemoSite
from gateway.held.message import Held
from gateway.held.store import HeldStore
from gateway.records import schema
from gateway.records.archive import Archive
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.finding import Found
from gateway.records.line import Row
from gateway.records.unsealing import Unsealer
from gateway.records.verification import Verification
from gateway.sandbox import read_sandbox
from gateway.serve.keys import key_ring, sealer
from gateway.serve.stores import open_custody, open_database
from gateway.settings.load import load_settings

_MESSAGE_ID = re.compile(rb"^Message-ID:[ \t]*(\S+)\r$", re.IGNORECASE | re.MULTILINE)
_ALL = 1_000_000


@dataclass(frozen=True, slots=True)
class Arrival:
    """One message as it lies in the sandbox."""

    message_id: str
    """Of its header field; empty when it has none."""
    recipients: tuple[str, ...]
    content: bytes


@dataclass(frozen=True, slots=True)
class HeldCopy:
    """A held message with its octets."""

    held: Held
    content: bytes


@dataclass(frozen=True, slots=True)
class Record:
    """One recipient's record, and the address that its sealed part opens to."""

    found: Found
    address: str


@dataclass(frozen=True, slots=True)
class TextArrival:
    """One text message to one number, as it lies in the sandbox."""

    route: str
    sender: str
    text: str
    number: str


@dataclass(frozen=True, slots=True)
class Observation:
    """Everything the proof looks at."""

    arrivals: tuple[Arrival, ...]
    texts: tuple[TextArrival, ...]
    records: tuple[Record, ...]
    """Of mail."""
    text_records: tuple[Record, ...]
    held: tuple[HeldCopy, ...]
    """Of mail."""
    chain: Verification

    @property
    def all_records(self) -> tuple[Record, ...]:
        """Of mail and of text messages."""
        return self.records + self.text_records


def observe(site: DemoSite) -> Observation:
    """Read the stores of a gateway that has ended; blocks.

    Raises:
        GatewayError: the configuration, the keys or the archive cannot be read.

    """
    arrivals = tuple(
        Arrival(message_id_of(content), envelope.recipients, content)
        for envelope, content in read_sandbox(site.sandbox)
    )
    return asyncio.run(_stores(site, arrivals, tuple(_texts(site.text_sandbox))))


def _texts(file: Path) -> Iterator[TextArrival]:
    """Every recipient of every request in the sandbox, read as its provider would."""
    for line in file.read_bytes().splitlines():
        request = orjson.loads(line)
        route = request["route"]
        if request["provider"] == "infobip":
            for one in orjson.loads(request["body"])["messages"]:
                for to in one["destinations"]:
                    yield TextArrival(route, one["sender"], one["content"]["text"], to["to"])
        else:
            form = parse_qs(request["body"], keep_blank_values=True, strict_parsing=True)
            for number in form["To"]:
                yield TextArrival(route, form["From"][0], form["Body"][0], number)


async def _stores(
    site: DemoSite, arrivals: tuple[Arrival, ...], texts: tuple[TextArrival, ...]
) -> Observation:
    settings = load_settings(site.config)
    seal = sealer(settings)
    async with AsyncExitStack() as stack:
        database = await open_database(settings)
        stack.push_async_callback(database.aclose)
        custody = await open_custody(settings, seal, database)
        stack.push_async_callback(custody.aclose)
        archive = Archive(database, seal, custody)
        addresses = await _addresses(database, Unsealer(seal, custody))
        records = [
            Record(found, addresses[found.record_id]) for found in await archive.search(limit=_ALL)
        ]
        store = HeldStore(database, seal, ContentStore(database, seal, custody=custody))
        held = []
        for one in await store.list(limit=_ALL):
            if not any("@" in to.address for to in one.message.recipients):
                continue
            content = b"".join([piece async for piece in store.open_content(one.id)])
            held.append(HeldCopy(one, content))
        mail, text = (
            tuple(one for one in records if one.found.channel is channel)
            for channel in (Channel.EMAIL, Channel.SMS)
        )
        return Observation(arrivals, texts, mail, text, tuple(held), await archive.verify())


async def _addresses(database: Database, unsealer: Unsealer) -> dict[str, str]:
    """The address of every record by the record's id; empty where it does not open."""

    async def work(connection: AsyncConnection) -> list[Row]:
        record = schema.record.c
        rows = await connection.execute(select(record.id, record.digest, record.sealed_address))
        return [dict(row) for row in rows.mappings()]

    rows = await database.read(work)
    opened = await unsealer.records(rows)
    return {row["id"]: one.address or "" for row, one in zip(rows, opened, strict=True)}


def message_id_of(content: bytes) -> str:
    """The Message-ID of a message's header section, or empty."""
    header = content.partition(b"\r\n\r\n")[0] + b"\r\n"
    found = _MESSAGE_ID.search(header)
    return found[1].decode("ascii", "replace") if found else ""


class Digests:
    """Keyed digests of addresses under the site's keys; blocks when made."""

    def __init__(self, site: DemoSite) -> None:
        self._ring = key_ring(load_settings(site.config))

    def of(self, address: str) -> str:
        """The digest that a record of this address carries."""
        return str(self._ring.digest(subject_of(parse_email(address))))
