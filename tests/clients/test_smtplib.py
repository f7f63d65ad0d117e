"""Python's own client, and aiosmtplib."""

import asyncio
import smtplib
import ssl
from email.message import EmailMessage

import aiosmtplib
import pytest

from tests.clients.conftest import NO, PASSWORD, REJECTING, USER, YES1, YES2

pytestmark = pytest.mark.asyncio(loop_scope="module")


def newsletter(*recipients: str) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Uutiset <uutiset@lamisnet.fi>"
    message["To"] = ", ".join(recipients)
    message["Subject"] = "Marraskuun uutiset: säästä"
    message["List-Unsubscribe"] = "<https://lamisnet.example/u/1>"
    message.set_content("Hyvää päivää!\n.\nPiste rivin alussa.\n")
    return message


@pytest.fixture
def context(place) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=place.certificate.certificate)


def over_starttls(place, context, user=USER) -> smtplib.SMTP:
    server = smtplib.SMTP("localhost", place.gateway.smtp, timeout=10)
    server.starttls(context=context)
    server.login(user, PASSWORD)
    return server


async def test_send_message_over_starttls_says_nothing_of_the_suppressed(place, context):
    def send():
        with over_starttls(place, context) as server:
            return server.send_message(newsletter(YES1, NO, YES2))

    assert await asyncio.to_thread(send) == {}
    [message] = place.upstream.messages
    assert message.recipients == [YES1, YES2]
    assert "Hyvää päivää!\r\n.\r\nPiste".encode() in message.content


async def test_the_refused_one_is_in_the_answer(place, context):
    def send():
        with over_starttls(place, context, REJECTING) as server:
            return server.send_message(newsletter(YES1, NO, YES2))

    refused = await asyncio.to_thread(send)
    assert list(refused) == [NO]
    code, text = refused[NO]
    assert code == 550
    assert text.startswith(b"5.7.1 Suppressed by R11 (record ")
    assert [message.recipients for message in place.upstream.messages] == [[YES1, YES2]]


async def test_all_refused_raises_and_the_connection_is_good_for_more(place, context):
    def send():
        with over_starttls(place, context, REJECTING) as server:
            with pytest.raises(smtplib.SMTPRecipientsRefused) as refused:
                server.send_message(newsletter(NO))
            assert refused.value.recipients[NO][0] == 550
            return server.send_message(newsletter(YES1))

    assert await asyncio.to_thread(send) == {}
    assert len(place.upstream.messages) == 1


async def test_implicit_tls_and_many_messages_over_one_connection(place, context):
    def send():
        port = place.gateway.smtp_tls
        with smtplib.SMTP_SSL("localhost", port, timeout=10, context=context) as server:
            server.login(USER, PASSWORD)
            for _ in range(20):
                assert server.send_message(newsletter(YES1, NO)) == {}
            server.noop()
            server.rset()
            assert server.verify(YES1)[0] == 252
            assert server.verify(NO)[0] == 252

    await asyncio.to_thread(send)
    assert len(place.upstream.messages) == 20


async def test_without_a_login_nobody_is_let_in(place, context):
    def send():
        with smtplib.SMTP("localhost", place.gateway.smtp, timeout=10) as server:
            server.starttls(context=context)
            with pytest.raises(smtplib.SMTPSenderRefused) as refused:
                server.send_message(newsletter(YES1))
            assert refused.value.smtp_code == 530
            with pytest.raises(smtplib.SMTPAuthenticationError) as wrong:
                server.login(USER, "wrong")
            assert wrong.value.smtp_code == 535

    await asyncio.to_thread(send)
    assert place.upstream.messages == []


async def test_an_upstream_that_refuses_the_message_is_heard_as_it_said_it(place, context):
    from tests.peers.scripted import Stage

    place.upstream.on(Stage.END, reply="554 5.7.1 Looks like spam", times=1)

    def send():
        with over_starttls(place, context) as server:
            with pytest.raises(smtplib.SMTPDataError) as refused:
                server.send_message(newsletter(YES1))
            assert refused.value.smtp_code == 554
            assert refused.value.smtp_error == b"5.7.1 Looks like spam"

    await asyncio.to_thread(send)


@pytest.mark.parametrize("implicit", [False, True])
async def test_aiosmtplib(place, context, implicit):
    port = place.gateway.smtp_tls if implicit else place.gateway.smtp
    client = aiosmtplib.SMTP(
        hostname="localhost", port=port, use_tls=implicit, tls_context=context, timeout=10
    )
    async with client:
        await client.login(REJECTING, PASSWORD)
        errors, answer = await client.send_message(newsletter(YES1, NO, YES2))
        assert list(errors) == [NO]
        assert errors[NO].code == 550
        assert "2 forwarded" in answer
        with pytest.raises(aiosmtplib.SMTPRecipientsRefused):
            await client.send_message(newsletter(NO))
        errors, answer = await client.send_message(newsletter(YES2))
        assert errors == {}
    assert [message.recipients for message in place.upstream.messages] == [[YES1, YES2], [YES2]]


async def test_aiosmtplib_many_at_once(place, context):
    async def send() -> None:
        await aiosmtplib.send(
            newsletter(YES1, NO),
            hostname="localhost",
            port=place.gateway.smtp,
            start_tls=True,
            tls_context=context,
            username=USER,
            password=PASSWORD,
            timeout=20,
        )

    await asyncio.gather(*(send() for _ in range(30)))
    assert [message.recipients for message in place.upstream.messages] == [[YES1]] * 30
