"""Marketing gets its means to refuse on the way, and its signature; all else stays as it is."""

import asyncio
import re
from contextlib import asynccontextmanager
from email import message_from_bytes

import dkim
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import now_ms
from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind
from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from gateway.smtp.release import release
from gateway.unsubscribe.link import Link, Links, Purpose
from tests.peers.house import MAILING, OWN, client_table
from tests.peers.scripted import Stage
from tests.peers.verifier import Key, signed_fields, verified
from tests.smtp.trace import strip_trace

A, B = "a@example.com", "b@example.com"
URL = "https://preferences.lamisnet.fi"
ADDRESS = "unsubscribe@mail.lamisnet.fi"
HEAD = (
    b"From: LamisNET <uutiset@lamisnet.fi>\r\n"
    b"To: a@example.com\r\n"
    b"Subject: Marraskuun uutiset\r\n"
    b"Message-ID: <1@lamisnet.fi>\r\n"
)
BODY = b"Hei!\r\n\r\nTarjous.  \r\n.\r\n\r\n\r\n"
PLAIN = HEAD + b"\r\n" + BODY
SIGNED = b"DKIM-Signature: v=1; d=tool.example; s=t; h=From; bh=x; b=y\r\n" + PLAIN
FIELDS = re.compile(
    rb"List-Unsubscribe: <https://preferences\.lamisnet\.fi/u/([A-Za-z0-9_-]+)>(?:,\r\n"
    rb"\t<mailto:unsubscribe@mail\.lamisnet\.fi\?subject=([A-Za-z0-9_-]+)>)?\r\n"
    rb"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)


@pytest.fixture
def adding(build, tmp_path):
    """A house that adds, with these keys to sign with."""

    @asynccontextmanager
    async def make(*keys: Key, mailto: bool = False, **more):
        tables = {
            "public": {"url": URL, "listen": ["127.0.0.1:0"]},
            "unsubscribe": {"add": True},
            "dkim": [key.table for key in keys],
        }
        if mailto:
            tables["unsubscribe"]["address"] = ADDRESS
            tables["inbound"] = {"listen": ["127.0.0.1:0"]}
        async with build(**tables, **more) as house:
            await house.allow(A, B)
            yield house

    return make


def links(house) -> Links:
    return Links.load_or_create(house.settings.unsubscribe.key_file)


async def opt_out(house, address=A) -> str:
    (*_, found) = await house.found(address)
    return (await house.archive.show(found.record_id)).message.opt_out


async def test_marketing_without_a_means_gets_one_and_is_forwarded(adding, upstream):
    async with adding(mailto=True) as house:
        async with house.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 forwarded")
        content = strip_trace(upstream.messages[0].content)
        found = FIELDS.match(content)
        assert content[found.end() :] == PLAIN
        assert found[1] == found[2]
        link = links(house).open(found[1].decode(), now_ms(), 1)
        today = now_ms() // 86_400_000 * 86_400_000
        assert link in (
            Link(parse_email(A), Purpose.REFUSE, "newsletter", today),
            Link(parse_email(A), Purpose.REFUSE, "newsletter", today - 86_400_000),
        )
        assert A.encode() not in found[0]
        assert await opt_out(house) == "https+mailto one-click added"
        assert await house.fate(A) == [("forward", "R40", "forwarded")]


@pytest.mark.parametrize(
    ("said", "language"), [("sv-FI", "sv"), ("EN", "en"), ("fi, sv", ""), ('"', ""), ("", "")]
)
async def test_a_link_speaks_the_language_of_the_mail(adding, upstream, said, language):
    async with adding() as house:
        async with house.client() as client:
            message = f"Content-Language: {said}\r\n".encode() + PLAIN
            assert (await client.mail(A, message=message)).endswith("1 forwarded")
        found = FIELDS.search(strip_trace(upstream.messages[0].content))
        assert links(house).open(found[1].decode(), now_ms(), 1).language == language


async def test_without_the_setting_it_is_suppressed_for_want_of_a_means(house):
    await house.allow(A)
    async with house.client() as client:
        assert (await client.mail(A, message=PLAIN)).endswith("1 suppressed")
    assert await house.fate(A) == [("suppress", "R16", "suppressed")]


async def test_a_ban_holds_all_the_same(adding, upstream):
    async with adding() as house:
        await house.ban(A)
        async with house.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 suppressed")
        assert await house.fate(A) == [("suppress", "R11", "suppressed")]
        assert upstream.messages == []


async def test_a_message_to_two_stays_as_it_is(adding, upstream):
    """A link is one person's own, and both would get the same text."""
    words = PLAIN + b"unsubscribe\r\n"
    async with adding() as house:
        async with house.client() as client:
            assert (await client.mail(A, B, message=PLAIN)).endswith("2 suppressed")
            assert (await client.mail(A, B, message=words)).endswith("2 forwarded")
            # One of them is banned: the text was still written for two.
            await house.ban(B)
            assert (await client.mail(A, B, message=words)).endswith("1 forwarded, 1 suppressed")
    assert [strip_trace(message.content) for message in upstream.messages] == [words, words]


async def test_one_recipient_at_a_time_where_the_client_may_name_one_only(adding, upstream):
    async with adding(clients=[client_table(max_recipients=1)]) as house:
        async with house.client() as client:
            first, second = await client.begin(A, B)
            assert first.startswith("250")
            assert second.startswith("452 4.5.3"), second
            assert (await client.data(PLAIN)).endswith("1 forwarded")
            assert (await client.mail(B, message=PLAIN)).endswith("1 forwarded")
        opened = [
            links(house)
            .open(FIELDS.match(strip_trace(m.content))[1].decode(), now_ms(), 1)
            .contact.canonical
            for m in upstream.messages
        ]
    assert opened == [A, B]
    assert [m.recipients for m in upstream.messages] == [[A], [B]]


@pytest.mark.parametrize("kind", ["transactional", "service", "notice"])
async def test_other_kinds_stay_as_they_are(adding, upstream, kind):
    clients = [client_table(kind=kind, topic=None)]
    async with adding(clients=clients) as house:
        await house.customer(A)
        async with house.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 forwarded")
    assert strip_trace(upstream.messages[0].content) == PLAIN


async def test_a_message_that_offers_a_way_stays_as_it_is(adding, upstream):
    """Also where it lacks the one click: the sender's own address would be another one."""
    async with adding() as house:
        async with house.client() as client:
            assert (await client.mail(A, message=MAILING)).endswith("1 forwarded")
        assert await opt_out(house) == "https"
    assert strip_trace(upstream.messages[0].content) == MAILING


async def test_a_signed_message_stays_as_it_is_without_a_key(adding, upstream, tmp_path):
    words = SIGNED + b"unsubscribe\r\n"
    async with adding(Key.ed25519(tmp_path, "other.fi")) as house:
        async with house.client() as client:
            assert (await client.mail(A, message=SIGNED)).endswith("1 suppressed")
            assert (await client.mail(A, message=words)).endswith("1 forwarded")
        assert await opt_out(house) == "text: unsubscribe"
    assert strip_trace(upstream.messages[0].content) == words


@pytest.mark.parametrize("made", [Key.rsa, Key.ed25519])
async def test_what_was_added_is_signed(adding, upstream, tmp_path, made):
    key = made(tmp_path, OWN)
    async with adding(key, mailto=True) as house:
        async with house.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 forwarded")
    content = upstream.messages[0].content
    assert verified(content, key.record)
    names = signed_fields(content)
    for name in (b"list-unsubscribe", b"list-unsubscribe-post", b"from"):
        assert names.count(name) == 2
    # In front our signature, then our trace field, then the message.
    signature, received, rest = re.fullmatch(
        rb"(DKIM-Signature: .*\r\n(?:\t.*\r\n)+)(Received: .*\r\n(?:\t.*\r\n)+)((?s:.*))", content
    ).groups()
    assert FIELDS.sub(b"", rest, count=1) == PLAIN
    assert b"d=lamisnet.fi" in signature
    assert b"by gateway.test" in received
    assert not verified(content.replace(b"One-Click", b"Two-Click"), key.record)


async def test_a_tools_own_signature_stays_where_it_was(adding, upstream, tmp_path):
    tool, own = Key.rsa(tmp_path, "tool.example", "t"), Key.ed25519(tmp_path, OWN)
    field = dkim.sign(PLAIN, b"t", b"tool.example", tool.pem, include_headers=[b"From", b"To"])
    async with adding(own) as house:
        async with house.client() as client:
            assert (await client.mail(A, message=field + PLAIN)).endswith("1 forwarded")
    content = upstream.messages[0].content
    assert verified(content, own.record | tool.record, 0)
    assert verified(content, own.record | tool.record, 1)
    assert b"\r\n" + field + b"List-Unsubscribe: " in content


async def test_a_mail_server_in_front_keeps_its_trace_together(adding, upstream, tmp_path):
    key = Key.ed25519(tmp_path, OWN)
    trace = b"Received: from x ([192.0.2.1])\r\n\tby y; Mon, 1 Jun 2026 12:00:00 +0300\r\n"
    async with adding(key) as house:
        async with house.client() as client:
            assert (await client.mail(A, message=trace + PLAIN)).endswith("1 forwarded")
    content = upstream.messages[0].content
    names = message_from_bytes(content).keys()
    assert names[:5] == [
        "DKIM-Signature",
        "Received",
        "Received",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
    ]
    assert verified(content, key.record)


async def test_international_mail_is_signed_too(adding, upstream, tmp_path):
    head = "From: Päivä <hei@pävän.fi>\r\nTo: maija@example.com\r\nSubject: Ääkköset\r\n".encode()
    message = head + b"X-Gateway-Topic: other\r\n\r\n" + "Hyvää päivää\r\n".encode()
    domain = "pävän.fi".encode("idna").decode()
    key = Key.rsa(tmp_path, domain)
    controller = {
        "name": "LamisNET",
        "business_id": "2701131-6",
        "contact_email": "privacy@lamisnet.example",
        "domains": [domain],
    }
    async with adding(key, controller=controller, clients=[client_table(topic=None)]) as house:
        async with house.client() as client:
            assert (
                await client.say("MAIL FROM:<hei@pävän.fi> BODY=8BITMIME SMTPUTF8".encode())
            ).startswith("250")
            assert (await client.say(f"RCPT TO:<{A}>")).startswith("250")
            assert (await client.data(message)).endswith("1 forwarded")
        content = upstream.messages[0].content
        link = links(house).open(FIELDS.search(content)[1].decode(), now_ms(), 1)
    assert link.topic == "other"
    assert b"X-Gateway-Topic" not in content
    assert verified(content, key.record)
    assert content.endswith("\r\n\r\nHyvää päivää\r\n".encode())


@pytest.mark.slow
async def test_thirty_megabytes_are_signed_piece_by_piece(adding, upstream, tmp_path):
    key = Key.ed25519(tmp_path, OWN)
    line = b"some words, two  spaces and a\ttab" + b"x" * 40 + b"\r\n"
    message = HEAD + b"\r\n.dots\r\n" + line * (30 * 1024 * 1024 // len(line))
    smtp = {"max_message_size": 40 << 20}
    slow = {"data_timeout": 60, "final_timeout": 60}
    async with adding(key, smtp=smtp, upstream=slow) as house:
        async with house.client() as client:
            await client.begin(A)
            await client.say("DATA")
            wire = message.replace(b"\r\n.", b"\r\n..")
            for start in range(0, len(wire), 1 << 20):
                client.writer.write(wire[start : start + (1 << 20)])
                await client.writer.drain()
                assert house.listener.budget.used <= house.settings.smtp.message_memory + 65536
            client.writer.write(b".\r\n")
            reply = await client.reply(within=60)
        assert reply.endswith("1 forwarded"), reply
    content = upstream.messages[0].content
    assert content.endswith(message.partition(b"\r\n\r\n")[2])
    assert verified(content, key.record)


async def test_the_body_in_single_octets_is_signed_alike(adding, upstream, tmp_path):
    key = Key.ed25519(tmp_path, OWN)
    async with adding(key) as house:
        async with house.client() as client:
            await client.begin(A)
            await client.say("DATA")
            for octet in PLAIN.replace(b"\r\n.", b"\r\n..") + b".\r\n":
                client.writer.write(bytes([octet]))
                await client.writer.drain()
            assert (await client.reply()).endswith("1 forwarded")
    assert verified(upstream.messages[0].content, key.record)
    assert upstream.messages[0].content.endswith(b"\r\n\r\n" + BODY)


async def test_a_repeated_hand_over_is_the_same_message(adding, upstream, tmp_path):
    key = Key.ed25519(tmp_path, OWN)
    async with adding(key) as house:
        upstream.on(Stage.DATA, close=True, times=1)
        async with house.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 forwarded")
    (message,) = upstream.messages
    assert verified(message.content, key.record)
    assert len(FIELDS.findall(message.content)) == 1


async def test_a_section_of_lines_that_are_no_fields_gets_nothing(adding, upstream):
    message = HEAD + b"this is no field\r\n\r\nunsubscribe\r\n"
    async with adding() as house:
        async with house.client() as client:
            assert (await client.mail(A, message=message)).endswith("1 forwarded")
    assert strip_trace(upstream.messages[0].content) == message


async def test_a_message_without_a_body_gets_it(adding, upstream, tmp_path):
    key = Key.ed25519(tmp_path, OWN)
    async with adding(key) as house:
        async with house.client() as client:
            for message in (HEAD, HEAD + b"\r\n"):
                assert (await client.mail(A, message=message)).endswith("1 forwarded")
    for message, sent in zip(upstream.messages, (HEAD, HEAD + b"\r\n"), strict=True):
        assert verified(message.content, key.record)
        assert FIELDS.sub(b"", message.content, count=1).endswith(b"\r\n" + sent)


_names = st.sampled_from([b"Received", b"X-Gateway-Kind", b"X-Gateway-Topic", b"To", b"Cc", b"X"])
_values = st.lists(
    st.sampled_from(
        [b"a", b" b", b"\t", b"\r\n c", b"\r\n\td", b"\xff", b"=?x?=", b".", b"\r\n ."]
    ),
    max_size=6,
).map(b"".join)
_fields = st.lists(
    st.tuples(_names, st.sampled_from([b":", b": "]), _values, st.just(b"\r\n")).map(b"".join),
    max_size=5,
).map(b"".join)
_bodies = st.lists(
    st.sampled_from([b"a", b"\r\n", b".", b" ", b"\t", b"\xe4", b"\r\n.\r\n", b"\r\n\r\n"]),
    max_size=20,
).map(b"".join)


async def test_of_no_message_more_changes_than_the_added_lines(adding, upstream, tmp_path):
    """The body octet for octet; of the header section the rest; and the signature holds."""
    key = Key.ed25519(tmp_path, OWN)
    control = re.compile(rb"^X-Gateway-(?:Kind|Topic):.*\r\n(?:[ \t].*\r\n)*", re.MULTILINE)
    async with adding(key) as house, house.client() as client:

        @settings(
            deadline=None,
            max_examples=40,
            suppress_health_check=[HealthCheck.function_scoped_fixture],
        )
        @given(_fields, _fields, _bodies)
        async def carried(before, after, body):
            body = body and body + b"\r\n"
            section = before + HEAD + after
            upstream.messages.clear()
            reply = await client.mail(A, message=section + b"\r\n" + body)
            assert reply.endswith("1 forwarded"), reply
            content = upstream.messages[0].content
            assert verified(content, key.record)
            _, signed, rest = re.split(rb"\A(DKIM-Signature: .*\r\n(?:\t.*\r\n)+)", content)
            assert signed
            rest = strip_trace(rest)
            assert FIELDS.sub(b"", rest, count=1) == control.sub(b"", section) + b"\r\n" + body

        await _each(carried)
        assert len(await house.found(A)) >= 10


async def _each(carried):
    """Run a property whose examples need the loop that runs already."""
    inner = carried.hypothesis.inner_test
    loop = asyncio.get_running_loop()

    def example(*arguments, **more):
        asyncio.run_coroutine_threadsafe(inner(*arguments, **more), loop).result(60)

    carried.hypothesis.inner_test = example
    await asyncio.to_thread(carried)


# -- held messages --------------------------------------------------------------------


@pytest.fixture
def undeclared():
    return [client_table(kind="declared", topic=None)]


async def test_a_released_message_gets_its_link_and_its_signature(
    adding, undeclared, upstream, tmp_path
):
    key = Key.rsa(tmp_path, OWN)
    async with adding(key, clients=undeclared) as house:
        async with house.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 held")
        (held,) = await house.parts.site.held.list()
        await release(house.parts.site, held.id, by="anna", reason="x", kind=Kind.MARKETING)
        content = upstream.messages[0].content
        assert verified(content, key.record)
        rest = content[FIELDS.search(content).start() :]
        assert FIELDS.sub(b"", rest, count=1) == PLAIN
        assert await opt_out(house) == "https one-click added"
        link = links(house).open(FIELDS.search(content)[1].decode(), now_ms(), 1)
        assert link.contact == parse_email(A)


async def test_a_release_to_two_or_of_another_kind_adds_nothing(adding, undeclared, upstream):
    async with adding(clients=undeclared) as house:
        async with house.client() as client:
            words = PLAIN + b"unsubscribe\r\n"
            assert (await client.mail(A, B, message=words)).endswith("2 held")
            assert (await client.mail(A, message=PLAIN)).endswith("1 held")
        for held in await house.parts.site.held.list():
            kind = Kind.MARKETING if len(held.message.recipients) == 2 else Kind.NOTICE
            await release(house.parts.site, held.id, by="anna", reason="x", kind=kind)
    assert sorted(m.content for m in upstream.messages) == sorted([PLAIN, words])


async def test_a_ban_stops_a_release_with_a_link(adding, undeclared, upstream):
    async with adding(clients=undeclared) as house:
        async with house.client() as client:
            assert (await client.mail(A, message=PLAIN)).endswith("1 held")
        await house.tell(A, EventKind.BAN, scope=Scope.ALL)
        (held,) = await house.parts.site.held.list()
        done = await release(house.parts.site, held.id, by="a", reason="x", kind=Kind.MARKETING)
        assert done.sent == []
    assert upstream.messages == []
