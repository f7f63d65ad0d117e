"""A register is never opened with other keys than it was written with."""

import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.digest import KeyRing
from gateway.contacts.email import parse_email
from gateway.entry.event import Event, EventKind
from gateway.failure import InputError
from gateway.register.register import Register

OLD, NEW = bytes(32), bytes(range(32))


async def test_a_lost_key_file_is_told_and_not_replaced(register_url):
    async with await Register.open(register_url, KeyRing({"k1": OLD}, "k1")):
        pass
    with pytest.raises(InputError, match="k1 of the key file is not the one"):
        await Register.open(register_url, KeyRing({"k1": NEW}, "k1"))
    with pytest.raises(InputError, match="entries under key k1"):
        await Register.open(register_url, KeyRing({"k2": NEW}, "k2"))


async def test_a_new_key_beside_the_old_one_is_taken(register_url):
    async with await Register.open(register_url, KeyRing({"k1": OLD}, "k1")):
        pass
    async with await Register.open(register_url, KeyRing({"k1": OLD, "k2": NEW}, "k2")):
        pass


async def test_a_change_of_the_future_is_refused(register_url):
    """It would outrank every ban and withdrawal until then."""
    ring = KeyRing({"k1": OLD}, "k1")
    async with await Register.open(register_url, ring) as register:
        later = now_ms() + 86_400_000
        for kind, more in (
            (EventKind.CONSENT, {"channel": Channel.EMAIL, "proven": True, "lifts": True}),
            (EventKind.BAN, {}),
        ):
            event = Event(kind=kind, at=later, actor="test", **more)
            with pytest.raises(InputError, match="future"):
                await register.apply(event, parse_email("a@example.com"))
        assert (await register.show(parse_email("a@example.com"))).bans == ()
