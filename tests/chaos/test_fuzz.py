"""Dialogues made up by chance: whole or in single octets, the same is answered.

Both sides: what a client says to the gateway, and what an upstream says to it.
"""

from __future__ import annotations

import asyncio
import os
import re
import socket
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chaos.apart import Apart
from tests.chaos.parrot import Parrot
from tests.chaos.place import OUR_FAULTS
from tests.chaos.sink import Sink
from tests.peers.house import MAILING, House, client_table
from tests.smtp.trace import strip_trace

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(300)]

_ID = re.compile(rb"\b[0-9A-HJKMNP-TV-Z]{26}\b")
_REPLY = re.compile(rb"[2-5][0-9]{2}[ -][^\x00-\x1f\x7f]*")
_TELLTALE = re.compile(
    rb"Traceback|[a-z]Error\b|Exception|gateway\.(?!test)[a-z]|File \"|0x[0-9a-f]{6}"
)
COUNT = int(os.environ.get("CHAOS_EXAMPLES", "100"))
"""How many dialogues; with another number than the usual each run makes up others."""
EXAMPLES = settings(
    max_examples=COUNT,
    deadline=None,
    derandomize=COUNT == 100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

# -- what a client may say ---------------------------------------------------------------

ADDRESSES = st.sampled_from(
    [
        b"<reader@example.com>",
        b"<banned@example.com>",
        b"<stranger@example.com>",
        b"<>",
        b"<Postmaster>",
        b'<"a b"@example.com>',
        b"<a@[127.0.0.1]>",
        b"<a@@example.com>",
        b"reader@example.com",
        b"<@x,@y:reader@example.com>",
        "<jörö@example.com>".encode(),
        b"<\xff@example.com>",
    ]
)
PARAMETERS = st.lists(
    st.sampled_from(
        b"SIZE=100 SIZE=99999999999 BODY=8BITMIME SMTPUTF8 RET=FULL ENVID=x NOTIFY=NEVER "
        b"ORCPT=rfc822;a@b X=1 SIZE= = AUTH=<>".split()
    ),
    max_size=2,
).map(lambda found: b"".join(b" " + one for one in found))
BODIES = st.one_of(
    st.just(MAILING),
    st.just(MAILING + b"..\r\n.x\r\n"),
    st.builds(
        lambda lines, end: MAILING + b"".join(line + end for line in lines),
        st.lists(st.sampled_from([b"Hei", b"..dot", b"", b"\xe4\xf6", b"x" * 300, b"\0"])),
        st.sampled_from([b"\r\n", b"\r\n", b"\n", b"\r"]),
    ),
    st.binary(max_size=300).map(lambda octets: octets.replace(b"\r\n.", b"\r\n..") + b"\r\n"),
)
COMMANDS = st.one_of(
    st.sampled_from(
        b"EHLO tool.example|HELO tool.example|EHLO|RSET|NOOP|NOOP x|VRFY a|HELP|EXPN x|DATA x|"
        b"BDAT 10 LAST|STARTTLS|STARTTLS x|AUTH PLAIN AGJpbGxzAG9wZW4gc2VzYW1l|AUTH PLAIN|"
        b"AUTH LOGIN|*|AUTH PLAIN AGJpbGxzAHdyb25n|YmlsbHM=|b3BlbiBzZXNhbWU=|QUIT x|| ".split(b"|")
    ),
    st.builds(lambda path, more: b"MAIL FROM:" + path + more, ADDRESSES, PARAMETERS),
    st.builds(lambda path, more: b"RCPT TO:" + path + more, ADDRESSES, PARAMETERS),
    st.binary(max_size=60),
    st.just(b"x" * 2100),
).map(lambda line: line + b"\r\n")
LETTERS = st.builds(
    lambda path, body: (
        b"MAIL FROM:<u@lamisnet.fi>\r\nRCPT TO:" + path + b"\r\nDATA\r\n" + body + b".\r\n"
    ),
    st.one_of(st.just(b"<reader@example.com>"), ADDRESSES),
    BODIES,
)
DIALOGUES = st.builds(
    lambda hello, first, parts, last: hello + first + b"".join(parts) + last,
    st.sampled_from([b"EHLO tool.example\r\n"] * 4 + [b"HELO tool.example\r\n", b""]),
    st.one_of(LETTERS, COMMANDS, LETTERS),
    st.lists(st.one_of(LETTERS, COMMANDS, LETTERS, COMMANDS, BODIES), max_size=10),
    st.sampled_from([b"QUIT\r\n", b"", b"MAIL FR", b"\r", b"DATA\r\nhalf a message"]),
)


@st.composite
def cuts(draw, octets):
    """The octets in pieces."""
    places = sorted(draw(st.sets(st.integers(0, len(octets)), max_size=12)))
    return [octets[a:b] for a, b in zip([0, *places], [*places, len(octets)], strict=True)]


@dataclass
class Rig:
    """A mail side and its sink, in a loop of their own."""

    apart: Apart
    house: House
    sink: Sink

    def hear(self, pieces: list[bytes]) -> tuple[list[bytes], list[tuple]]:
        """All replies to these pieces, and what arrived."""
        return self.apart.run(self._hear(pieces))

    async def _hear(self, pieces: list[bytes]) -> tuple[list[bytes], list[tuple]]:
        self.sink.arrivals.clear()
        heard = await exchange(self.house.port, pieces)
        arrivals = [(a.recipients, strip_trace(a.content)) for a in self.sink.arrivals]
        return [_ID.sub(b"ID", line) for line in heard], arrivals


async def exchange(port: int, pieces: list[bytes]) -> list[bytes]:
    """Send each piece by itself, half-close, and read to the end; the reply lines."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, ("127.0.0.1", port))

        async def speak() -> None:
            try:
                for piece in pieces:
                    await loop.sock_sendall(sock, piece)
                    await asyncio.sleep(0)
                    await asyncio.sleep(0)
                sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # It has hung up on us, which its last reply says.

        speaking = asyncio.create_task(speak())
        heard = b""
        try:
            async with asyncio.timeout(20):
                while data := await loop.sock_recv(sock, 65536):
                    heard += data
        except ConnectionError:
            pass
        finally:
            await speaking
    assert heard == b"" or heard.endswith(b"\r\n"), heard[-200:]
    return heard.split(b"\r\n")[:-1]


@pytest.fixture
def rig(tmp_path, register_url):
    (tmp_path / "secret").write_text("open sesame\n")
    clients = [
        client_table(),
        client_table(name="bills", networks=None, username="bills", password_file="secret"),
    ]
    with Apart() as apart, ExitStack() as stack:

        async def start():
            sink = Sink(apart)
            await sink.start()
            house = House(tmp_path, register_url, [sink], clients=clients)
            await house.__aenter__()
            await house.allow("reader@example.com", "banned@example.com")
            await house.ban("banned@example.com")
            return Rig(apart, house, sink)

        made = apart.run(start())
        stack.callback(lambda: apart.run(made.sink.stop()))
        stack.callback(lambda: apart.run(made.house.__aexit__()))
        yield made


def is_decent(replies, logged):
    """Nothing but replies is heard, nothing of the program shows, no fault is logged."""
    for line in replies:
        assert _REPLY.fullmatch(line), line
        assert not _TELLTALE.search(line), line
    assert not [line for line in logged if line["event"] in OUR_FAULTS], logged


def test_a_dialogue_is_answered_alike_however_it_is_cut(rig):
    arrived = 0

    @EXAMPLES
    @given(st.data())
    def check(data):
        nonlocal arrived
        octets = data.draw(DIALOGUES)
        with structlog.testing.capture_logs() as logged:
            whole = rig.hear([octets])
            pieces = rig.hear(data.draw(cuts(octets)))
            single = rig.hear([octets[n : n + 1] for n in range(len(octets))])
        assert whole == pieces
        assert whole == single
        arrived += len(whole[1])
        assert not any("banned@example.com" in to for to, _ in whole[1])
        is_decent(whole[0], logged)
        assert rig.sink.breaches == []

    check()
    print(f"{arrived} messages arrived out of {COUNT} dialogues")
    assert arrived


# -- what an upstream may say --------------------------------------------------------------

TEXTS = st.one_of(
    st.sampled_from([b"", b"Ok", b"2.1.0 Ok", b"5.1.1 <a@b.example> unknown", b"\xe4\x00\x1f\x7f"]),
    st.binary(max_size=80).map(lambda octets: octets.translate(None, b"\r\n")),
    st.just(b"x" * 1500),
)


@st.composite
def replies(draw, usual):
    """One reply, mostly the usual one, or a line that is none."""
    kind = draw(st.sampled_from(["usual"] * 6 + ["any", "lines", "garbage"]))
    end = draw(st.sampled_from([b"\r\n", b"\r\n", b"\n"]))
    if kind == "garbage":
        return draw(st.binary(max_size=60)).translate(None, b"\r\n") + b"\r\n"
    code = usual if kind == "usual" else draw(st.integers(200, 599))
    texts = draw(st.lists(TEXTS, min_size=1, max_size=4 if kind == "lines" else 1))
    head = b"".join(b"%d-%b%b" % (code, text, end) for text in texts[:-1])
    return head + b"%d %b%b" % (code, texts[-1], end)


SCRIPTS = st.fixed_dictionaries(
    {
        b"": replies(220),
        b"EHLO": st.one_of(
            replies(250),
            st.just(b"250-x\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 1000000\r\n"),
            st.just(b"250-x\r\n250-8BITMIME\r\n250 SMTPUTF8\r\n"),
        ),
        b"HELO": replies(250),
        b"MAIL": replies(250),
        b"RCPT": replies(250),
        b"DATA": replies(354),
        b".": replies(250),
        b"RSET": replies(250),
    }
)


def test_an_upstream_is_understood_alike_however_its_replies_are_cut(tmp_path, register_url):
    with Apart() as apart:
        parrot = Parrot()
        apart.run(parrot.start())
        house = House(tmp_path, register_url, [parrot])

        async def start():
            await house.__aenter__()
            await house.allow("reader@example.com", "reader2@example.com")

        async def hear(script, step):
            await parrot.learn(script, step)
            heard = await exchange(
                house.port,
                [
                    b"EHLO tool.example\r\nMAIL FROM:<u@lamisnet.fi>\r\n"
                    b"RCPT TO:<reader@example.com>\r\nRCPT TO:<reader2@example.com>\r\nDATA\r\n",
                    MAILING + b".\r\nQUIT\r\n",
                ],
            )
            # The EHLO's answer tells what was learned of the upstream before.
            return [_ID.sub(b"ID", line) for line in heard if line[:4] != b"250-"], parrot.kept

        @EXAMPLES
        @given(SCRIPTS, st.integers(2, 30))
        def check(script, step):
            with structlog.testing.capture_logs() as logged:
                whole, kept = apart.run(hear(script, 1 << 20))
                single = apart.run(hear(script, 1))
                pieces = apart.run(hear(script, step))
            assert single == (whole, kept)
            assert pieces == (whole, kept)
            is_decent(whole, logged)
            if any(line.startswith(b"250 2.0.0 Ok ID: ") for line in whole):
                assert kept
                assert script[b"."][:1] == b"2"

        apart.run(start())
        try:
            check()
        finally:
            apart.run(parrot.stop())
            apart.run(house.__aexit__())
