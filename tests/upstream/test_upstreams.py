import asyncio

import pytest

from gateway.failure import InputError, Overloaded, UpstreamUnavailable
from gateway.upstream import Target, Upstreams
from gateway.wire.command import MailCommand, RcptCommand
from tests.peers.scripted import EXTENSIONS, ScriptedUpstream
from tests.peers.scripted import Stage as At

MAIL = MailCommand(b"<sender@example.test>")
RCPT = RcptCommand(b"<a@example.test>")
BOTH = ["one", "two"]


@pytest.fixture
async def one():
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def two():
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def upstreams(one, two):
    upstreams = Upstreams([one.target("one"), two.target("two")], hostname="gateway.test")
    yield upstreams
    await upstreams.aclose(1)


async def body():
    yield b"Subject: x\r\n\r\nhello\r\n"


async def deliver(upstreams, names=BOTH, **how):
    transaction, _ = await upstreams.open_transaction(names, MAIL, [RCPT], **how)
    try:
        assert (await transaction.data(body())).code == 250
    finally:
        transaction.release()
    return transaction.upstream


async def test_the_first_that_works_takes_it(upstreams, one, two):
    assert await deliver(upstreams) == "one"
    assert await deliver(upstreams, ["two", "one"]) == "two"
    assert await deliver(upstreams, data=True) == "one"
    assert (len(one.messages), len(two.messages)) == (2, 1)


@pytest.mark.parametrize(
    ("at", "how"),
    [
        (At.CONNECT, {"close": True}),
        (At.CONNECT, {"reply": "554 5.3.2 No"}),
        (At.EHLO, {"reply": "421 4.3.2 Busy"}),
        (At.EHLO, {"reply": "550 5.7.1 Who are you"}),
        (At.MAIL, {"reply": "421 4.3.2 Busy"}),
        (At.MAIL, {"close": True}),
        (At.RCPT, {"reply": "421 4.3.2 Busy", "close": True}),
    ],
)
async def test_the_next_takes_it_when_one_fails(upstreams, one, two, at, how):
    one.on(at, **how)
    assert await deliver(upstreams) == "two"
    tried = one.connections
    assert await deliver(upstreams) == "two"
    assert one.connections == tried  # passed over for a while
    assert upstreams.stats()["one"].leased == 0


async def test_a_refusal_is_an_answer_and_not_a_failure(upstreams, one, two):
    one.refuse_mail("sender@", "451 4.7.1 Not now")
    transaction, replies = await upstreams.open_transaction(BOTH, MAIL, [RCPT])
    assert (transaction.upstream, replies[0].code) == ("one", 451)
    transaction.release()
    assert two.connections == 0


async def test_the_only_one_is_tried_again_at_once(upstreams, one):
    one.on(At.CONNECT, close=True, times=1)
    with pytest.raises(UpstreamUnavailable):
        await deliver(upstreams, ["one"])
    assert await deliver(upstreams, ["one"]) == "one"


async def test_when_all_failed_all_are_tried(upstreams, one, two):
    for upstream in (one, two):
        upstream.on(At.CONNECT, close=True, times=1)
    with pytest.raises(UpstreamUnavailable):
        await deliver(upstreams)
    assert await deliver(upstreams) == "one"


async def test_an_upstream_that_comes_back_is_used_again(upstreams, one):
    await one.aclose()
    assert await deliver(upstreams) == "two"
    await one.start()
    assert await upstreams.probe(["one"]) == {"one": None}
    assert await deliver(upstreams) == "one"


async def test_unknown_names_are_unavailable(upstreams):
    with pytest.raises(UpstreamUnavailable):
        await deliver(upstreams, ["three"])
    assert isinstance((await upstreams.probe(["three"]))["three"], UpstreamUnavailable)
    assert upstreams.capabilities(["three"]) is None


async def test_the_busy_one_is_passed_over_and_all_busy_is_overload(one, two):
    targets = [peer.target(name, max_connections=1) for name, peer in (("one", one), ("two", two))]
    upstreams = Upstreams(targets, hostname="gateway.test", lease_timeout=0.05)
    held = [await upstreams.open_transaction(BOTH, MAIL, [RCPT]) for _ in range(2)]
    assert [transaction.upstream for transaction, _ in held] == BOTH
    with pytest.raises(Overloaded):
        await upstreams.open_transaction(BOTH, MAIL, [RCPT])
    for transaction, _ in held:
        transaction.release()
    assert await deliver(upstreams) == "one"
    await upstreams.aclose()


async def test_one_that_lacks_an_extension_is_passed_over(upstreams, one, two):
    one.extensions.remove("SMTPUTF8")
    mail = MailCommand("<ä@example.test>".encode(), {"SMTPUTF8": None})
    transaction, replies = await upstreams.open_transaction(BOTH, mail, [RCPT])
    assert (transaction.upstream, replies[0].code) == ("two", 250)
    transaction.release()
    transaction, replies = await upstreams.open_transaction(["one"], mail, [RCPT])
    assert replies[0].code == 451
    transaction.release()
    assert upstreams.stats()["one"].leased == 0


async def test_probe_and_what_all_can_do(upstreams, one, two):
    two.extensions[:] = [extension for extension in EXTENSIONS if extension != "DSN"]
    assert upstreams.capabilities(BOTH) is None
    assert await upstreams.probe() == {"one": None, "two": None}
    assert upstreams.capabilities(["one"]).dsn
    both = upstreams.capabilities(BOTH)
    assert both.pipelining and not both.dsn
    await two.aclose()
    found = await upstreams.probe()
    assert found["one"] is None
    assert isinstance(found["two"], UpstreamUnavailable)


async def test_a_reload_keeps_what_is_unchanged_and_ends_the_rest_gently(upstreams, one, two):
    transaction, _ = await upstreams.open_transaction(["two"], MAIL, [RCPT])
    await deliver(upstreams, ["one"])
    changed = two.target("two", max_connections=3)
    upstreams.reload([one.target("one"), changed])
    assert await deliver(upstreams, ["one"]) == "one"
    assert one.connections == 1
    assert await deliver(upstreams, ["two"]) == "two"
    assert two.connections == 2
    assert (await transaction.data(body())).code == 250
    transaction.release()
    await two.until(lambda: two.open == 1)
    upstreams.reload([changed])
    with pytest.raises(UpstreamUnavailable):
        await deliver(upstreams, ["one"])
    await one.until(lambda: one.open == 0)


async def test_a_reload_that_cannot_be_meant_changes_nothing(upstreams, one):
    with pytest.raises(InputError):
        upstreams.reload([one.target("one"), one.target("one")])
    assert await deliver(upstreams) == "one"


async def test_cancelled_at_any_step_no_lease_is_left(one):
    upstreams = Upstreams([one.target("one", max_connections=1)], hostname="gateway.test")
    for steps in range(0, 60, 3):
        task = asyncio.create_task(deliver(upstreams, ["one"]))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert upstreams.stats()["one"].leased == 0
    assert await deliver(upstreams, ["one"]) == "one"
    await upstreams.aclose()


async def test_nobody_listens_at_all(tmp_path):
    nowhere = Target("one", path=str(tmp_path / "x"))
    upstreams = Upstreams([nowhere], hostname="gateway.test")
    with pytest.raises(UpstreamUnavailable):
        await deliver(upstreams, ["one"])
    await upstreams.aclose()
