import asyncio
import gc

import pytest

from gateway.failure import UpstreamUnavailable
from gateway.upstream import ConnectionFailed, HandOverFailed, Pool, Stage, Transaction
from gateway.wire.command import MailCommand, RcptCommand
from gateway.wire.path import PathError, RcptArguments
from tests.peers.scripted import EXTENSIONS, ScriptedUpstream
from tests.peers.scripted import Stage as At

MAIL = MailCommand(b"<sender@example.test>")
A, B, C = (RcptCommand(b"<%b@example.test>" % name) for name in (b"a", b"b", b"c"))
BODY = b"Subject: x\r\n\r\nhello\r\n"
PLAIN = [extension for extension in EXTENSIONS if extension != "PIPELINING"]


async def chunks(*parts):
    for part in parts:
        yield part


async def begin(pool, *, transaction=None, recipients=(A,), mail=MAIL, data=False):
    if transaction is None:
        transaction = Transaction(pool, await pool.lease(2))
    return transaction, await transaction.begin(mail, recipients, data=data)


async def send(pool, body=BODY, **how):
    transaction, replies = await begin(pool, **how)
    try:
        return replies, await transaction.data(chunks(body))
    finally:
        transaction.release()


def codes(replies):
    return [reply.code for reply in replies]


@pytest.fixture(params=[EXTENSIONS, PLAIN], ids=["pipelining", "one-at-a-time"])
async def upstream(request):
    async with ScriptedUpstream(extensions=request.param) as upstream:
        yield upstream


@pytest.fixture
async def pipelining():
    async with ScriptedUpstream() as upstream:
        yield upstream


@pytest.fixture
async def pool(request):
    name = "pipelining" if "pipelining" in request.fixturenames else "upstream"
    pool = Pool(request.getfixturevalue(name).target(), "gateway.test")
    yield pool
    stats = pool.stats
    await pool.aclose(grace=1)
    assert (stats.leased, stats.waiting) == (0, 0), "a lease was never given back"


async def test_a_message_arrives_byte_for_byte(upstream, pool):
    body = b"Subject: x\r\n\r\n..dot\r\n..\r\nend \xff\r\n"
    for _ in range(3):
        assert (await send(pool, body, recipients=[A, B]))[1].code == 250
    assert len(upstream.messages) == 3
    for message in upstream.messages:
        assert message.wire == body
        assert message.sender == "sender@example.test"
        assert message.recipients == ["a@example.test", "b@example.test"]
    assert upstream.connections == 1
    assert b"RSET" not in upstream.commands


async def test_an_empty_body_and_one_in_small_pieces(upstream, pool):
    await send(pool, b"")
    transaction, _ = await begin(pool)
    pieces = [bytes([byte]) for byte in BODY]
    assert (await transaction.data(chunks(b"", *pieces, b""))).code == 250
    transaction.release()
    assert [message.wire for message in upstream.messages] == [b"", BODY]


async def test_the_envelope_is_one_write_where_the_upstream_pipelines(upstream, pool):
    await send(pool, recipients=[A, B, C])
    reads = upstream.dialogues[0].reads
    burst = (
        b"MAIL FROM:<sender@example.test>\r\nRCPT TO:<a@example.test>\r\n"
        b"RCPT TO:<b@example.test>\r\nRCPT TO:<c@example.test>\r\n"
    )
    assert (burst in reads) == ("PIPELINING" in upstream.extensions)


async def test_each_recipient_has_its_own_reply(upstream, pool):
    upstream.refuse_rcpt("b@", "550 5.1.1 No such user")
    upstream.refuse_rcpt("c@", "450 4.2.0 Greylisted")
    replies, final = await send(pool, recipients=[B, A, C])
    assert [reply.text for reply in replies] == [
        "5.1.1 No such user",
        "2.1.5 Ok",
        "4.2.0 Greylisted",
    ]
    assert final.code == 250
    assert upstream.messages[0].recipients == ["a@example.test"]


async def test_a_refused_mail_is_every_recipients_reply(upstream, pool):
    upstream.refuse_mail("sender@", "550 5.7.1 Not you")
    transaction, replies = await begin(pool, recipients=[A, B])
    assert [reply.text for reply in replies] == ["5.7.1 Not you"] * 2
    assert transaction.mail_reply.code == 550
    assert codes(await transaction.add([C])) == [550]
    assert (await transaction.data(chunks(BODY))).code == 550
    transaction.release()
    upstream.forget_script()
    assert (await send(pool))[1].code == 250
    assert upstream.connections == 1


async def test_recipients_can_be_added(upstream, pool):
    upstream.refuse_rcpt("b@")
    transaction, first = await begin(pool)
    assert codes(first) == [250]
    assert codes(await transaction.add([B, C])) == [550, 250]
    assert (await transaction.data(chunks(BODY))).code == 250
    transaction.release()
    assert upstream.messages[0].recipients == ["a@example.test", "c@example.test"]


async def test_hanging_up_on_an_added_recipient_is_a_failure(upstream, pool):
    upstream.on(At.RCPT, match="b@", close=True)
    transaction, _ = await begin(pool)
    with pytest.raises(ConnectionFailed):
        await transaction.add([B, C])
    assert pool.stats.open == 0


async def test_a_restart_forgets_the_first_envelope(upstream, pool):
    transaction, _ = await begin(pool, recipients=[A, B])
    assert codes(await transaction.restart(MAIL, [C])) == [250]
    assert (await transaction.data(chunks(BODY))).code == 250
    transaction.release()
    assert [message.recipients for message in upstream.messages] == [["c@example.test"]]
    assert upstream.connections == 1
    assert upstream.commands.count(b"RSET") == 1


async def test_what_was_left_open_is_reset_with_the_next_use(upstream, pool):
    transaction, _ = await begin(pool)
    transaction.release()
    assert b"RSET" not in upstream.commands
    await send(pool, recipients=[B])
    assert [message.recipients for message in upstream.messages] == [["b@example.test"]]
    assert upstream.connections == 1
    if "PIPELINING" in upstream.extensions:
        assert any(read.startswith(b"RSET\r\nMAIL ") for read in upstream.dialogues[0].reads)


@pytest.mark.parametrize("code", [250, 451, 554])
async def test_the_final_reply_is_the_upstreams_own(upstream, pool, code):
    upstream.on(At.END, reply=f"{code} whatever", times=1)
    _, final = await send(pool)
    assert (final.code, final.text) == (code, "whatever")
    assert (await send(pool))[1].code == 250
    assert upstream.connections == 1


@pytest.mark.parametrize("code", [451, 554])
async def test_a_refused_data_is_the_answer_and_the_connection_lives(upstream, pool, code):
    upstream.on(At.DATA, reply=f"{code} no", times=1)
    asked = []

    async def source():
        asked.append(1)
        yield BODY

    transaction, _ = await begin(pool)
    assert (await transaction.data(source())).code == code
    transaction.release()
    assert not asked
    assert (await send(pool))[1].code == 250
    assert upstream.connections == 1


async def test_a_354_although_every_recipient_failed_gets_a_lone_dot(upstream, pool):
    upstream.refuse_rcpt("@example.test")
    upstream.on(At.DATA, reply="354 Go on all the same")
    for burst in (False, True):
        transaction, replies = await begin(pool, recipients=[A, B], data=burst)
        assert codes(replies) == [550, 550]
        final = await transaction.data(chunks(BODY))
        assert final.permanent
        transaction.release()
    upstream.forget_script()
    assert (await send(pool))[1].code == 250
    assert upstream.connections == 1
    assert [message.wire for message in upstream.messages if message.recipients] == [BODY]
    assert all(message.wire == b"" for message in upstream.messages if not message.recipients)


async def test_data_can_travel_with_the_envelope(upstream, pool):
    for _ in range(2):
        transaction, replies = await begin(pool, recipients=[A, B], data=True)
        assert codes(replies) == [250, 250]
        assert (await transaction.data(chunks(BODY))).code == 250
        transaction.release()
    assert [message.wire for message in upstream.messages] == [BODY, BODY]
    reads = upstream.dialogues[0].reads
    if "PIPELINING" in upstream.extensions:
        assert sum(b"MAIL" in read and read.endswith(b"DATA\r\n") for read in reads) == 2


async def test_data_with_the_envelope_and_a_refused_mail(pipelining, pool):
    pipelining.refuse_mail("sender@")
    transaction, replies = await begin(pool, data=True)
    assert codes(replies) == [550]
    assert (await transaction.data(chunks(BODY))).code == 550
    transaction.release()
    pipelining.forget_script()
    assert (await send(pool))[1].code == 250
    assert pipelining.connections == 1


async def test_after_the_go_ahead_a_release_or_restart_never_sends_an_empty_message(upstream, pool):
    transaction, _ = await begin(pool, data=True)
    transaction.release()
    transaction, _ = await begin(pool, data=True)
    assert codes(await transaction.restart(MAIL, [B])) == [250]
    assert (await transaction.data(chunks(BODY))).code == 250
    transaction.release()
    assert [message.recipients for message in upstream.messages] == [["b@example.test"]]
    assert not upstream.refused_messages


# -- a connection from the pool that has gone stale ---------------------------------


@pytest.mark.parametrize(
    "stale",
    [
        {"stage": At.MAIL, "reply": "421 4.3.2 Session too long", "close": True},
        {"stage": At.MAIL, "close": True},
        {"stage": At.MAIL, "reset": True},
        {"stage": At.MAIL, "reply": "503 5.5.1 Out of step"},
        {"stage": At.RCPT, "close": True},
        {"stage": At.RCPT, "reply": "421 4.3.2 Session too long", "close": True},
    ],
    ids=["421", "eof", "rst", "503", "eof-at-rcpt", "421-at-rcpt"],
)
async def test_a_used_connection_that_fails_is_replaced_unseen(upstream, pool, stale):
    await send(pool)
    upstream.on(**stale, connection=1)
    replies, final = await send(pool, recipients=[A, B])
    assert codes(replies) == [250, 250]
    assert final.code == 250
    assert upstream.connections == 2
    assert len(upstream.messages) == 2
    assert pool.stats.open == 1


@pytest.mark.parametrize(
    "how", [{"reply": "503 5.5.1 What RSET?"}, {"reply": "421 4.3.2 Bye"}, {"close": True}]
)
async def test_a_connection_that_refuses_rset_is_replaced_unseen(upstream, pool, how):
    transaction, _ = await begin(pool)
    transaction.release()
    upstream.on(At.RSET, connection=1, **how)
    assert (await send(pool))[1].code == 250
    assert upstream.connections == 2


async def test_it_is_replaced_once_only(upstream, pool):
    await send(pool)
    upstream.on(At.MAIL, close=True)
    with pytest.raises(ConnectionFailed):
        await begin(pool)
    assert upstream.connections == 2
    assert pool.stats.open == 0


async def test_a_fresh_connection_is_not_replaced(upstream, pool):
    upstream.on(At.MAIL, reply="421 4.3.2 Bye", close=True)
    transaction, replies = await begin(pool, recipients=[A, B])
    assert codes(replies) == [421, 421]
    assert transaction.closing
    assert (await transaction.data(chunks(BODY))).code == 421
    transaction.release()
    assert upstream.connections == 1
    assert pool.stats.open == 0


async def test_a_421_among_the_recipients_is_the_reply_of_all(upstream, pool):
    upstream.on(At.RCPT, match="b@", reply="421 4.3.2 Bye", close=True)
    transaction, replies = await begin(pool, recipients=[A, B, C])
    assert codes(replies) == [421, 421, 421]
    transaction.release()


async def test_a_421_for_an_added_recipient_ends_the_transaction_before_the_body(upstream, pool):
    upstream.on(At.RCPT, match="b@", reply="421 4.3.2 Bye", close=True)
    transaction, replies = await begin(pool)
    assert codes(replies) == [250]
    assert codes(await transaction.add([B, C])) == [421, 421]
    with pytest.raises(HandOverFailed) as failed:
        await transaction.data(chunks(BODY))
    assert failed.value.stage is Stage.BEFORE_BODY


async def test_an_idle_connection_that_says_421_or_closes_is_not_used_again(upstream, pool):
    for unasked in (
        lambda: upstream.say("421 4.4.2 Idle too long"),
        lambda: upstream.say("421 4.4.2 Idle too long", close=True),
        upstream.hang_up,
        lambda: upstream.say("nonsense"),
        lambda: upstream.say("250 2.0.0 Ok of nothing"),
    ):
        before = upstream.connections
        await send(pool)
        assert pool.stats.idle == 1
        await unasked()
        async with asyncio.timeout(30):
            while pool.stats.open:
                await asyncio.sleep(0.005)
        assert (await send(pool))[1].code == 250
        assert upstream.connections == before + 2
        await upstream.hang_up()
        async with asyncio.timeout(30):
            while pool.stats.open:
                await asyncio.sleep(0.005)


# -- how a hand-over fails ------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"close": True},
        {"reset": True},
        {"silent": True},
        {"reply": b"garbage\r\n"},
        {"reply": "250 not yet"},
    ],
    ids=["eof", "rst", "silence", "garbage", "250"],
)
@pytest.mark.parametrize(("at", "stage"), [(At.DATA, Stage.BEFORE_BODY), (At.END, Stage.AFTER_END)])
async def test_the_stage_tells_what_is_known(at, stage, how):
    async with ScriptedUpstream() as upstream:
        # Only what falls silent here is waited for in vain.
        bounds = {"data": 2, "final": 2} | {"data" if at is At.DATA else "final": 0.2}
        timeouts = type(upstream.target().timeouts)(connect=2, greeting=2, command=2, **bounds)
        pool = Pool(upstream.target(timeouts=timeouts), "gateway.test")
        upstream.on(at, **how)
        transaction, _ = await begin(pool)
        if at is At.END and how.get("reply") == "250 not yet":
            assert (await transaction.data(chunks(BODY))).code == 250
            transaction.release()
        else:
            with pytest.raises(HandOverFailed) as failed:
                await transaction.data(chunks(BODY))
            assert failed.value.stage is stage
            assert isinstance(failed.value, UpstreamUnavailable)
            assert failed.value.temporary
            assert pool.stats.open == 0
        await pool.aclose()


async def test_hanging_up_in_the_body_is_before_the_end(upstream, pool):
    upstream.on(At.BODY, after=1000, close=True)

    async def source():
        for _ in range(200):
            yield b"x" * 998 + b"\r\n"
            await asyncio.sleep(0.002)

    transaction, _ = await begin(pool)
    with pytest.raises(HandOverFailed) as failed:
        await transaction.data(source())
    assert failed.value.stage is Stage.BEFORE_END
    await upstream.until(lambda: upstream.open == 0)
    assert upstream.messages == []
    assert upstream.dialogues[0].partial_body


@pytest.mark.parametrize("code", [421, 452, 552])
async def test_a_refusal_in_the_middle_of_the_body_is_a_reply(upstream, pool, code):
    upstream.on(At.BODY, after=1000, reply=f"{code} enough", close=code == 421, times=1)

    async def source():
        for _ in range(200):
            yield b"x" * 998 + b"\r\n"
            await asyncio.sleep(0.002)

    transaction, _ = await begin(pool)
    assert (await transaction.data(source())).code == code
    transaction.release()
    await upstream.until(lambda: upstream.open == 0)
    assert upstream.messages == []
    assert (await send(pool))[1].code == 250


async def test_an_upstream_that_stops_reading_does_not_fill_our_memory(pipelining):
    gate = asyncio.Event()
    pipelining.on(At.BODY, gate=gate)
    timeouts = type(pipelining.target().timeouts)(command=2, data=0.3)
    pool = Pool(pipelining.target(timeouts=timeouts), "gateway.test")
    taken = 0

    async def source():
        nonlocal taken
        while True:
            taken += 65536
            yield b"x" * 65534 + b"\r\n"

    transaction, _ = await begin(pool)
    with pytest.raises(HandOverFailed) as failed:
        await transaction.data(source())
    assert failed.value.stage is Stage.BEFORE_END
    assert taken < 32 * 1024 * 1024
    gate.set()
    await pool.aclose()


async def test_a_large_body_goes_through_with_flow_control(upstream, pool):
    piece = b"x" * 998 + b"\r\n"
    _, final = await send(pool, piece * 8000)
    assert final.code == 250
    assert upstream.messages[0].wire == piece * 8000


async def test_a_body_that_does_not_end_in_crlf_is_never_completed(upstream, pool):
    for body in (b"hello", b"hello\n", b"hello\r"):
        transaction, _ = await begin(pool)
        with pytest.raises(HandOverFailed) as failed:
            await transaction.data(chunks(body))
        assert failed.value.stage is Stage.BEFORE_END
    await upstream.until(lambda: upstream.open == 0)
    assert upstream.messages == []


async def test_a_source_that_fails_leaves_nothing_upstream(upstream, pool):
    async def source():
        yield BODY
        raise KeyError("the client has gone")

    transaction, _ = await begin(pool)
    with pytest.raises(KeyError):
        await transaction.data(source())
    transaction.release()
    await upstream.until(lambda: upstream.open == 0)
    assert upstream.messages == []
    assert pool.stats.open == 0
    assert (await send(pool))[1].code == 250


async def test_abort_leaves_nothing_upstream(upstream, pool):
    transaction, _ = await begin(pool)
    transaction.abort()
    transaction.abort()
    transaction.release()
    await upstream.until(lambda: upstream.open == 0)
    assert upstream.messages == []
    with pytest.raises(RuntimeError):
        await transaction.begin(MAIL, [A])


async def test_a_second_body_is_refused(upstream, pool):
    transaction, _ = await begin(pool)
    assert (await transaction.data(chunks(BODY))).code == 250
    with pytest.raises(RuntimeError):
        await transaction.data(chunks(BODY))
    with pytest.raises(RuntimeError):
        await transaction.add([B])
    transaction.release()


# -- silence, garbage, slowness ---------------------------------------------------


@pytest.mark.parametrize("at", [At.CONNECT, At.EHLO, At.MAIL, At.RCPT])
async def test_silence_ends_in_time(at):
    async with ScriptedUpstream() as upstream:
        timeouts = type(upstream.target().timeouts)(connect=1, greeting=0.15, command=0.15)
        pool = Pool(upstream.target(timeouts=timeouts), "gateway.test")
        upstream.on(at, silent=True)
        async with asyncio.timeout(30):
            with pytest.raises(ConnectionFailed) as failed:
                await begin(pool)
        assert failed.value.silent
        assert pool.stats.open == 0
        await pool.aclose()


@pytest.mark.parametrize("at", [At.CONNECT, At.EHLO, At.MAIL, At.RCPT])
async def test_garbage_is_a_failure_and_never_an_answer(pipelining, pool, at):
    pipelining.on(at, reply=b"\x16\x03\x01 garbage\r\n250 ok\r\n")
    with pytest.raises(UpstreamUnavailable):
        await begin(pool)
    assert pool.stats.open == 0


async def test_a_3xx_to_the_envelope_is_a_failure(upstream, pool):
    upstream.on(At.RCPT, reply="354 Go ahead?")
    with pytest.raises(ConnectionFailed):
        await begin(pool)


async def test_each_reply_of_a_burst_has_its_own_time(pipelining):
    pipelining.on(At.RCPT, delay=0.2, reply="250 2.1.5 Ok")
    timeouts = type(pipelining.target().timeouts)(command=0.4)
    pool = Pool(pipelining.target(timeouts=timeouts), "gateway.test")
    transaction, replies = await begin(pool, recipients=[A, B, C])
    assert codes(replies) == [250, 250, 250]
    transaction.abort()
    await pool.aclose()


# -- extensions ------------------------------------------------------------------


async def test_parameters_are_handed_on(upstream, pool):
    mail = MailCommand(b"<>", {"SIZE": "100", "BODY": "8BITMIME", "RET": "HDRS", "ENVID": "x+2By"})
    rcpt = RcptCommand(b"<a@b>", {"NOTIFY": "NEVER", "ORCPT": "rfc822;a@b"})
    await send(pool, mail=mail, recipients=[rcpt])
    assert upstream.messages[0].mail_line == (
        b"MAIL FROM:<> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x+2By"
    )
    assert upstream.messages[0].rcpt_lines == [b"RCPT TO:<a@b> NOTIFY=NEVER ORCPT=rfc822;a@b"]


async def test_an_extension_that_is_lacking_is_refused_for_now_and_never_sent():
    async with ScriptedUpstream(extensions=["PIPELINING"]) as upstream:
        pool = Pool(upstream.target(), "gateway.test")
        for params in ({"SMTPUTF8": None}, {"BODY": "8BITMIME"}, {"RET": "FULL"}):
            transaction, replies = await begin(pool, mail=MailCommand(b"<>", params))
            assert codes(replies) == [451]
            assert transaction.unsupported
            transaction.release()
        dsn = RcptCommand(b"<dsn@b>", {"NOTIFY": "NEVER"})
        replies, final = await send(pool, recipients=[A, dsn, B])
        assert codes(replies) == [250, 451, 250]
        assert final.code == 250
        assert upstream.messages[0].recipients == ["a@example.test", "b@example.test"]
        assert not any(b"dsn@" in command for command in upstream.commands)
        await send(pool, mail=MailCommand(b"<>", {"SIZE": "5"}))
        assert upstream.messages[1].mail_line == b"MAIL FROM:<>"
        await pool.aclose()


# -- cancellation ------------------------------------------------------------------


@pytest.mark.parametrize(
    "at", [At.CONNECT, At.EHLO, At.MAIL, At.RCPT, At.RSET, At.DATA, At.BODY, At.END]
)
async def test_a_cancelled_transaction_leaves_a_healthy_pool(upstream, at):
    pool = Pool(upstream.target(max_connections=1), "gateway.test")
    if at is At.RSET:
        transaction, _ = await begin(pool)
        transaction.release()
    reached = asyncio.Event()
    held = upstream.on(at, gate=asyncio.Event(), silent=True)

    async def source():
        for _ in range(100_000):
            yield b"x" * 998 + b"\r\n" if at is At.BODY else BODY
            if at is not At.BODY:
                return

    async def attempt():
        reached.set()
        transaction, _ = await begin(pool)
        try:
            await transaction.data(source())
        finally:
            transaction.release()

    task = asyncio.create_task(attempt())
    await reached.wait()
    async with asyncio.timeout(30):
        while not held.played:
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (pool.stats.open, pool.stats.leased) == (0, 0)
    held.gate.set()
    upstream.forget_script()
    before = len(upstream.messages)
    assert (await send(pool))[1].code == 250
    assert len(upstream.messages) == before + 1
    assert before == 0
    await pool.aclose()


async def test_cancelled_at_any_step_it_never_wedges_the_pool(upstream):
    """However many steps it ran before, a cancelled transaction frees its place."""
    pool = Pool(upstream.target(max_connections=1), "gateway.test")
    for steps in range(60):
        task = asyncio.create_task(send(pool, recipients=[A, B]))
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert pool.stats.leased == 0
    assert (await send(pool))[1].code == 250
    await pool.aclose()


# -- DATA ahead of time --------------------------------------------------------------


async def call(pool, **how):
    transaction, replies = await begin(pool, **how)
    transaction.call_for_data()
    return transaction, replies


async def hand_over(transaction, body=BODY, *, at_once=False):
    async def whole():
        return body

    return await (transaction.data_at_once(whole) if at_once else transaction.data(chunks(body)))


async def heard(upstream, count=1):
    """DATA has reached the upstream so many times, before anybody waits for its answer."""
    async with asyncio.timeout(30):
        while upstream.commands.count(b"DATA") < count:
            await asyncio.sleep(0.002)


@pytest.fixture
async def hurried(upstream):
    """A pool that waits for the answer to DATA for a moment only."""
    timeouts = type(upstream.target().timeouts)(command=2, data=0.3, final=2)
    pool = Pool(upstream.target(timeouts=timeouts), "gateway.test")
    yield pool
    stats = pool.stats
    await pool.aclose(grace=1)
    assert (stats.leased, stats.waiting) == (0, 0), "a lease was never given back"


@pytest.fixture
async def complaints():
    """What the loop has to say about futures that nobody has looked at."""
    heard = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(context))
    yield heard
    gc.collect()
    assert heard == []


@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize("late", [False, True], ids=["354-under-way", "354-is-here"])
async def test_data_ahead_of_time_is_said_at_once_and_once(upstream, pool, at_once, late):
    for count in (1, 2):
        transaction, _ = await call(pool, recipients=[A, B])
        await heard(upstream, count)
        if late:
            await asyncio.sleep(0.02)
        transaction.call_for_data()
        assert (await hand_over(transaction, at_once=at_once)).code == 250
        transaction.release()
    assert [message.wire for message in upstream.messages] == [BODY, BODY]
    assert upstream.commands.count(b"DATA") == 2
    assert upstream.connections == 1
    assert b"RSET" not in upstream.commands


@pytest.mark.parametrize("code", [421, 451, 554])
async def test_a_refusal_of_data_ahead_of_time_is_the_answer(upstream, pool, code):
    upstream.on(At.DATA, reply=f"{code} no", close=code == 421, times=1)
    asked = []

    async def source():
        asked.append(1)
        yield BODY

    transaction, _ = await call(pool)
    await heard(upstream)
    assert (await transaction.data(source())).code == code
    transaction.call_for_data()
    assert (await transaction.data(source())).code == code
    transaction.release()
    assert not asked
    assert (await send(pool))[1].code == 250
    assert upstream.connections == (2 if code == 421 else 1)


@pytest.mark.parametrize(
    "how",
    [
        {"close": True},
        {"reset": True},
        {"silent": True},
        {"reply": b"garbage\r\n"},
        {"reply": "250 not yet"},
        {"reply": b"354 Go ahead\r\n421 4.4.2 Too slow\r\n", "close": True},
        {"reply": "354 Go ahead", "close": True},
    ],
    ids=["eof", "rst", "silence", "garbage", "250", "421-behind-354", "eof-behind-354"],
)
@pytest.mark.parametrize("wait", [0, 0.5], ids=["at-once", "later"])
@pytest.mark.parametrize("at_once", [False, True])
async def test_what_fails_after_data_ahead_of_time_is_before_the_body(
    upstream, hurried, complaints, how, wait, at_once
):
    upstream.on(At.DATA, **how)
    asked = []

    async def source():
        asked.append(1)
        yield BODY

    async def whole():
        asked.append(1)
        return BODY

    transaction, _ = await call(hurried)
    if "421" in str(how) or "354" in str(how):
        # Both are here before the body is asked for.
        await upstream.until(lambda: upstream.open == 0)
        wait = wait or 0.05
    await asyncio.sleep(wait)
    with pytest.raises(HandOverFailed) as failed:
        await (transaction.data_at_once(whole) if at_once else transaction.data(source()))
    assert failed.value.stage is Stage.BEFORE_BODY
    assert not asked
    assert hurried.stats.open == 0
    upstream.forget_script()
    assert (await send(hurried))[1].code == 250
    assert len(upstream.messages) == 1


@pytest.mark.parametrize("how", [{}, {"silent": True}, {"close": True}, {"reply": "451 4.3.0 No"}])
@pytest.mark.parametrize("wait", [0, 0.05])
@pytest.mark.parametrize("end", ["release", "abort"])
async def test_the_end_after_data_ahead_of_time_cuts_the_connection(
    upstream, pool, complaints, how, wait, end
):
    upstream.on(At.DATA, **how) if how else None
    transaction, _ = await call(pool)
    await asyncio.sleep(wait)
    getattr(transaction, end)()
    assert pool.stats.open == 0
    await upstream.until(lambda: upstream.open == 0)
    assert upstream.messages == upstream.refused_messages == []
    upstream.forget_script()
    assert (await send(pool, recipients=[B]))[1].code == 250
    assert [message.recipients for message in upstream.messages] == [["b@example.test"]]


@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize("how", [{}, {"silent": True}, {"close": True}])
async def test_a_restart_after_data_ahead_of_time_takes_a_new_connection(
    upstream, pool, complaints, how, again
):
    upstream.on(At.DATA, connection=1, **how) if how else None
    transaction, _ = await call(pool, recipients=[A, B])
    await heard(upstream)
    assert codes(await transaction.restart(MAIL, [C])) == [250]
    if again:
        transaction.call_for_data()
    assert (await hand_over(transaction)).code == 250
    transaction.release()
    assert upstream.connections == 2
    assert [message.recipients for message in upstream.messages] == [["c@example.test"]]
    assert upstream.refused_messages == []


async def test_data_is_not_called_for_where_nobody_was_accepted(upstream, pool):
    upstream.refuse_rcpt("@example.test")
    transaction, _ = await call(pool, recipients=[A, B])
    assert (await hand_over(transaction)).permanent
    transaction.release()
    upstream.forget_script()
    upstream.refuse_mail("sender@")
    transaction, _ = await call(pool)
    assert (await hand_over(transaction)).code == 550
    transaction.release()
    upstream.forget_script()
    assert (await send(pool))[1].code == 250
    assert upstream.connections == 1
    assert upstream.commands.count(b"DATA") == 2


async def test_data_ahead_of_time_with_the_envelope_is_said_once(upstream, pool):
    transaction, _ = await call(pool, data=True)
    assert (await hand_over(transaction)).code == 250
    with pytest.raises(RuntimeError):
        transaction.call_for_data()
    transaction.release()
    with pytest.raises(RuntimeError):
        transaction.call_for_data()
    assert upstream.commands.count(b"DATA") == 1


async def test_after_data_ahead_of_time_no_recipient_can_be_added(upstream, pool):
    transaction, _ = await call(pool)
    with pytest.raises(RuntimeError):
        await transaction.add([B])
    assert (await hand_over(transaction)).code == 250
    transaction.release()
    assert [message.recipients for message in upstream.messages] == [["a@example.test"]]


async def test_data_ahead_of_time_on_a_connection_that_is_gone(upstream, pool, complaints):
    transaction, _ = await begin(pool)
    await upstream.hang_up()
    await upstream.until(lambda: upstream.open == 0)
    await asyncio.sleep(0.02)
    transaction.call_for_data()
    with pytest.raises(HandOverFailed) as failed:
        await hand_over(transaction)
    assert failed.value.stage is Stage.BEFORE_BODY
    assert pool.stats.open == 0


async def test_cancelled_at_any_step_data_ahead_of_time_never_wedges_the_pool(upstream, complaints):
    pool = Pool(upstream.target(max_connections=1), "gateway.test")

    async def attempt():
        transaction, _ = await call(pool)
        try:
            for _ in range(5):
                await asyncio.sleep(0)
            await hand_over(transaction, at_once=True)
        finally:
            transaction.release()

    for steps in range(60):
        task = asyncio.create_task(attempt())
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert pool.stats.leased == 0
    assert (await send(pool))[1].code == 250
    assert all(message.wire == BODY for message in upstream.messages)
    await pool.aclose()


async def test_a_3xx_to_an_added_recipient_cuts_the_connection(upstream, pool):
    """What comes next could be taken for a body: it is never given back to the pool."""
    upstream.on(At.RCPT, match="b@", reply="354 Go ahead?")
    transaction, _ = await begin(pool)
    with pytest.raises(ConnectionFailed):
        await transaction.add([B])
    transaction.release()
    assert pool.stats.open == 0


async def test_a_path_that_was_never_read_cannot_begin_a_second_command(upstream, pool):
    """Whoever built it: what would be two commands is not sent."""
    forged = RcptCommand.of(RcptArguments("a@b", b"<a@b>\r\nRCPT TO:<spy@example.test>"))
    transaction = Transaction(pool, await pool.lease(1))
    with pytest.raises(PathError):
        await transaction.begin(MAIL, [A, forged])
    for more in ([forged], [B, forged]):
        transaction, _ = await begin(pool)
        with pytest.raises(PathError):
            await transaction.add(more)
    assert not any(b"spy" in command for command in upstream.commands)


async def test_a_burst_answered_in_pieces_is_read_as_one(pipelining, pool):
    """Replies that come one by one, cut anywhere, and with a refusal among them."""
    pieces = (b"250 2.1", b".5 Ok\r\n550-5.1.1 No\r\n55", b"0 5.1.1 such\r\n250 2.1.5 Ok\r\n")
    for match, piece in zip((r"<a@", r"<b@", r"<c@"), pieces, strict=True):
        pipelining.on(At.RCPT, match=match, reply=piece, delay=0.02)
    transaction, replies = await begin(pool, recipients=[A, B, C])
    assert codes(replies) == [250, 550, 250]
    assert replies[1].lines == (b"5.1.1 No", b"5.1.1 such")
    transaction.abort()


async def test_a_second_message_of_one_transaction_is_judged_by_its_own_end(upstream, pool):
    """Whether a body ends in CRLF is not told by what an earlier one left behind."""
    transaction, _ = await begin(pool)
    piece = b"x" * 70_000
    assert (await transaction.data(chunks(piece, b"\r\n"))).code == 250
    await transaction.begin(MAIL, [A])
    assert (await hand_over(transaction, b"", at_once=True)).code == 250
    transaction.release()
    assert [message.wire for message in upstream.messages] == [piece + b"\r\n", b""]


async def test_a_positive_reply_to_data_is_no_go_ahead_whoever_was_set_aside():
    """A recipient that was not asked about does not make up for an answer that is none."""
    async with ScriptedUpstream(extensions=["PIPELINING"]) as upstream:
        pool = Pool(upstream.target(), "gateway.test")
        upstream.on(At.DATA, reply="250 not yet")
        dsn = RcptCommand(b"<dsn@b>", {"NOTIFY": "NEVER"})
        with pytest.raises(ConnectionFailed):
            await begin(pool, recipients=[A, dsn], data=True)
        assert pool.stats.open == 0
        await pool.aclose()
