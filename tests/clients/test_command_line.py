"""swaks and msmtp, as people send with them."""

import pytest

from tests.clients.conftest import NO, PASSWORD, REJECTING, USER, YES1, YES2, Place, run, tool
from tests.peers.house import MAILING

pytestmark = pytest.mark.asyncio(loop_scope="module")
SENDER = "uutiset@lamisnet.fi"


def swaks(place: Place, *more: str, user: str = USER, port: int | None = None) -> list[str]:
    """swaks with a login, and our message on its standard input."""
    return [
        tool("swaks"),
        *("--server", "127.0.0.1", "--port", str(port or place.gateway.smtp)),
        *("--helo", "tool.example", "--from", SENDER, "--data", "-"),
        *("--auth-user", user, "--auth-password", PASSWORD, "--timeout", "10"),
        *more,
    ]


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
async def test_swaks_over_starttls(place, mechanism):
    done = await run(
        *swaks(place, "--tls", "--auth", mechanism, "--to", f"{YES1},{NO},{YES2}"), text=MAILING
    )
    assert done.status == 0, done.out
    assert "2 forwarded, 1 suppressed" in done.out
    [message] = place.upstream.messages
    assert message.recipients == [YES1, YES2]
    assert MAILING in message.content
    assert b"with ESMTPSA id" in message.content


async def test_swaks_over_implicit_tls_and_pipelined(place):
    port = place.gateway.smtp_tls
    done = await run(
        *swaks(place, "--tls-on-connect", "--to", YES1, "--pipeline", port=port), text=MAILING
    )
    assert done.status == 0, done.out
    assert "1 forwarded" in done.out


async def test_swaks_hears_the_refusal_of_one_recipient(place):
    done = await run(*swaks(place, "--tls", "--to", f"{NO},{YES1}", user=REJECTING), text=MAILING)
    assert "550 5.7.1 Suppressed by R11 (record " in done.out
    assert "1 forwarded" in done.out
    # Status 24 is swaks' word for a recipient that was refused and a message that went.
    assert done.status in (0, 24), done.out
    assert [message.recipients for message in place.upstream.messages] == [[YES1]]


async def test_swaks_with_a_wrong_password_is_let_in_nowhere(place):
    arguments = swaks(place, "--tls", "--to", YES1)
    arguments[arguments.index(PASSWORD)] = "wrong"
    done = await run(*arguments, text=MAILING)
    assert done.status == 28, done.out
    assert "535 5.7.8" in done.out
    assert place.upstream.messages == []


@pytest.fixture
def msmtp(place, tmp_path):
    """msmtp with its configuration, verified certificate and all."""

    def arguments(*more: str, user: str = USER, port: int | None = None) -> list[str]:
        config = tmp_path / "msmtprc"
        config.write_text(
            f"account default\nhost localhost\nport {port or place.gateway.smtp}\n"
            f"auth plain\nuser {user}\npassword {PASSWORD}\nfrom {SENDER}\n"
            f"tls on\ntls_starttls {'off' if port else 'on'}\n"
            f"tls_trust_file {place.certificate.certificate}\ntimeout 10\n"
        )
        config.chmod(0o600)
        return [tool("msmtp"), "--file", str(config), *more]

    return arguments


async def test_msmtp_over_starttls_with_a_verified_certificate(place, msmtp):
    done = await run(*msmtp("--", YES1, NO, YES2), text=MAILING)
    assert done.status == 0, done.out
    [message] = place.upstream.messages
    assert message.recipients == [YES1, YES2]
    assert message.content.endswith(MAILING)


async def test_msmtp_over_implicit_tls(place, msmtp):
    done = await run(*msmtp("--", YES1, port=place.gateway.smtp_tls), text=MAILING)
    assert done.status == 0, done.out
    assert len(place.upstream.messages) == 1


async def test_msmtp_gives_up_when_one_is_refused(place, msmtp):
    """It sends to all or to nobody: such tools are why `discard` is the default."""
    done = await run(*msmtp("--", YES1, NO, user=REJECTING), text=MAILING)
    assert done.status != 0
    assert "550 5.7.1 Suppressed by R11" in done.out
    assert place.upstream.messages == []


async def test_msmtp_asks_what_the_server_can_do(place, msmtp):
    done = await run(*msmtp("--serverinfo"))
    assert done.status == 0, done.out
    for word in ("PIPELINING", "SIZE", "AUTH", "PLAIN", "LOGIN"):
        assert word in done.out


async def test_msmtp_hears_a_temporary_fault(place, msmtp):
    await place.upstream.aclose()
    try:
        done = await run(*msmtp("--", YES1), text=MAILING)
    finally:
        await place.upstream.start()
    assert done.status != 0, done.out
    assert "451 4.4.1" in done.out
    await place.gateway.keep_sending(YES1, login=(USER, PASSWORD))
