"""People in PostgreSQL: the same as in SQLite."""

import pytest

from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.held.store import HeldStore
from gateway.subject.directory import PersonStateError
from gateway.subject.erasure import Erasure
from gateway.subject.organisations import Organisations
from gateway.subject.person import Objection
from gateway.subject.request import Kind
from gateway.subject.requests import Requests
from tests.peers.postgresql import Cluster
from tests.subject.conftest import WHO, open_site
from tests.subject.test_organisations import company, write


async def test_a_persons_whole_way_in_postgresql(postgresql: Cluster, tmp_path, register_url, ring):
    async with open_site(tmp_path, register_url, ring, postgresql.database()) as site:
        people, requests = (
            site.people,
            Requests(site.database, site.custody, site.store, site.recorder),
        )
        first = await people.add(
            WHO, name="Maija", contacts=[parse_contact("a@example.com")], source="form"
        )
        second = await people.add(
            WHO, name="Maija", contacts=[parse_contact("+358401234567")], source="form"
        )
        await site.ban("a@example.com")
        merged = await people.merge(first.person.id, second.person.id, WHO)
        assert await site.scopes("+358401234567") == {"ban_all"}
        await people.link(merged.person.id, parse_contact("b+x@example.com"), WHO, source="call")
        await site.ban("b@example.com", Scope.DISCLOSURE)
        await site.archived()
        assert await site.scopes("a@example.com") == {"ban_all", "disclosure"}
        await site.wishes.object(
            merged.person.id, Objection(words="ei", received=now_ms(), scope=Scope.CONTACT), WHO
        )
        await requests.receive(Kind.ERASURE, WHO, person_id=merged.person.id, words="pois")
        assert await requests.counts() == (1, 0)
        organisations = Organisations(site.database, site.register, site.recorder)
        await organisations.import_snapshot(write(tmp_path / "ytj.json", company()), WHO)
        await organisations.import_snapshot(write(tmp_path / "b.json", company()), WHO, whole=True)
        assert (await organisations.link("lamisnet.fi", "2701131-6", WHO, source="x"))[0].form
        erasure = Erasure(
            people,
            site.register,
            HeldStore(site.database, site.sealer, site.contents),
            site.recorder,
            site.custody,
            requests,
            site.archiver.run_once,
        )
        await erasure.erase(first.person.id, WHO)
        assert await requests.counts() == (0, 0)
        with pytest.raises(PersonStateError):
            await people.read(first.person.id, WHO)
        assert (await site.spreader.heal()).people == 0
