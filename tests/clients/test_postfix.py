"""Postfix as the sending tool: its queue holds what the gateway has not taken."""

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path

import pytest
import pytest_asyncio

from tests.clients.conftest import NO, PASSWORD, REJECTING, USER, YES1, YES2, clients
from tests.clients.postfix import Postfix
from tests.peers.certificates import self_signed
from tests.peers.house import MAILING
from tests.peers.port import free_port
from tests.peers.process import RunningGateway, until
from tests.peers.scripted import ScriptedUpstream, Stage

pytestmark = pytest.mark.asyncio(loop_scope="module")
SENDER = "uutiset@lamisnet.fi"
OTHERS = [f"reader{number}@example.com" for number in range(200)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chain(tmp_path_factory):
    """Postfix, the gateway on a port that it keeps, and the upstream."""
    if os.getuid() != 0:
        pytest.skip("postfix(1) has to be started by root")
    if not any(Path("/usr/lib").glob("*/sasl2/libplain.so*")):
        if os.environ.get("CI") == "true":
            pytest.fail("libsasl2-modules is not installed, and CI must have it")
        pytest.skip("libsasl2-modules is not installed")
    folder = tmp_path_factory.mktemp("gateway")
    certificate = self_signed(folder, "localhost")
    port = free_port()
    async with (
        ScriptedUpstream() as upstream,
        RunningGateway(
            folder,
            upstream=upstream,
            clients=clients(folder),
            tls=certificate,
            smtp={"listen": [f"127.0.0.1:{port}"], "listen_tls": []},
        ) as gateway,
        Postfix(port, (USER, PASSWORD), certificate.certificate) as postfix,
    ):
        await gateway.allow(YES1, YES2, NO, *OTHERS)
        await gateway.ban(NO)
        yield postfix, gateway, upstream


@pytest.fixture
def postfix(chain):
    return chain[0]


@pytest.fixture
def gateway(chain):
    return chain[1]


@pytest_asyncio.fixture(loop_scope="module")
async def upstream(chain):
    """As good as new; what a failed test left in the queue does not reach the next one's."""
    postfix, _, peer = chain
    peer.forget_script()
    await postfix.emptied()
    peer.messages.clear()
    return peer


async def test_what_is_accepted_leaves_the_queue(postfix, upstream):
    await postfix.send(SENDER, YES1, NO, YES2, message=MAILING)
    await postfix.emptied()
    [message] = upstream.messages
    assert message.recipients == [YES1, YES2]
    assert message.sender == SENDER
    assert b"with ESMTPSA id" in message.content
    assert message.content.endswith(b"\r\n\r\nHei!\r\n")
    # Postfix takes the 250 of the suppressed one for what it is: nothing to do any more.
    assert f"to=<{NO}>" in postfix.log
    assert "2 forwarded, 1 suppressed" in postfix.log


async def test_a_campaign_over_kept_connections(postfix, upstream, gateway):
    batches = [OTHERS[place : place + 10] for place in range(0, len(OTHERS), 10)]
    await asyncio.gather(*(postfix.send(SENDER, *batch, NO, message=MAILING) for batch in batches))
    await postfix.emptied(60)
    reached = Counter(address for message in upstream.messages for address in message.recipients)
    assert reached == Counter(OTHERS)


async def test_the_upstream_is_down_and_comes_back(postfix, upstream):
    await upstream.aclose()
    await postfix.send(SENDER, YES1, message=MAILING)
    await postfix.logged("451 4.4.1 The upstream mail server cannot be reached")
    [kept] = await postfix.queue()
    assert kept["queue_name"] in ("deferred", "active")
    assert [one["address"] for one in kept["recipients"]] == [YES1]
    await upstream.start()
    await postfix.flush()
    await postfix.emptied()
    assert [message.recipients for message in upstream.messages] == [[YES1]]


async def test_the_register_is_frozen_and_comes_back(postfix, upstream, gateway):
    register = gateway.register_pid
    os.kill(register, signal.SIGSTOP)
    try:
        await postfix.send(SENDER, YES1, NO, message=MAILING)
        await postfix.logged("451 4.3.0 The suppression register cannot be reached")
        assert len(await postfix.queue()) == 1
        assert upstream.messages == []
    finally:
        os.kill(register, signal.SIGCONT)
    await postfix.flush()
    await postfix.emptied()
    assert [message.recipients for message in upstream.messages] == [[YES1]]


async def test_the_gateway_is_killed_in_a_hand_over_and_comes_back(postfix, upstream, gateway):
    gate = asyncio.Event()
    upstream.on(Stage.END, gate=gate, times=1, close=True)
    await postfix.send(SENDER, YES1, message=MAILING)
    await until(lambda: upstream.refused_messages, 15)
    gateway.signal(signal.SIGKILL)
    for worker in gateway.workers:
        os.kill(worker, signal.SIGKILL)
    await gateway.ended()
    gate.set()
    # No 250 was heard: the message is the client's, whatever has become of ours.
    assert len(await postfix.queue()) == 1
    await gateway.start()
    await postfix.flush()
    await postfix.emptied()
    assert [message.recipients for message in upstream.messages] == [[YES1]]


async def test_a_refused_recipient_is_the_senders_to_know(postfix, upstream, gateway):
    """`reject`: Postfix bounces the one that is banned, and delivers to the others."""
    postfix.login(REJECTING, PASSWORD)
    # Not a reload: processes that still hold a connection would go on using it.
    await postfix.control("stop")
    await postfix.control("start")
    await postfix.send(SENDER, YES1, NO, message=MAILING)
    await postfix.logged("550 5.7.1 Suppressed by R11 (record ")
    await postfix.logged("status=bounced")
    await postfix.emptied()
    assert [YES1] in [message.recipients for message in upstream.messages]
    assert all(NO not in message.recipients for message in upstream.messages)
