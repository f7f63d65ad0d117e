"""A stop ends within its time, whatever a client does with its connection."""

import asyncio
import contextlib
import socket
import ssl
import threading
import time

import pytest
import uvloop

from tests.peers.certificates import self_signed
from tests.peers.process import RunningGateway
from tests.sms.conftest import route_table


@pytest.fixture
def tls(tmp_path):
    made = self_signed(tmp_path)
    return {"certificate": str(made.certificate), "key": str(made.key)}


@pytest.fixture
def idle():
    """Makes clients that have had their answer, and look at their connection no more."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    clients = []

    def make(port):
        plain = socket.create_connection(("127.0.0.1", port), timeout=10)
        clients.append(context.wrap_socket(plain))
        clients[-1].sendall(b"GET /nowhere HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert clients[-1].recv(1024).startswith(b"HTTP/1.1 404")

    yield make
    for one in clients:
        with contextlib.suppress(OSError):
            one.close()


def test_a_loop_ends_whose_tls_clients_never_answer_the_close(sms, tls, idle):
    """The loop waited for them for ever when it was closed."""

    async def serve():
        async with sms("twilio", table={"tls": tls}) as house:
            for _ in range(3):
                await asyncio.to_thread(idle, house.sms_port)
            assert house.door.connections == 3
            began = time.monotonic()
            assert await house.door.drain(30) is True
            assert time.monotonic() - began < 15

    def whole():
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve())
        ended.set()

    ended = threading.Event()
    threading.Thread(target=whole, daemon=True).start()
    assert ended.wait(60)


async def test_a_gateway_stops_in_time_beside_idle_tls_clients(tmp_path, tls, idle):
    routes = [route_table("twilio", "http://127.0.0.1:9")]
    table = {"listen": ["127.0.0.1:0"], "tls": tls, "routes": routes}
    async with RunningGateway(tmp_path, sms=table, workers=1, drain_timeout=60) as gateway:
        for _ in range(3):
            await asyncio.to_thread(idle, gateway.sms)
        began = time.monotonic()
        assert await gateway.stop(within=100) == 0
        assert time.monotonic() - began < 30
