"""The relay's main job: who is mailed, who is not, and what the client hears."""

import pytest

from gateway.contacts.contact import Channel
from gateway.decision.facts import Outcome
from gateway.entry.entry import Scope
from tests.peers.house import INVOICE, MAILING, Client, client_table
from tests.smtp.trace import strip_trace

YES = ["yes1@example.com", "yes2@example.com", "yes3@example.com"]
NO = "no@example.com"


async def test_an_allowed_recipient_is_mailed_and_recorded(house, upstream):
    await house.allow(YES[0])
    async with house.client() as client:
        reply = await client.mail(YES[0])
    assert reply.startswith("250 2.0.0 Ok ")
    assert reply.endswith("1 forwarded")
    (message,) = upstream.messages
    assert message.recipients == [YES[0]]
    assert message.sender == "uutiset@lamisnet.fi"
    assert strip_trace(message.content) == MAILING
    assert await house.fate(YES[0]) == [(Outcome.FORWARD, "R40", "forwarded")]


async def test_a_banned_recipient_is_answered_250_and_left_out(house, upstream):
    await house.allow(NO)
    await house.ban(NO)
    async with house.client() as client:
        reply = await client.mail(NO)
    assert reply.startswith("250 ")
    assert reply.endswith("1 suppressed")
    assert upstream.messages == []
    assert await house.fate(NO) == [(Outcome.SUPPRESS, "R11", "suppressed")]


@pytest.mark.parametrize("place", [0, 1, 2, 3])
@pytest.mark.parametrize("pipelined", [False, True])
async def test_the_banned_one_is_left_out_wherever_it_stands(house, upstream, place, pipelined):
    await house.allow(*YES, NO)
    await house.ban(NO)
    recipients = [*YES[:place], NO, *YES[place:]]
    async with house.client() as client:
        if pipelined:
            client.send("MAIL FROM:<uutiset@lamisnet.fi>")
            for recipient in recipients:
                client.send(f"RCPT TO:<{recipient}>")
            client.send("DATA")
            replies = [await client.reply() for _ in range(len(recipients) + 2)]
            assert [r[:3] for r in replies] == ["250"] * 5 + ["354"]
            reply = await client.body(MAILING)
        else:
            reply = await client.mail(*recipients)
    assert reply.endswith("3 forwarded, 1 suppressed")
    assert [m.recipients for m in upstream.messages] == [YES]


async def test_all_suppressed_never_reaches_the_upstream(house, upstream):
    await house.ban("a@example.com")
    await house.ban("b@example.com")
    async with house.client() as client:
        assert (await client.mail("a@example.com", "b@example.com")).endswith("2 suppressed")
    assert upstream.commands == [] or all(b"MAIL" not in c for c in upstream.commands)


async def test_reject_names_rule_and_record(build, upstream):
    async with build(clients=[client_table(on_suppress="reject")]) as house:
        await house.allow(*YES)
        await house.ban(NO)
        async with house.client() as client:
            replies = await client.begin(YES[0], NO, YES[1])
            assert [r[:3] for r in replies] == ["250", "550", "250"]
            assert replies[1].startswith("550 5.7.1 Suppressed by R11 (record ")
            assert (await client.data()).endswith("2 forwarded")
        record_id = replies[1].split("record ")[1].rstrip(")")
        (found,) = await house.found(NO)
        assert found.record_id == record_id
        assert found.result.value == "rejected"
        assert upstream.messages[0].recipients == YES[:2]


async def test_hundreds_of_messages_on_one_connection_with_a_refusal_in_the_middle(build, upstream):
    """listmonk 1497: after a 550 every further message of the session failed."""
    async with build(clients=[client_table(on_suppress="reject")]) as house:
        await house.allow(*YES)
        await house.ban(NO)
        async with house.client() as client:
            for number in range(300):
                if number == 150:
                    (reply,) = await client.begin(NO)
                    assert reply.startswith("550")
                    # Such a tool goes on with the next MAIL, without RSET.
                    continue
                assert (await client.mail(YES[number % 3])).endswith("1 forwarded")
        assert len(upstream.messages) == 299
        assert upstream.connections <= 2


async def test_a_second_mail_begins_anew(house, upstream):
    await house.allow(*YES)
    async with house.client() as client:
        await client.begin(YES[0])
        assert (await client.mail(YES[1])).endswith("1 forwarded")
    assert [m.recipients for m in upstream.messages] == [[YES[1]]]


async def test_rset_noop_vrfy_help_and_the_rest_behave(house):
    async with house.client() as client:
        assert (await client.say("NOOP")).startswith("250")
        assert (await client.say("VRFY no@example.com")).startswith("252")
        assert (await client.say("VRFY yes@example.com")).startswith("252")
        assert (await client.say("EXPN list")).startswith("502")
        assert (await client.say("HELP")).startswith("214")
        assert (await client.say("BDAT 10 LAST")).startswith("502")
        assert (await client.say("XYZZY")).startswith("500")
        assert (await client.say("RCPT TO:<a@example.com>")).startswith("503")
        assert (await client.say("DATA")).startswith("503")
        await client.begin("a@example.com")
        assert (await client.say("RSET")).startswith("250")
        assert (await client.say("RCPT TO:<a@example.com>")).startswith("503")
        assert (await client.say("MAIL FROM:<x@lamisnet.fi>")).startswith("250")
        assert (await client.say("DATA")).startswith("554")
        assert (await client.say("QUIT")).startswith("221")


async def test_mail_before_ehlo_is_refused(house):
    async with Client(house.port, greet=False) as client:
        await client.reply()
        assert (await client.say("MAIL FROM:<a@lamisnet.fi>")).startswith("503")


async def test_the_client_of_an_unknown_network_is_told_to_log_in_and_nothing_else(build):
    clients = [client_table(networks=["10.0.0.0/8"])]
    async with build(clients=clients) as house:
        await house.ban(NO)
        async with house.client() as client:
            assert (await client.say("MAIL FROM:<a@lamisnet.fi>")).startswith("530 5.7.0")
            for address in (NO, YES[0]):
                assert (await client.say(f"RCPT TO:<{address}>")).startswith("503")


async def test_service_mail_passes_a_marketing_ban(build, upstream):
    async with build(clients=[client_table(kind="service", topic=None)]) as house:
        await house.customer(YES[0])
        await house.ban(YES[0])
        async with house.client() as client:
            assert (await client.mail(YES[0], message=INVOICE)).endswith("1 forwarded")
        assert strip_trace(upstream.messages[0].content) == INVOICE
        assert await house.fate(YES[0]) == [(Outcome.FORWARD, "R08", "forwarded")]


async def test_marketing_that_calls_itself_service_is_marketing(build, upstream):
    async with build(clients=[client_table(kind="service", topic=None)]) as house:
        await house.customer(NO)
        await house.ban(NO)
        async with house.client() as client:
            assert (await client.mail(NO, message=MAILING)).endswith("1 suppressed")
        assert upstream.messages == []


async def test_a_declared_kind_decides_and_the_control_headers_stay_here(build, upstream):
    async with build(clients=[client_table(kind="declared", topic=None)]) as house:
        await house.customer(*YES)
        await house.ban(YES[1])
        said = b"X-Gateway-Kind: transactional\r\nx-gateway-TOPIC: billing\r\n" + INVOICE
        async with house.client() as client:
            assert (await client.mail(*YES, message=said)).endswith("3 forwarded")
        assert strip_trace(upstream.messages[0].content) == INVOICE
        async with house.client() as client:
            said = b"X-Gateway-Kind: marketing\r\n" + MAILING
            reply = await client.mail(*YES, message=said)
        assert reply.endswith("2 forwarded, 1 suppressed")
        # The upstream had accepted all three at RCPT; the body went to two.
        assert upstream.messages[1].recipients == [YES[0], YES[2]]


async def test_no_kind_is_held_and_nothing_leaves(build, upstream):
    async with build(clients=[client_table(kind="declared", topic=None)]) as house:
        await house.customer(*YES)
        async with house.client() as client:
            reply = await client.mail(YES[0], message=INVOICE)
        assert reply.startswith("250 ")
        assert reply.endswith("1 held")
        assert upstream.messages == []
        (held,) = await house.parts.site.held.list()
        assert held.message.recipients[0].address == YES[0]
        content = b"".join([p async for p in house.parts.site.held.open_content(held.id)])
        assert content == INVOICE
        assert await house.fate(YES[0]) == [(Outcome.HOLD, "R01", "held")]


@pytest.mark.parametrize(
    ("headers", "rule"),
    [
        (b"From: x@elsewhere.example\r\nList-Unsubscribe: <https://x.example>\r\n", "R02"),
        (b"List-Unsubscribe: <https://x.example>\r\n", "R02"),
        (b"From: uutiset@lamisnet.fi\r\n", "R16"),
    ],
)
async def test_what_the_headers_lack_suppresses_marketing(house, upstream, headers, rule):
    await house.allow(YES[0])
    async with house.client() as client:
        assert (await client.mail(YES[0], message=headers + b"\r\nHei\r\n")).endswith("suppressed")
    assert upstream.messages == []
    assert [rule] == [one[1] for one in await house.fate(YES[0])]


async def test_opt_out_words_in_the_text_are_means_enough(house, upstream):
    await house.allow(YES[0])
    message = b"From: uutiset@lamisnet.fi\r\n\r\nPeruuta tilaus: https://x.example/u\r\n"
    async with house.client() as client:
        assert (await client.mail(YES[0], message=message)).endswith("1 forwarded")
    assert len(upstream.messages) == 1


async def test_reject_with_headers_that_suppress_all_is_550_at_the_end(build, upstream):
    async with build(clients=[client_table(on_suppress="reject")]) as house:
        await house.allow(YES[0])
        async with house.client() as client:
            assert (await client.mail(YES[0], message=INVOICE)).startswith(
                "550 5.7.1 Suppressed by R16 (record "
            )


@pytest.mark.parametrize(
    "spelling",
    [
        "NO.Body@gmail.com",
        "nobody@gmail.com",
        "no.body+news@gmail.com",
        "nobody@googlemail.com",
        '"nobody"@gmail.com',
    ],
)
async def test_a_ban_holds_for_every_spelling(house, upstream, spelling):
    await house.allow("nobody@gmail.com", "no.body+news@gmail.com")
    await house.ban("n.o.body+x@gmail.com")
    async with house.client() as client:
        assert (await client.mail(spelling)).endswith("1 suppressed")
    assert upstream.messages == []


async def test_channel_topic_and_organisation_bans(house, upstream):
    from gateway.clock import now_ms
    from gateway.entry.event import Event, EventKind

    await house.allow(*YES, "sms@example.com", "info@firma.example", "x@sub.firma.example")
    await house.ban(YES[0], Scope.CHANNEL, channel=Channel.EMAIL)
    await house.ban(YES[1], Scope.TOPIC, topic="Newsletter")
    await house.ban(YES[2], Scope.TOPIC, topic="other")
    await house.ban("sms@example.com", Scope.CHANNEL, channel=Channel.SMS)
    await house.parts.register.apply_organisation(
        Event(kind=EventKind.BAN, at=now_ms(), actor="test"), "firma.example"
    )
    async with house.client() as client:
        reply = await client.mail(
            *YES, "sms@example.com", "info@firma.example", "x@sub.firma.example"
        )
    assert reply.endswith("2 forwarded, 4 suppressed")
    assert upstream.messages[0].recipients == [YES[2], "sms@example.com"]


async def test_bad_recipients_are_told_one_by_one(house):
    await house.allow(*YES)
    async with house.client() as client:
        await client.say("MAIL FROM:<uutiset@lamisnet.fi> SMTPUTF8")
        for bad in ("nobody", "a\u200bb@example.com", "a@-x.example", "a@[127.0.0.1]"):
            reply = await client.say(f"RCPT TO:<{bad}>")
            assert reply[:3] in ("501", "553"), (bad, reply)
        assert (await client.say(f"RCPT TO:<{YES[0]}>")).startswith("250")


async def test_too_many_recipients_is_452(build):
    async with build(clients=[client_table(max_recipients=2)]) as house:
        await house.allow(*YES)
        async with house.client() as client:
            replies = await client.begin(*YES)
            assert [r[:3] for r in replies] == ["250", "250", "452"]
            assert (await client.data()).endswith("2 forwarded")


async def test_marketing_is_recorded_with_headers_and_hash_service_with_content(build, upstream):
    import hashlib

    clients = [client_table(networks=["127.0.0.0/8"])]
    async with build(clients=clients) as house:
        await house.allow(YES[0])
        async with house.client() as client:
            await client.mail(YES[0])
        (found,) = await house.found(YES[0])
        shown = await house.archive.show(found.record_id)
        assert shown.address == YES[0]
        assert shown.sender == "uutiset@lamisnet.fi"
        assert shown.headers == MAILING.split(b"\r\n\r\n")[0] + b"\r\n"
        assert shown.message.body_hash == hashlib.sha256(b"Hei!\r\n").hexdigest()
        assert shown.message.content is None
        assert shown.message.opt_out == "https"
        assert shown.rule.fi
        assert shown.rule.sv
        assert shown.recipient.facts["consent"] == "granted"
        assert shown.recipient.register_position
        assert shown.outcomes[0].reply_code == 250


async def test_service_content_is_kept_and_suppressed_is_not(build):
    async with build(clients=[client_table(kind="service", topic=None)]) as house:
        await house.customer(YES[0])
        async with house.client() as client:
            await client.mail(YES[0], message=INVOICE)
        (found,) = await house.found(YES[0])
        shown = await house.archive.show(found.record_id)
        pieces = [p async for p in house.contents.open(shown.message.content)]
        assert b"".join(pieces) == INVOICE
