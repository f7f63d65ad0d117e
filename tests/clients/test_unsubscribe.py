"""Tools that must send one by one get a link of their own into each mail."""

import asyncio
import os
import re
import smtplib
import ssl
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.clock import now_ms
from gateway.unsubscribe.link import Links
from tests.clients.conftest import PASSWORD, USER, clients, run, tool
from tests.clients.postfix import Postfix
from tests.peers.certificates import self_signed
from tests.peers.port import free_port
from tests.peers.process import RunningGateway, until
from tests.peers.scripted import ScriptedUpstream

pytestmark = pytest.mark.asyncio(loop_scope="module")
SENDER = "uutiset@lamisnet.fi"
READERS = [f"reader{number}@example.com" for number in range(5)]
PLAIN = (
    b"From: LamisNET <uutiset@lamisnet.fi>\r\nTo: undisclosed-recipients:;\r\n"
    b"Subject: Marraskuun uutiset\r\nMessage-ID: <1@lamisnet.fi>\r\n\r\nHei!\r\n"
)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def adding(tmp_path_factory):
    """A gateway that takes one recipient a message and adds links, its port and upstream."""
    folder = tmp_path_factory.mktemp("gateway")
    certificate = self_signed(folder, "localhost")
    port = free_port()
    one_by_one = [{**client, "max_recipients": 1} for client in clients(folder)]
    async with (
        ScriptedUpstream() as upstream,
        RunningGateway(
            folder,
            upstream=upstream,
            clients=one_by_one,
            tls=certificate,
            smtp={"listen": [f"127.0.0.1:{port}"], "listen_tls": []},
            public={"url": "https://preferences.lamisnet.fi", "listen": ["127.0.0.1:0"]},
            unsubscribe={"add": True},
        ) as gateway,
    ):
        await gateway.allow(*READERS)
        yield gateway, upstream, port, certificate


@pytest.fixture
def place(adding):
    adding[1].forget_script()
    adding[1].messages.clear()
    return adding


def opened(place) -> list[str]:
    """Whose link each message has, once it is sure to be its recipient's."""
    gateway, upstream, *_ = place
    links = Links.load_or_create(gateway.folder / "data" / "secrets" / "link-keys.json")
    found = []
    for message in upstream.messages:
        (token,) = re.findall(rb"^List-Unsubscribe: <.*/u/(.*)>\r\n", message.content, re.M)
        contact = links.open(token.decode(), now_ms(), 1).contact.canonical
        assert message.recipients == [contact]
        found.append(contact)
    return sorted(found)


async def test_python_sends_the_rest_in_further_messages(place):
    _, _, port, certificate = place
    context = ssl.create_default_context(cafile=certificate.certificate)

    def send() -> int:
        rest, tries = list(READERS), 0
        with smtplib.SMTP("localhost", port, timeout=10) as server:
            server.starttls(context=context)
            server.login(USER, PASSWORD)
            while rest:
                tries += 1
                refused = server.sendmail(SENDER, rest, PLAIN)
                assert all(code == 452 for code, _ in refused.values())
                assert all(text.startswith(b"4.5.3") for _, text in refused.values())
                rest = list(refused)
        return tries

    assert await asyncio.to_thread(send) == len(READERS)
    assert opened(place) == READERS


async def test_swaks_is_told_of_the_rest(place):
    arguments = [
        tool("swaks"),
        *("--server", "127.0.0.1", "--port", str(place[2]), "--helo", "tool.example"),
        *("--from", SENDER, "--data", "-", "--tls", "--timeout", "10"),
        *("--auth-user", USER, "--auth-password", PASSWORD),
    ]
    done = await run(*arguments, "--to", ",".join(READERS[:2]), text=PLAIN)
    assert "452 4.5.3" in done.out
    assert "1 forwarded" in done.out
    assert opened(place) == READERS[:1]


@pytest.mark.slow
@pytest.mark.parametrize("limit", [1, 50])
async def test_postfix_sends_each_on_its_own(place, limit):
    """With its limit at one at once; else those that heard 452 stay queued and go later."""
    if os.getuid() != 0:
        pytest.skip("postfix(1) has to be started by root")
    if not any(Path("/usr/lib").glob("*/sasl2/libplain.so*")):
        if os.environ.get("CI") == "true":
            pytest.fail("libsasl2-modules is not installed, and CI must have it")
        pytest.skip("libsasl2-modules is not installed")
    _, upstream, port, certificate = place
    postfix = Postfix(port, (USER, PASSWORD), certificate.certificate)
    with (postfix.config / "main.cf").open("a") as file:
        file.write(f"smtp_destination_recipient_limit = {limit}\n")
    async with postfix:
        await postfix.send(SENDER, *READERS, message=PLAIN)
        await until(lambda: len(upstream.messages) >= len(READERS), 60, "not all were sent")
        await postfix.emptied()
        assert ("452 4.5.3" in postfix.log) == (limit > 1)
    assert opened(place) == READERS
