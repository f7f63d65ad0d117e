"""Companies of a public register, and the mail domains that are theirs.

A role's address (``info@``) at a linked domain of a company that is a legal person for
certain becomes ``legal`` in the register, by an event that names its source.  A named
address never does, and what is unknown stays a natural person.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.contacts.parse import parse_domain, parse_email
from gateway.decision.facts import PersonClass
from gateway.entry.event import Attributes, Event, EventKind
from gateway.failure import InputError
from gateway.records import schema
from gateway.records.act import Act, Action
from gateway.records.database import Database
from gateway.register.register import Register
from gateway.subject import ytj
from gateway.subject.people import Acts, Who
from gateway.subject.role import ROLES, SHARED_DOMAINS

_BATCH: Final = 500
_organisation, _domain = schema.organisation, schema.organisation_domain


@dataclass(frozen=True, slots=True)
class Link:
    """A domain and whose it is; the company's members are empty where it is not known."""

    domain: str
    business_id: str
    name: str = ""
    form: str = ""
    legal_person: bool = False


@dataclass(slots=True)
class Imported:
    """What an import of a snapshot did."""

    companies: int = 0
    legal: int = 0
    gone: int = 0
    """Companies that were known and are not in the snapshot."""
    classified: int = 0
    """Addresses whose class changed."""


class Organisations:
    """Companies in the archive database; every method raises RecordsUnavailable."""

    def __init__(
        self, database: Database, register: Register, acts: Acts, clock: Clock = now_ms
    ) -> None:
        self._database = database
        self._register = register
        self._acts = acts
        self._clock = clock

    async def import_snapshot(self, path: Path, who: Who, *, whole: bool = False) -> Imported:
        """Take in a snapshot (see :mod:`.ytj`), and classify at every linked domain anew.

        ``whole``: it is all of the register, so that companies which are not in it are
        not known any more.  Cut off in between, it is imported again.  Raises InputError,
        RegisterUnavailable.
        """
        source = f"YTJ {path.name}"
        await self._acts.act(
            Act(
                action=Action.IMPORT,
                actor=who.name,
                reason=who.reason,
                detail={"what": "organisations"},
            )
        )
        done = Imported()
        at = self._clock()
        companies = ytj.read(path)
        while batch := await asyncio.to_thread(lambda: list(islice(companies, _BATCH))):
            await self._put(batch, source, at)
            done.companies += len(batch)
            done.legal += sum(each.legal_person for each in batch)
        if whole:

            async def work(connection: AsyncConnection) -> int:
                gone = await connection.execute(
                    delete(_organisation).where(_organisation.c.at < at)
                )
                return int(gone.rowcount)

            done.gone = await self._database.write(work)
        for link in await self.links():
            done.classified += await self._classify(link, who, source)
        if done.classified:
            await self._register.settle()
        return done

    async def link(
        self, domain: str, business_id: str, who: Who, *, source: str
    ) -> tuple[Link, int]:
        """Say whose a domain is; the link, and how many addresses changed their class.

        Raises ContactError, InputError for what is no Y-tunnus, or a domain under which
        anybody has a mailbox, RegisterUnavailable.
        """
        name = parse_domain(domain)
        number = ytj.business_id_of(business_id)
        if name in SHARED_DOMAINS:
            raise InputError(f"{name}: anybody has a mailbox there; it is no organisation's")
        await self._note(who, "link", number)
        values = {"business_id": number, "source": source, "at": self._clock()}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(_domain).where(_domain.c.domain == name))
            await connection.execute(insert(_domain).values(domain=name, **values))

        await self._database.write(work)
        link = (await self.links(name))[0]
        changed = await self._classify(link, who, source)
        await self._register.settle()
        return link, changed

    async def unlink(self, domain: str, who: Who) -> int:
        """Forget whose a domain is; how many addresses are natural persons' again."""
        name = parse_domain(domain)
        if not await self.links(name):
            raise InputError(f"{name}: not linked to an organisation")
        await self._note(who, "unlink", "")

        # First the addresses, so that a crash leaves them the stricter class.
        changed = await self._classify(Link(name, ""), who, "unlinked")

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(_domain).where(_domain.c.domain == name))

        await self._database.write(work)
        await self._register.settle()
        return changed

    async def links(self, domain: str | None = None) -> list[Link]:
        """The linked domains with their companies, by name."""
        query = (
            select(
                _domain.c.domain,
                _domain.c.business_id,
                _organisation.c.name,
                _organisation.c.form,
                _organisation.c.legal_person,
            )
            .outerjoin(_organisation, _domain.c.business_id == _organisation.c.business_id)
            .order_by(_domain.c.domain)
        )
        if domain is not None:
            query = query.where(_domain.c.domain == domain)

        async def work(connection: AsyncConnection) -> list[Link]:
            return [
                Link(row[0], row[1], row[2] or "", row[3] or "", bool(row[4]))
                for row in await connection.execute(query)
            ]

        return await self._database.read(work)

    # -- parts ------------------------------------------------------------------------

    async def _classify(self, link: Link, who: Who, source: str) -> int:
        """Give the roles' addresses at a domain the class that is known of it."""
        wanted = PersonClass.LEGAL if link.legal_person else PersonClass.NATURAL
        contacts = [parse_email(f"{role}@{link.domain}") for role in ROLES]
        entries = await asyncio.gather(*map(self._register.show, contacts))
        event = Event(
            kind=EventKind.CLASSIFY,
            at=self._clock(),
            actor=who.name,
            source=source,
            evidence=f"{link.business_id} {link.form}".strip(),
            attributes=Attributes(person_class=wanted, source_known=link.legal_person or None),
        )
        changes = [
            (event, contact)
            for contact, entry in zip(contacts, entries, strict=True)
            # A class that was documented as somebody's work is left alone, and nothing
            # is written of an address that is natural anyhow.
            if not entry.tombstone
            and entry.person_class is not PersonClass.WORK
            and (link.legal_person or entry.person_class is PersonClass.LEGAL)
        ]
        logged = await self._register.apply_many(changes, only_changes=True, settled=False)
        return len(logged)

    async def _put(self, companies: Sequence[ytj.Company], source: str, at: int) -> None:
        rows = {
            each.business_id: {
                "business_id": each.business_id,
                "name": each.name,
                "form": each.form,
                "legal_person": int(each.legal_person),
                "source": source,
                "at": at,
            }
            for each in companies
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                delete(_organisation).where(_organisation.c.business_id.in_(list(rows)))
            )
            await connection.execute(insert(_organisation), list(rows.values()))

        await self._database.write(work)

    async def _note(self, who: Who, what: str, business_id: str) -> None:
        await self._acts.act(
            Act(
                action=Action.CHANGE,
                actor=who.name,
                reason=who.reason,
                detail={"what": f"organisation {what}", "business_id": business_id},
            )
        )
