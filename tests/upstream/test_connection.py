import asyncio

import pytest

from gateway.failure import InputError
from gateway.upstream import ConnectionFailed, Pool, Target, Timeouts, Tls, Transaction
from gateway.wire.command import MailCommand, RcptCommand
from tests.peers.certificates import self_signed
from tests.peers.scripted import ScriptedUpstream
from tests.peers.scripted import Stage as At

NAME = "mail.example.test"
MAIL = MailCommand(b"<sender@example.test>")
RCPT = RcptCommand(b"<a@example.test>")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    return self_signed(tmp_path_factory.mktemp("certificate"), NAME)


async def body():
    yield b"Subject: x\r\n\r\nhello\r\n"


async def deliver(target):
    """Sends one message; the pool is closed afterwards."""
    pool = Pool(target, "gateway.test")
    try:
        transaction = Transaction(pool, await pool.lease(5))
        await transaction.begin(MAIL, [RCPT])
        reply = await transaction.data(body())
        transaction.release()
        return reply
    finally:
        await pool.aclose(0)


async def test_ehlo_says_our_name_and_capabilities_are_kept():
    async with ScriptedUpstream() as upstream:
        pool = Pool(upstream.target(), "gateway.test")
        assert pool.capabilities is None
        pool.give_back(await pool.lease(1))
        assert upstream.commands == [b"EHLO gateway.test"]
        assert pool.capabilities.pipelining and pool.capabilities.dsn
        assert pool.capabilities.size == 52428800
        await pool.aclose()
        await upstream.until(lambda: upstream.open == 0)
        assert upstream.dialogues[0].said_quit


async def test_helo_where_ehlo_is_unknown():
    async with ScriptedUpstream(ehlo=False) as upstream:
        assert (await deliver(upstream.target())).code == 250
        assert upstream.commands[:2] == [b"EHLO gateway.test", b"HELO gateway.test"]


async def test_a_unix_socket(tmp_path):
    async with ScriptedUpstream(path=tmp_path / "s") as upstream:
        assert (await deliver(upstream.target())).code == 250


@pytest.mark.parametrize("greeting", ["554 5.3.2 No", "421 4.3.2 Busy", "450 4.3.2 Later", "250 x"])
async def test_another_greeting_than_220_is_a_failure(greeting):
    async with ScriptedUpstream() as upstream:
        upstream.on(At.CONNECT, reply=greeting)
        with pytest.raises(ConnectionFailed):
            await deliver(upstream.target())
        await upstream.until(lambda: upstream.open == 0)


@pytest.mark.parametrize("how", [{"close": True}, {"reset": True}, {"reply": "421 4.3.2 Busy"}])
@pytest.mark.parametrize("at", [At.CONNECT, At.EHLO])
async def test_a_dialogue_that_fails_early_is_a_failure(at, how):
    async with ScriptedUpstream() as upstream:
        upstream.on(at, **how)
        with pytest.raises(ConnectionFailed):
            await deliver(upstream.target())


async def test_nobody_there(tmp_path):
    with pytest.raises(ConnectionFailed):
        await deliver(Target("main", path=str(tmp_path / "nothing")))
    async with ScriptedUpstream() as upstream:
        target = upstream.target()
    with pytest.raises(ConnectionFailed):
        await deliver(target)


async def test_starttls(certificate):
    async with ScriptedUpstream(tls=certificate.server_context()) as upstream:
        target = upstream.target(
            tls=Tls.STARTTLS, ca_file=certificate.certificate, server_name=NAME
        )
        assert (await deliver(target)).code == 250
        assert upstream.messages[0].tls
        assert upstream.commands[:3] == [
            b"EHLO gateway.test",
            b"STARTTLS",
            b"EHLO gateway.test",
        ]


async def test_implicit_tls(certificate):
    context = certificate.server_context()
    async with ScriptedUpstream(tls=context, implicit_tls=True) as upstream:
        target = upstream.target(tls=Tls.IMPLICIT, ca_file=certificate.certificate)
        assert (await deliver(target)).code == 250
        assert upstream.messages[0].tls


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.IMPLICIT])
async def test_a_certificate_that_cannot_be_trusted_is_a_failure(certificate, tls):
    context = certificate.server_context()
    async with ScriptedUpstream(tls=context, implicit_tls=tls is Tls.IMPLICIT) as upstream:
        with pytest.raises(ConnectionFailed):  # unknown issuer
            await deliver(upstream.target(tls=tls))
        with pytest.raises(ConnectionFailed):  # another name
            await deliver(
                upstream.target(
                    tls=tls, ca_file=certificate.certificate, server_name="other.example.test"
                )
            )
        assert (await deliver(upstream.target(tls=tls, verify=False))).code == 250
        assert len(upstream.messages) == 1


async def test_starttls_that_is_not_offered_or_refused_is_a_failure(certificate):
    async with ScriptedUpstream() as upstream:
        with pytest.raises(ConnectionFailed, match="not offered"):
            await deliver(upstream.target(tls=Tls.STARTTLS))
        assert b"MAIL" not in b"".join(upstream.commands)
    async with ScriptedUpstream(tls=certificate.server_context()) as upstream:
        upstream.on(At.STARTTLS, reply="454 4.7.0 Not now")
        with pytest.raises(ConnectionFailed):
            await deliver(upstream.target(tls=Tls.STARTTLS))


async def test_what_is_said_in_the_clear_after_starttls_is_dropped(certificate):
    """A reply slipped in behind the 220 is never taken for one said under TLS."""
    async with ScriptedUpstream(tls=certificate.server_context()) as upstream:
        upstream.on(
            At.STARTTLS, reply=b"220 Go on\r\n250-injected\r\n250 AUTH PLAIN\r\n250 half a re"
        )
        target = upstream.target(
            tls=Tls.STARTTLS, ca_file=certificate.certificate, server_name=NAME
        )
        pool = Pool(target, "gateway.test")
        pool.give_back(await pool.lease(5))
        assert pool.capabilities.pipelining
        assert not pool.capabilities.auth
        await pool.aclose()
        assert (await deliver(target)).code == 250


async def test_a_handshake_that_never_comes_ends_in_time():
    async with ScriptedUpstream() as upstream:  # speaks no TLS, and here nothing at all
        upstream.on(At.CONNECT, silent=True)
        timeouts = Timeouts(connect=0.1, greeting=0.1, command=0.1)
        async with asyncio.timeout(30):
            with pytest.raises(ConnectionFailed):
                await deliver(upstream.target(tls=Tls.IMPLICIT, timeouts=timeouts))
        await upstream.until(lambda: upstream.open == 0)


async def test_a_greeting_that_never_comes_under_tls_ends_in_time(certificate):
    context = certificate.server_context()
    async with ScriptedUpstream(tls=context, implicit_tls=True) as upstream:
        upstream.on(At.CONNECT, silent=True)
        timeouts = Timeouts(connect=1, greeting=0.1, command=0.1)
        target = upstream.target(
            tls=Tls.IMPLICIT, ca_file=certificate.certificate, timeouts=timeouts
        )
        with pytest.raises(ConnectionFailed, match="greeting"):
            await deliver(target)
        await upstream.until(lambda: upstream.open == 0)


@pytest.mark.parametrize("mechanisms", [["PLAIN", "LOGIN"], ["LOGIN", "X"], ["PLAIN"]])
async def test_auth(mechanisms):
    async with ScriptedUpstream(users={"me": "sécret"}, mechanisms=mechanisms) as upstream:
        assert (await deliver(upstream.target(username="me", password="sécret"))).code == 250
        assert upstream.messages[0].user == "me"
        with pytest.raises(ConnectionFailed) as failed:
            await deliver(upstream.target(username="me", password="wrong"))
        assert "wrong" not in str(failed.value)
        assert failed.value.temporary


async def test_auth_that_is_not_offered_is_a_failure():
    async with ScriptedUpstream(users={}, mechanisms=["CRAM-MD5"]) as upstream:
        with pytest.raises(ConnectionFailed):
            await deliver(upstream.target(username="me", password="x"))


async def test_auth_travels_under_tls(certificate):
    context = certificate.server_context()
    async with ScriptedUpstream(tls=context, users={"me": "secret"}) as upstream:
        target = upstream.target(
            tls=Tls.STARTTLS,
            ca_file=certificate.certificate,
            server_name=NAME,
            username="me",
            password="secret",
        )
        assert (await deliver(target)).code == 250
        assert (upstream.messages[0].tls, upstream.messages[0].user) == (True, "me")
        assert "secret" not in repr(target)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"host": "a", "path": "/b"},
        {"host": "a", "username": "me"},
        {"host": "mx.example.test", "username": "me", "password": "x"},
        {"path": "/b", "tls": Tls.STARTTLS},
        {"host": "a", "max_connections": 0},
    ],
)
def test_targets_that_cannot_be_meant(settings):
    with pytest.raises(InputError, match="'main'"):
        Target("main", **settings)


def test_a_ca_file_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="ca_file"):
        Target("main", host="a", tls=Tls.STARTTLS, ca_file=tmp_path / "x").context()
    (tmp_path / "x").write_text("no certificate")
    with pytest.raises(InputError, match="ca_file"):
        Target("main", host="a", tls=Tls.STARTTLS, ca_file=tmp_path / "x").context()


@pytest.mark.parametrize(
    ("settings", "loopback"),
    [
        ({"host": "127.0.0.1"}, True),
        ({"host": "127.1.2.3"}, True),
        ({"host": "::1"}, True),
        ({"host": "localhost"}, True),
        ({"path": "/x"}, True),
        ({"host": "192.0.2.1"}, False),
        ({"host": "localhost.example.test"}, False),
    ],
)
def test_what_stays_on_this_machine(settings, loopback):
    assert Target("main", **settings).loopback == loopback
