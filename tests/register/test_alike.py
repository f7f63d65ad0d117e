"""A file of many rows ends as its rows would one by one, whatever is known, and however often."""

import asyncio
import csv
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contacts.digest import KeyRing
from gateway.contacts.email import parse_email, parse_emails, plain_emails
from gateway.entry.entry import DeliveryReason
from gateway.entry.event import Event
from gateway.failure import InputError
from gateway.register.importing import EVENTS_WAITING, import_file
from gateway.register.layout import event_streams
from gateway.register.register import Register
from gateway.register.rows import Importer, RowError

NOW = 1_795_379_602_872
RING = KeyRing({"k1": bytes(range(32))}, "k1")


async def entries(register):
    """Every entry by bucket and field."""
    redis = register.connections.stream
    found = {}
    async for key in redis.scan_iter(b"sg:{s*}:k1:*"):
        for field, value in (await redis.hgetall(key)).items():
            if field != b"@":
                found[key, field] = value
    return found


async def events(register):
    """The log, as what it says of whom."""
    redis = register.connections.stream
    logged = []
    for stream in event_streams():
        for _, fields in await redis.xrange(stream):
            logged.append(Event.from_json(fields[b"e"]))
    return logged


def told(logged):
    """What the events say, without ids; the log of each subject in its order."""
    by_subject = {}
    for event in logged:
        if event.delivery is DeliveryReason.COMPLAINT:
            # One's own and those of other spellings are one thing in an entry, and have no
            # order among them: which of them says nothing new depends on it.
            continue
        members = {name: getattr(event, name) for name in Event.__dataclass_fields__}
        for name in ("id", "cause", "sealed", "recorded"):
            members.pop(name)
        # What a base inherits from several spellings has no order among them.
        by_subject.setdefault(event.subject, []).append((event.origin, members))
    return {subject: sorted(each, key=lambda pair: pair[0]) for subject, each in by_subject.items()}


EMAILS = ("a@example.com", "A@Example.com ", "a+x@example.com", "b.c@gmail.com", "bc@gmail.com",
          "bc@googlemail.com", "é@example.com", "d@x.example.org", "bad", "")  # fmt: skip
ROWS = st.fixed_dictionaries(
    {
        "email": st.sampled_from(EMAILS),
        "phone": st.sampled_from(("", "", "", "+358401234567", "+358 40 1234568", "12")),
        "organisation": st.sampled_from(("", "", "", "example.com", "x.example.org", "no domain")),
        "ban": st.sampled_from(("all", "all", "", "email", "sms;disclosure", "all;all", "what",
                                "contact", "organisation")),
        "ban_topics": st.sampled_from(("", "", "news", "100%")),
        "ban_at": st.sampled_from(("", "", "2024-01-01", "2025-01-01", "2099-01-01", "1970-01-01")),
        "consent_email": st.sampled_from(("", "", "granted", "withdrawn", "pending")),
        "consent_at": st.sampled_from(("", "2024-06-01")),
        "restricted": st.sampled_from(("", "", "yes")),
        "undeliverable": st.sampled_from(("", "", "complaint", "hard_bounce;complaint", "full")),
        "undeliverable_at": st.sampled_from(("", "2024-06-01", "2025-01-01")),
        "undeliverable_expires": st.sampled_from(("", "2025-06-01", "2030-01-01")),
        "source": st.sampled_from(("", "", "web %s %", 'a "b", c')),
    }
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=60, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(
    before=st.lists(ROWS, max_size=4),
    rows=st.lists(ROWS, min_size=1, max_size=12),
    columns=st.sets(st.sampled_from(("phone", "organisation", "ban", "ban_topics", "ban_at",
                                     "consent_email", "consent_at", "restricted", "source",
                                     "undeliverable", "undeliverable_at",
                                     "undeliverable_expires"))),
    sealed=st.booleans(),
)  # fmt: skip
def test_many_at_once_is_one_by_one(register_url, before, rows, columns, sealed):
    """A file leaves the entries and the log that its rows leave, applied in their order."""

    async def run():
        seal = str.encode if sealed else None
        async with await Register.open(register_url, RING, seal=seal) as register:
            flush = register.connections.stream.flushall
            importer = Importer("test", "import list.csv", NOW)
            names = ["email", *sorted(columns)]

            async def one_by_one(given, now):
                for row in given:
                    with_rows = Importer("test", importer.source, now)
                    try:
                        read = with_rows.row({name: row[name].strip() for name in names})
                    except RowError:
                        continue
                    await register.apply_many(
                        [(event, contact) for contact in read.contacts for event in read.events],
                        only_changes=True,
                    )
                    for event in read.domain_events:
                        await register.apply_organisation(event, read.domain, only_changes=True)

            await flush()
            await register.connections.stream.hset("sg:meta", "bits", 16)
            await one_by_one(before, NOW - 1000)
            await one_by_one(rows, NOW)
            expected = await entries(register), told(await events(register))
            await flush()
            await one_by_one(before, NOW - 1000)
            text = io.StringIO()
            writer = csv.DictWriter(text, names, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "list.csv"
                path.write_text(text.getvalue(), encoding="utf-8", newline="")
                await import_file(path, register, actor="test", skip_bad=True, clock=lambda: NOW)
                found = await entries(register), told(await events(register))
                assert found == expected
                again = await import_file(
                    path, register, actor="test", skip_bad=True, clock=lambda: NOW + 5
                )
                assert (again.changed, again.events) == (0, 0)
            if sealed:
                assert all(
                    event.sealed is not None for event in await events(register) if not event.origin
                )

    asyncio.run(run())


@pytest.fixture
async def register(register_url, ring):
    async with await Register.open(register_url, ring) as register:
        yield register


@pytest.fixture
def load(register, tmp_path):
    async def load(content, **options):
        path = tmp_path / "list.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return await import_file(path, register, actor="test", **{"clock": lambda: NOW, **options})

    return load


async def ban_of(register, text):
    (standing,) = await register.look_up([parse_email(text)])
    (ban,) = standing.exact.bans
    return ban.at


async def test_a_row_of_two_contacts_keeps_its_turn(register, load):
    """A row that is read by itself is not overtaken by one that is written at once."""
    await load(
        "email,phone,ban,ban_at\n"
        "a@example.com,+358401234567,all,\n"
        "a@example.com,,all,2024-01-01\n"
    )  # fmt: skip
    assert await ban_of(register, "a@example.com") == NOW


async def test_the_latest_of_many_times_counts(register, load):
    days = ["2024-03-01", "2024-01-01", "2024-05-01", "2024-02-01"]
    await load("email,ban,ban_at\n" + "".join(f"a@example.com,all,{day}\n" for day in days))
    assert await ban_of(register, "a@example.com") == 1_714_521_600_000
    assert len(await events(register)) == 2


async def test_rows_of_many_lines_across_the_pieces_of_a_file(register, load):
    """Quoted cells with line ends, where the file is cut into pieces: no row is lost."""
    rows = [
        f'p{number}@example.com,all,"one{chr(10)}{"two " * (number % 40)}"{chr(13)}\n'
        if number % 3
        else f"p{number}@example.com,all,x\n"
        for number in range(30_000)
    ]
    result = await load("email,ban,source\n" + "".join(rows))
    assert (result.rows, result.changed, result.bad_count) == (30_000, 30_000, 0)
    people = [parse_email(f"p{number}@example.com") for number in range(0, 30_000, 97)]
    assert all(standing.exact.bans for standing in await register.look_up(people))


async def test_lines_are_counted_across_pieces_and_windows(load):
    bad = {7, 20_000, 50_001, 50_002, 99_999}
    rows = [
        "not an address,all" if number in bad else f"p{number}@example.com,all"
        for number in range(2, 100_002)
    ]
    rows[60_000] = "\n"  # one row is blank, and a line more
    result = await load("email,ban\n" + "\n".join(rows) + "\n", check_only=True)
    assert [each.line for each in result.bad] == [7, 20_000, 50_001, 50_002, 100_000]
    assert result.rows == 100_000 - len(bad) - 1


@pytest.mark.parametrize("tail", ["b\xe4@example.com,all\n".encode("latin-1"), b"x" * 1_100_000])
async def test_what_stops_the_reading_is_named_by_its_line(load, tail):
    rows = b"".join(b"p%d@example.com,all\n" % number for number in range(2, 50_002))
    with pytest.raises(InputError, match=r"line 50002: (not UTF-8|longer than a megabyte)"):
        await load(b"email,ban\n" + rows + tail)


@given(st.lists(st.sampled_from([*EMAILS, "x@example.com\ny@example.com", "a@b", "q@EXAMPLE.fi"])))
def test_addresses_read_at_once_are_read_as_one_by_one(texts):
    """What is read at once is what each address gives."""
    found = plain_emails(texts)
    if found is not None:
        contacts = [parse_email(text) for text in texts]
        assert parse_emails(texts) == contacts
        assert found[0] == [contact.canonical for contact in contacts]
        assert found[1] == [contact.base for contact in contacts]


@given(st.lists(st.from_regex(r"[A-Za-z0-9.+_-]{1,9}@(gmail|Example|x)\.(com|fi)", fullmatch=True)))
def test_common_addresses_read_at_once(texts):
    found = plain_emails(texts)
    if found is not None:
        assert list(zip(*found, strict=True)) == [parse_email(text)[1:3] for text in texts]
        assert parse_emails(texts) == [parse_email(text) for text in texts]


async def test_the_import_waits_for_the_archive(register, load, monkeypatch):
    """Events that nobody archives do not fill the server's memory."""
    monkeypatch.setattr("gateway.register.importing.EVENTS_WAITING", 5000)
    most = 0

    async def drain():
        nonlocal most
        redis = register.connections.stream
        lengths = [await redis.xlen(stream) for stream in event_streams()]
        most = max(most, sum(lengths))
        for stream in event_streams():
            await redis.xtrim(stream, maxlen=0, approximate=False)
        return sum(lengths)

    rows = "".join(f"p{number}@example.com,all\n" for number in range(60_000))
    result = await load("email,ban\n" + rows, drain=drain)
    assert result.events == 60_000
    assert 5000 < most <= 5000 + 16_384
    assert EVENTS_WAITING == 1_000_000
