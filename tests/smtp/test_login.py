"""Who may send: logins, networks, TLS; everyone else learns nothing."""

import asyncio
import ssl

import aiosmtplib
import pytest
from argon2 import PasswordHasher

from tests.peers.certificates import self_signed
from tests.peers.house import MAILING, Client, client_table

A = "a@example.com"
PASSWORD = "salas ana"


@pytest.fixture
def certificate(tmp_path):
    return self_signed(tmp_path, "localhost")


@pytest.fixture
def secret(tmp_path):
    path = tmp_path / "newsletter"
    path.write_text(PASSWORD + "\n")
    return str(path)


def login_client(secret, **more):
    return client_table(networks=None, username="tool", password_file=secret, **more)


async def test_plain_and_login(build, secret, upstream):
    async with build(clients=[login_client(secret)]) as house:
        await house.allow(A)
        for method in ("plain", "login"):
            smtp = aiosmtplib.SMTP(hostname="127.0.0.1", port=house.port, start_tls=False)
            async with smtp:
                await smtp.ehlo()
                await getattr(smtp, f"auth_{method}")("tool", PASSWORD)
                await smtp.sendmail("uutiset@lamisnet.fi", [A], MAILING)
    assert len(upstream.messages) == 2


async def test_a_wrong_password_and_an_unknown_name_sound_the_same(build, secret):
    async with build(clients=[login_client(secret)]) as house, house.client() as client:
        wrong = await client.login("tool", "wrong")
        unknown = await client.login("nobody", PASSWORD)
        assert wrong == unknown
        assert wrong.startswith("535 5.7.8")
        assert (await client.say("MAIL FROM:<a@lamisnet.fi>")).startswith("530 5.7.0")
        last = await client.login("tool", "again")
        assert last.startswith("535")
        assert (await client.reply()).startswith("421")


async def test_an_argon2_hash_is_checked_and_remembered(build, upstream):
    hashed = PasswordHasher(time_cost=1, memory_cost=64).hash(PASSWORD)
    clients = [client_table(networks=None, username="tool", password_hash=hashed)]
    async with build(clients=clients) as house:
        await house.allow(A)
        for _ in range(2):
            async with house.client() as client:
                assert (await client.login("tool", "wrong")).startswith("535")
                assert (await client.login("tool", PASSWORD)).startswith("235")
                assert (await client.mail(A)).endswith("1 forwarded")


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("AUTH", "504"),
        ("AUTH CRAM-MD5", "504"),
        ("AUTH PLAIN ####", "501"),
        ("AUTH PLAIN AAAA", "501"),
        ("AUTH PLAIN /w==", "501"),
    ],
)
async def test_a_malformed_login_is_told(build, secret, line, code):
    async with build(clients=[login_client(secret)]) as house, house.client() as client:
        assert (await client.say(line)).startswith(code)


async def test_a_login_can_be_cancelled(build, secret):
    async with build(clients=[login_client(secret)]) as house, house.client() as client:
        assert (await client.say("AUTH LOGIN")).startswith("334")
        assert (await client.say("*")).startswith("501")
        assert (await client.login("tool", PASSWORD)).startswith("235")
        assert (await client.login("tool", PASSWORD)).startswith("503")


async def test_starttls_forgets_what_came_before_it(build, certificate, tmp_path, secret):
    """RFC 3207: commands in STARTTLS's own burst are never carried out."""
    cert, key = certificate.certificate, certificate.key
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    async with build(
        clients=[client_table()],
        tls=context,
    ) as house:
        await house.allow(A)
        async with Client(house.port, greet=False) as client:
            await client.reply()
            assert "STARTTLS" in await client.say("EHLO tool.example")
            client.writer.write(b"STARTTLS\r\nMAIL FROM:<injected@lamisnet.fi>\r\n")
            assert (await client.reply()).startswith("220")
            trusted = ssl.create_default_context(cafile=cert)
            await client.writer.start_tls(trusted, server_hostname="localhost")
            assert (await client.say("RCPT TO:<a@example.com>")).startswith("503")
            assert (await client.say("MAIL FROM:<a@lamisnet.fi>")).startswith("503")
            greeting = await client.say("EHLO tool.example")
            assert "STARTTLS" not in greeting
            assert (await client.mail(A)).endswith("1 forwarded")


async def test_implicit_tls(build, certificate, upstream):
    cert, key = certificate.certificate, certificate.key
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    async with build(tls=context) as house:
        await house.allow(A)
        trusted = ssl.create_default_context(cafile=cert)
        smtp = aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=house.tls_port,
            use_tls=True,
            tls_context=trusted,
            start_tls=False,
        )
        trusted.check_hostname = False
        async with smtp:
            await smtp.sendmail("uutiset@lamisnet.fi", [A], MAILING)
    assert b"with ESMTPS id " in upstream.messages[0].content


async def test_the_narrowest_network_is_the_client(build):
    clients = [
        client_table(name="wide", networks=["127.0.0.0/8"], kind="service", topic=None),
        client_table(name="narrow", networks=["127.0.0.1/32"]),
    ]
    async with build(clients=clients) as house:
        await house.ban(A)
        async with house.client() as client:
            assert (await client.mail(A)).endswith("1 suppressed")
        assert (await house.found(A))[0].client == "narrow"


async def test_a_half_closed_client_still_gets_its_answers(house, upstream):
    await house.allow(A)
    async with Client(house.port, greet=False) as client:
        client.writer.write(
            b"EHLO x\r\nMAIL FROM:<uutiset@lamisnet.fi>\r\nRCPT TO:<a@example.com>\r\nDATA\r\n"
        )
        while not (await client.reply()).startswith("354"):
            pass
        client.writer.write(MAILING + b".\r\nQUIT\r\n")
        client.writer.write_eof()
        assert (await client.reply()).endswith("1 forwarded")
        assert (await client.reply()).startswith("221")
    await asyncio.sleep(0)
    assert len(upstream.messages) == 1
