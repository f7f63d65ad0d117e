"""Imports under a new digest key: what is known under an older one counts all the same."""

import asyncio
import hashlib

import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.digest import KeyRing
from gateway.contacts.hashed import Algorithm, Normalisation, Scheme
from gateway.contacts.parse import parse_email
from gateway.entry.entry import ConsentStatus, Scope
from gateway.entry.event import Event, EventKind
from gateway.register.hashlist import import_hashed
from gateway.register.importing import import_file
from gateway.register.register import Register
from tests.peers.losing import LosingServer

OLD = KeyRing({"k1": bytes(range(32))}, "k1")
NEW = KeyRing({"k1": bytes(range(32)), "k2": bytes(range(1, 33))}, "k2")
NAMES = ("a@example.com", "b+x@example.com", "b+y@example.com")


@pytest.fixture
async def url():
    # A server of its own: a register that knows a second key is opened by no other test.
    async with LosingServer() as server:
        yield server.url


async def consent(register, contact):
    await asyncio.sleep(0.002)  # later than the ban
    event = Event(
        **{"kind": EventKind.CONSENT, "at": now_ms(), "actor": "test", "channel": Channel.EMAIL},
        **{"topic": "*", "status": ConsentStatus.GRANTED, "proven": True, "lifts": True},
    )
    await register.apply(event, contact)


async def banned(register, contact):
    (standing,) = await register.look_up([contact])
    facts = standing.facts(Channel.EMAIL, None, None, now_ms())
    return facts.ban_all or facts.ban_channel


# A source of its own, or two rows for one contact, make rows that are applied singly.
@pytest.mark.parametrize("rows", ["email,ban\n{0},all\n", "email,ban\n{0},all\n{0},email\n"])
@pytest.mark.parametrize("name", NAMES)
async def test_a_list_that_comes_again_under_a_new_key_undoes_no_consent(url, tmp_path, rows, name):
    path, contact = tmp_path / "list.csv", parse_email(name)
    path.write_text(rows.format(name))
    async with await Register.open(url, OLD) as register:
        await import_file(path, register, actor="test")
        assert await banned(register, contact)
        await consent(register, contact)
        assert not await banned(register, contact)
    async with await Register.open(url, NEW) as register:
        assert not await banned(register, contact)
        again = await import_file(path, register, actor="test")
        assert (again.changed, again.events) == (0, 0)
        assert not await banned(register, contact)


async def test_another_spelling_that_is_new_still_bans_the_base_under_a_new_key(url, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("email,ban\nb+x@example.com,all\n")
    async with await Register.open(url, OLD) as register:
        await import_file(path, register, actor="test")
    async with await Register.open(url, NEW) as register:
        path.write_text("email,ban\nb+x@example.com,all\nb+y@example.com,all\n")
        again = await import_file(path, register, actor="test")
        assert (again.rows, again.changed, again.unchanged) == (2, 1, 1)
        # The ban of the one goes, that of the other stays.
        event = Event(kind=EventKind.UNBAN, at=now_ms(), actor="test", scope=Scope.ALL)
        await register.apply(event, parse_email("b+x@example.com"))
        assert await banned(register, parse_email("b@example.com"))
        await register.apply(event, parse_email("b+y@example.com"))
        assert not await banned(register, parse_email("b@example.com"))


async def test_a_domain_that_is_banned_under_an_older_key_is_left_as_it_is(url, tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("organisation\nexample.com\n")
    async with await Register.open(url, OLD) as register:
        assert (await import_file(path, register, actor="test")).changed == 1
    async with await Register.open(url, NEW) as register:
        assert (await import_file(path, register, actor="test")).events == 0


async def test_nothing_comes_back_of_the_erased_by_an_import_under_a_new_key(url, tmp_path):
    path, contact = tmp_path / "list.csv", parse_email("a@example.com")
    path.write_text(
        "email,person_class,product_groups,consent_email,consent_proof\n"
        "a@example.com,work,boats,granted,form 5\n"
    )
    async with await Register.open(url, OLD) as register:
        await register.apply(Event(kind=EventKind.ERASE, at=now_ms(), actor="test"), contact)
        before = await register.look_up([contact])
    async with await Register.open(url, NEW) as register:
        assert (await import_file(path, register, actor="test")).events == 0
        (standing,) = await register.look_up([contact])
        assert standing.exact == before[0].exact


async def test_a_hashed_list_that_comes_again_under_a_new_key_refreshes_nothing(url, tmp_path):
    path, contact = tmp_path / "list.txt", parse_email("a@example.com")
    path.write_text(hashlib.sha256(b"a@example.com").hexdigest())
    scheme = Scheme(Algorithm.SHA256, Normalisation("trim-lower"))

    async def take(register):
        ban = Event(kind=EventKind.BAN, at=now_ms(), actor="test", imported=True, undated=True)
        return (await import_hashed(path, register, scheme, ban)).new

    async with await Register.open(url, OLD) as register:
        assert await take(register) == 1
        assert await banned(register, contact)
        await consent(register, contact)
    async with await Register.open(url, NEW) as register:
        assert await take(register) == 0
        assert not await banned(register, contact)
