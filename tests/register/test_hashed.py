"""Hashed lists ban exactly those they name, in every process, and are never forgotten."""

import asyncio
import hashlib
import hmac

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.contacts.contact import Channel, Tier
from gateway.contacts.digest import KeyRing
from gateway.contacts.hashed import Algorithm, Normalisation, Salting, Scheme, spellings
from gateway.contacts.parse import parse_contact, parse_email
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventError, EventKind
from gateway.failure import InputError, RegisterUnavailable
from gateway.register import hashlist
from gateway.register.hashlist import Against, import_hashed
from gateway.register.layout import event_streams
from gateway.register.register import Register
from gateway.register.schemes import KEY, LASTS

NOW = 1_795_379_602_872
PLAIN = Scheme(Algorithm.SHA256, Normalisation.TRIM_LOWER)
SALT = b"a salt of the two of us"


def ban(scope=Scope.ALL, **more):
    return Event(kind=EventKind.BAN, at=more.pop("at", NOW), actor="test", source="partner",
                 scope=scope, imported=True, **more)  # fmt: skip


def sha256(text):
    return hashlib.sha256(text.encode()).digest()


@pytest.fixture
async def register(register_url, ring):
    async with await Register.open(register_url, ring) as register:
        yield register


@pytest.fixture
def load(register, tmp_path):
    async def load(content, scheme=PLAIN, event=None, **options):
        path = tmp_path / "list.txt"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return await import_hashed(path, register, scheme, event or ban(), **options)

    return load


async def tier(register, text, channel=None, now=NOW + 1):
    contact = parse_contact(text)
    (standing,) = await register.look_up([contact])
    return standing.facts(channel or contact.channel, None, None, now).tier


async def test_a_hash_bans_whoever_has_it_and_says_so(register, load):
    result = await load(f"{sha256('maija@example.com').hex()}\n")
    assert (result.rows, result.new, result.applied) == (1, 1, True)
    assert result.scheme == "sha256:trim-lower"
    for text in ("maija@example.com", "MAIJA@Example.COM", "maija+shop@example.com"):
        assert await tier(register, text) is Tier.HASHED
    for text in ("maija@example.org", "bo@example.com", "+358401234567"):
        assert await tier(register, text) is None
    (standing,) = await register.look_up([parse_email("maija@example.com")])
    assert not standing.known
    assert not standing.disclosure_banned


async def test_a_process_that_runs_already_bans_at_its_next_check(register_url, ring, load):
    """Promise: acknowledged is in force everywhere, though it has never heard of the scheme."""
    contact = parse_email("maija@example.com")
    async with await Register.open(register_url, ring) as worker:
        stop = asyncio.Event()

        async def traffic():
            while not stop.is_set():
                await worker.look_up([contact])

        busy = asyncio.create_task(traffic())
        idle = await Register.open(register_url, ring)
        await idle.look_up([contact])
        await load(sha256("maija@example.com").hex())
        # Both at once: neither may learn of it by asking for this very answer.
        for process in (worker, idle):
            (standing,) = await process.look_up([contact])
            assert standing.hashed
        stop.set()
        await busy
        await idle.aclose()


async def test_schemes_are_read_no_more_often_than_they_last(register, monkeypatch):
    contact = parse_email("maija@example.com")
    wire = register.connections.wire
    read = []

    async def exchange(commands, within):
        read.extend(command for command in commands if command[-1] == KEY)
        return await type(wire).exchange(wire, commands, within)

    monkeypatch.setattr(wire, "exchange", exchange)
    begun = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < begun + 1.2 * LASTS:
        await asyncio.gather(*[register.look_up([contact]) for _ in range(5)])
    assert len(read) == 2


names = st.from_regex(r"[a-c.]{0,2}[a-c](\+[a-c])?", fullmatch=True).filter(
    lambda name: ".." not in name and not name.startswith(".")
)
domains = st.sampled_from(["example.com", "gmail.com", "googlemail.com", "älä.fi", "Mail.Firm.fi"])
addresses = st.builds("{}@{}".format, names, domains) | st.sampled_from(
    ["+358401234567", "+358401234568", "päivi@example.com", '"a b"@example.com', "ABC@example.com"]
)
salted = st.tuples(
    st.sampled_from(Algorithm), st.sampled_from(Normalisation), st.none() | st.sampled_from(Salting)
)


@settings(max_examples=40, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(st.lists(addresses, min_size=1, max_size=4), st.lists(addresses, max_size=8), salted)
async def test_a_hash_bans_its_address_in_all_spellings_and_nobody_else(
    register_url, ring, listed, others, salted
):
    """Banned is who has a spelling, own or base, that hashes to a value of the list."""
    algorithm, normalisation, salting = salted
    scheme = Scheme(algorithm, normalisation, salting, SALT if salting else b"")
    name = algorithm.value

    def made(text):
        octets = text.encode()
        if salting is Salting.HMAC:
            return hmac.new(SALT, octets, name).digest()
        if salting is Salting.PREFIX:
            octets = SALT + octets
        if salting is Salting.SUFFIX:
            octets = octets + SALT
        return hashlib.new(name, octets).digest()

    async with await Register.open(register_url, ring) as register:
        await register.connections.wire.exchange(
            [(b"EVAL", b"return redis.call('FLUSHALL')", b"1", KEY)], 5
        )
        # What a partner hashes: the address as a person writes it, in their normal form.
        written = {
            spellings(contact._replace(base=contact.canonical), normalisation)[-1]
            for contact in map(parse_contact, listed)
            if contact.channel is normalisation.channel
        }
        kept = await register.schemes.add(scheme)
        await register.hashed.ban(ban(), kept, [made(text) for text in written])
        asked = [parse_contact(text) for text in [*listed, *others]]
        banned = [bool(one.hashed) for one in await register.look_up(asked)]
        wanted = [bool(written & set(spellings(one, normalisation))) for one in asked]
        assert banned == wanted
        for contact, hit in zip(asked, banned, strict=True):
            (alone,) = await register.look_up([contact])
            assert bool(alone.hashed) == hit
            if contact in asked[: len(listed)] and contact.channel is normalisation.channel:
                assert hit


async def test_every_live_key_is_asked(register_url, load):
    await load(sha256("maija@example.com").hex())
    two = KeyRing({"k1": bytes(range(32)), "k2": b"\x02" * 32}, "k2")
    async with await Register.open(register_url, two) as register:
        assert await tier(register, "maija@example.com") is Tier.HASHED
        await register.hashed.ban(
            ban(Scope.DISCLOSURE), PLAIN, [sha256("maija@example.com"), sha256("bo@example.com")]
        )
        (maija, bo) = await register.look_up(
            [parse_email("maija@example.com"), parse_email("bo@example.com")]
        )
        assert maija.disclosure_banned
        assert bo.disclosure_banned
        assert await tier(register, "maija@example.com") is Tier.HASHED
        assert await tier(register, "bo@example.com") is None


async def test_a_salt_is_kept_sealed_and_shared_by_all_processes(register_url, register, load):
    scheme = Scheme(Algorithm.SHA1, Normalisation.E164, Salting.HMAC, SALT)
    values = [hmac.new(SALT, b"+358401234567", "sha1").hexdigest()]
    first = await load("\n".join(values), scheme)
    again = await load("\n".join(values), scheme)
    assert (again.new, again.scheme) == (0, first.scheme)
    other = await load("ab" * 20, Scheme(Algorithm.SHA1, Normalisation.E164, Salting.HMAC, b"x"))
    assert other.scheme != first.scheme
    async with await Register.open(register_url, KeyRing({"k1": bytes(range(32))}, "k1")) as late:
        assert await tier(late, "+358401234567") is Tier.HASHED
    (stored,) = await register.connections.wire.exchange([(b"HGETALL", KEY)], 1)
    assert len(stored) == 2
    streams = [(b"XRANGE", stream, b"-", b"+") for stream in event_streams()]
    told = repr((stored, await register.connections.wire.exchange(streams, 1)))
    assert SALT.decode() not in told
    assert SALT.hex() not in told


async def test_a_list_that_cannot_be_followed_stops_look_ups(register):
    """Fail closed: a scheme of a newer version names people that are not found here."""
    await register.connections.wire.exchange([(b"HSET", KEY, b"sha3:trim-lower", b"")], 1)
    await asyncio.sleep(LASTS)
    with pytest.raises(RegisterUnavailable, match="newest version"):
        await register.look_up([parse_email("maija@example.com")])


async def test_a_salt_under_a_key_that_is_gone_stops_look_ups(register, load):
    await load("ab" * 20, Scheme(Algorithm.SHA1, Normalisation.E164, Salting.HMAC, SALT))
    ring = KeyRing({"k2": b"\x02" * 32}, "k2")
    register.schemes._ring = ring
    await asyncio.sleep(LASTS)
    with pytest.raises(RegisterUnavailable, match="key file"):
        await register.look_up([parse_email("maija@example.com")])


async def test_a_scheme_that_the_register_has_lost_stops_look_ups(register, load):
    """Fail closed: without it the list's bans would stand there and not be asked for."""
    await load(sha256("maija@example.com").hex())
    (told,) = [register.schemes.told(scheme) for scheme in register.schemes.known]
    await register.connections.wire.exchange([(b"DEL", KEY)], 1)
    await asyncio.sleep(LASTS)
    with pytest.raises(RegisterUnavailable, match="lost the hashing scheme sha256:trim-lower"):
        await register.look_up([parse_email("maija@example.com")])
    await register.schemes.adopt(told)
    assert await tier(register, "maija@example.com") is Tier.HASHED


async def test_the_events_bring_all_of_it_back(register_url, ring, load, register):
    """Bans and schemes return from the log alone, as after a loss of the register."""
    salted = Scheme(Algorithm.MD5, Normalisation.TRIM_LOWER, Salting.SUFFIX, SALT)
    await load(sha256("maija@example.com").hex())
    await load(hashlib.md5(b"bo@example.com" + SALT).hexdigest(), salted)
    wire = register.connections.wire
    events = []
    for reply in await wire.exchange(
        [(b"XRANGE", stream, b"-", b"+") for stream in event_streams()], 1
    ):
        events += [Event.from_json(dict(zip(m[::2], m[1::2], strict=True))[b"e"]) for _, m in reply]
    announced = [event for event in events if event.scheme]
    assert len(announced) == 2
    assert "1 hashes, SHA-256 of the file" in announced[0].evidence
    assert {event.subject for event in announced} == set(register.hashed.announced_as)
    await wire.exchange([(b"EVAL", b"return redis.call('FLUSHALL')", b"1", KEY)], 5)
    async with await Register.open(register_url, ring) as restored:
        assert await tier(restored, "maija@example.com") is None
        await restored.replay(sorted(events, key=lambda event: event.recorded))
        await asyncio.sleep(LASTS)
        assert await tier(restored, "maija@example.com") is Tier.HASHED
        assert await tier(restored, "bo@example.com") is Tier.HASHED


async def test_schemes_alone_come_back_from_their_events(register, load):
    """As for a register whose entries a rebuild makes anew."""
    salted = Scheme(Algorithm.MD5, Normalisation.TRIM_LOWER, Salting.SUFFIX, SALT)
    await load(hashlib.md5(b"bo@example.com" + SALT).hexdigest(), salted)
    known = register.schemes.known
    wire = register.connections.wire
    (reply,) = await wire.exchange([(b"HGETALL", KEY)], 1)
    events = [
        Event(kind=EventKind.DESCRIBE, at=1, actor="a", scheme=f"{name.decode()}={value.decode()}")
        for name, value in reply.items()
    ]
    await wire.exchange([(b"DEL", KEY)], 1)
    await register.hashed.restore([*events, *events])
    await asyncio.sleep(LASTS)
    assert await tier(register, "bo@example.com") is Tier.HASHED
    assert register.schemes.known == known


async def test_a_later_proven_consent_lifts_it_as_it_lifts_any_ban(register, load):
    await load(sha256("maija@example.com").hex())
    contact = parse_email("maija@example.com")
    consent = Event(kind=EventKind.CONSENT, at=NOW + 10, actor="test", channel=Channel.EMAIL,
                    proven=True, lifts=True)  # fmt: skip
    await register.apply(consent, contact)
    assert await tier(register, "maija@example.com", now=NOW + 20) is None
    assert await tier(register, "maija+x@example.com", now=NOW + 20) is Tier.HASHED


async def test_an_unban_lifts_what_the_list_says_of_this_address_alone(register, load):
    hashes = [sha256("maija@example.com"), sha256("bo@example.com")]
    await load("\n".join(value.hex() for value in hashes))
    lifting = Event(kind=EventKind.UNBAN, at=NOW + 10, actor="test", evidence="a mistake",
                    scope=Scope.ALL)  # fmt: skip
    logged = await register.apply_many(
        [(lifting, parse_email("maija@example.com"))], only_changes=True
    )
    assert [event.kind for event in logged] == [EventKind.UNBAN]
    assert await tier(register, "maija@example.com") is None
    assert await tier(register, "bo@example.com") is Tier.HASHED
    # The list is still a list of objections: taken in again, it bans again.
    assert (await load("\n".join(value.hex() for value in hashes))).new == 1
    assert await tier(register, "maija@example.com") is Tier.HASHED


async def test_scopes_are_joined_and_a_list_taken_in_again_changes_nothing(register, load):
    value = sha256("maija@example.com").hex()
    await load(value, event=ban(Scope.CHANNEL, channel=Channel.SMS))
    assert await tier(register, "maija@example.com") is None
    assert await tier(register, "maija@example.com", Channel.SMS) is Tier.HASHED
    assert (await load(value, event=ban(undated=True))).new == 1
    position = await register.position()
    again = await load(f"{value}\n{value.upper()}\n", event=ban(undated=True, at=NOW + 5))
    assert (again.rows, again.new) == (2, 0)
    assert await tier(register, "maija@example.com") is Tier.HASHED
    # Only the announcement is new in the log.
    assert await register.position() > position


async def test_of_a_hash_only_a_ban_can_be_told(register):
    consent = Event(kind=EventKind.CONSENT, at=1, actor="a", channel=Channel.EMAIL)
    with pytest.raises(EventError):
        await register.hashed.ban(consent, PLAIN, [sha256("x")])
    with pytest.raises(EventError, match="future"):
        await register.hashed.ban(ban(at=NOW * 2), PLAIN, [sha256("x")])


async def test_one_bad_line_keeps_everything_out(register, load):
    good = sha256("maija@example.com").hex()
    content = f"email_sha256\n{good}\nmaija@example.com\n{'ab' * 16}\n\n"
    result = await load(content)
    assert not result.applied
    assert result.heading
    assert (result.rows, result.bad_count, result.new) == (1, 2, 0)
    assert [bad.line for bad in result.bad] == [3, 4]
    assert "in the clear" in result.bad[0].cause
    assert "maija" not in repr(result)
    assert await register.position() == "0-0"
    (schemes,) = await register.connections.wire.exchange([(b"HGETALL", KEY)], 1)
    assert not schemes
    skipped = await load(content, skip_bad=True)
    assert (skipped.applied, skipped.new) == (True, 1)


@pytest.mark.parametrize(
    ("content", "options", "cause"),
    [
        (b"", {}, "no hash"),
        (b"\xff\xfe\n", {}, "line 1: not UTF-8"),
        (b"id;hash\n1;ab\n", {"column": "digest"}, "'digest'"),
        (b"hash;hash\n1;ab\n", {"column": "hash"}, "exactly one"),
    ],
)
async def test_a_file_that_cannot_be_used(load, content, options, cause):
    with pytest.raises(InputError, match=cause):
        await load(content, **options)


async def test_a_column_of_a_csv(register, load):
    value = sha256("maija@example.com").hex()
    heard = []
    content = f'\ufeffid;"Hash"\n1;{value}\n2;"{sha256("bo@example.com").hex()}"\n3;\n'
    result = await load(content, column="hash", progress=heard.append)
    assert (result.rows, result.new) == (2, 2)
    assert heard[-1] == 2 * len(content.encode())
    assert await tier(register, "bo@example.com") is Tier.HASHED


async def test_a_row_that_ends_before_its_hash_is_a_bad_row(register, load):
    """Left out unsaid, its ban would be missed by nobody."""
    whole = hashlib.sha256(b"a@example.com").hexdigest()
    result = await load(f"name,hash\nA,{whole}\nB\nC,\n", column="hash")
    assert not result.applied
    assert [(bad.line, bad.cause) for bad in result.bad] == [
        (3, "the row ends before the column with the hashes")
    ]


async def test_a_quote_that_is_not_closed_loses_no_hash_behind_it(register, load):
    hashes = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(4)]
    content = f'hash,name\n{hashes[0]},A\n"{hashes[1]}\n{hashes[2]}\n{hashes[3]}",D\n'
    with pytest.raises(InputError, match=r"line 3: a quote is not closed.* up to line 5"):
        await load(content, column="hash", skip_bad=True)


def test_a_list_in_memory_names_the_same(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f"{sha256('maija@example.com').hex()}\n")
    against = Against.load(path, PLAIN)
    assert against.names(parse_email("Maija+x@example.com"))
    assert not against.names(parse_email("bo@example.com"))
    path.write_text("maija@example.com\n")
    with pytest.raises(InputError, match="line 1: an address in the clear"):
        Against.load(path, PLAIN)


async def test_an_import_waits_while_its_events_are_not_archived(register, load, monkeypatch):
    monkeypatch.setattr(hashlist, "EVENTS_WAITING", 300)
    monkeypatch.setattr(hashlist, "_COUNTED", 200)
    monkeypatch.setattr(hashlist, "_BATCH", 100)
    waiting = []

    async def drain():
        """Takes the events away, as the archiver would."""
        wire = register.connections.wire
        lengths = await wire.exchange([(b"XLEN", stream) for stream in event_streams()], 1)
        waiting.append(sum(lengths))
        await wire.exchange([(b"XTRIM", stream, b"MAXLEN", b"0") for stream in event_streams()], 1)
        return sum(lengths)

    values = [sha256(f"p{number}@example.com") for number in range(1000)]
    result = await load("\n".join(value.hex() for value in values), drain=drain)
    assert (result.rows, result.new) == (1000, 1000)
    assert len(waiting) >= 2
    assert max(waiting) < 700
    people = [parse_email(f"p{number}@example.com") for number in range(1000)]
    assert all(one.hashed for one in await register.look_up(people))


async def test_an_import_that_broke_off_ends_as_if_run_once(register, load, monkeypatch):
    monkeypatch.setattr(hashlist, "_BATCH", 100)
    values = [sha256(f"p{number}@example.com") for number in range(500)]
    content = "\n".join(value.hex() for value in values)
    apply, calls = register.hashed.ban, []

    async def breaks_off(*what):
        calls.append(what)
        if len(calls) == 3:
            raise RegisterUnavailable("the server is gone")
        return await apply(*what)

    monkeypatch.setattr(register.hashed, "ban", breaks_off)
    with pytest.raises(RegisterUnavailable):
        await load(content, event=ban(undated=True))
    monkeypatch.undo()
    again = await load(content, event=ban(undated=True, at=NOW + 5))
    assert (again.rows, again.new) == (500, 300)
    people = [parse_email(f"p{number}@example.com") for number in range(500)]
    assert all(one.hashed for one in await register.look_up(people))
    events = []
    for reply in await register.connections.wire.exchange(
        [(b"XRANGE", stream, b"-", b"+") for stream in event_streams()], 1
    ):
        events += [Event.from_json(dict(zip(m[::2], m[1::2], strict=True))[b"e"]) for _, m in reply]
    bans = [event for event in events if event.kind is EventKind.BAN]
    assert len(bans) == len({event.subject for event in bans}) == 500
    assert len({event.id for event in events}) == 502
    assert all(event.sealed is None and event.imported for event in bans)
