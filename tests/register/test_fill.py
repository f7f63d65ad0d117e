"""A register that should get more buckets says so in time."""

from structlog.testing import capture_logs

from gateway.contacts.digest import KeyRing
from gateway.contacts.parse import parse_email
from gateway.entry.event import Event, EventKind
from gateway.register.fill import FULL, Fill
from gateway.register.register import Register


async def test_the_fill_of_every_bucket_is_the_number_of_entries(register_url):
    ring = KeyRing({"k2": bytes(32), "k1": bytes(range(32))}, "k2")
    async with await Register.open(register_url, ring) as register:
        event = Event(kind=EventKind.BAN, at=7, actor="test")
        people = [parse_email(f"p{number}+tag@example.com") for number in range(300)]
        await register.apply_many([(event, who) for who in people])
        found = await register.fill()
        assert (found.contacts, found.bits) == (600, 16)  # each with its wider spelling
        assert not found.full
        assert await register.waiting() == 600


async def test_full_buckets_are_told_at_the_start_with_the_remedy(register_url, ring):
    async with await Register.open(register_url, ring, bits=6) as register:
        event = Event(kind=EventKind.BAN, at=7, actor="test")
        count = 64 * (FULL + 20)
        people = [parse_email(f"p{number}@example.com") for number in range(count)]
        await register.apply_many([(event, who) for who in people])
        found = await register.fill()
        assert found.contacts == count
        assert found.full
        assert found.fullest > found.average
    with capture_logs() as logged:
        async with await Register.open(register_url, ring):
            pass
    (told,) = [line for line in logged if line["event"] == "register_buckets_full"]
    assert told["contacts"] == count
    assert told["remedy"] == "register rebuild --bits 8"


def test_the_buckets_wanted_have_room_again():
    full = Fill(bits=16, contacts=30_000_000, average=458.0, fullest=530)
    assert full.full
    assert full.wanted_bits == 18
    assert not Fill(bits=16, contacts=10_000_000, average=152.6, fullest=200).full
