"""SIGTERM and SIGHUP while mail is under way."""

import asyncio
import random
import signal
from collections import Counter, defaultdict

import pytest

from tests.chaos.archive import read_rows
from tests.chaos.place import REJECTED

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

STRANGERS = [f"stranger{number}@example.net" for number in range(50)]
"""In no register: `opt-out` lets mail to them go, `finland` suppresses it."""


async def test_a_stop_under_load_loses_nothing(build):
    dice = random.Random(81)
    async with build(workers=2, seed=81) as place:

        async def stop():
            for _ in range(3):
                await asyncio.sleep(dice.uniform(0.4, 1.2))
                assert await place.gateway.stop() == 0
                assert place.gateway.said("drained")["finished"] is True
                await place.gateway.start()

        await place.send(400, stop(), over=5)
        # Not one result may be missing: a stop in order is no crash.
        await place.end()


async def test_a_reload_under_load_changes_the_rules_between_two_messages(build):
    """20 sessions, each message to 50 strangers: all of them get it, or none."""
    async with build(workers=2, seed=82, delay=0.005) as place:
        told = {}
        done = asyncio.Event()

        async def session(number):
            # Half of them are told of a suppression at RCPT, where the rules are used first.
            source = REJECTED if number % 4 > 1 else "127.0.0.1"
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", place.port, local_addr=(source, 0)
            )
            try:
                await reader.readline()
                writer.write(b"HELO tool.example\r\n")
                await reader.readline()
                for turn in range(10_000):
                    if done.is_set():
                        return
                    id_ = f"reload-{number}-{turn}"
                    told[id_] = await message(reader, writer, id_, number % 2)
                    usual = "rejected" if source == REJECTED else "suppressed"
                    assert told[id_] in ("forwarded", usual), told[id_]
            finally:
                writer.close()
                await writer.wait_closed()

        async def reload():
            for turn in range(1, 13):
                await asyncio.sleep(0.35)
                place.gateway.configure(rules={"set": "opt-out" if turn % 2 else "finland"})
                place.gateway.signal(signal.SIGHUP)
                await place.gateway.line("reloaded", count=2 * turn)
            done.set()

        async with asyncio.TaskGroup() as group:
            for number in range(20):
                group.create_task(session(number))
            group.create_task(reload())
        assert await place.gateway.stop() == 0

        arrived = {arrival.letter: arrival.recipients for arrival in place.sink.arrivals}
        for id_, outcome in told.items():
            wanted = tuple(STRANGERS) if outcome == "forwarded" else ()
            assert arrived.get(id_, ()) == wanted, id_
        rows = read_rows(place.gateway, [f"{id_}@lamisnet.fi" for id_ in told], STRANGERS)
        by_letter = defaultdict(list)
        for row in rows:
            by_letter[row.letter].append(row)
        assert set(by_letter) == set(told)
        seen = Counter()
        for id_, found in by_letter.items():
            assert sorted(row.address for row in found) == sorted(STRANGERS)
            # One rule set, one rule, one outcome, and the one that the client was told.
            [(rules, result)] = {(row.rules, row.result) for row in found}
            assert len({row.rule for row in found}) == 1
            assert result == told[id_], (id_, result, told[id_])
            seen[rules, result] += 1
        print(f"{len(told)} messages of 50; {dict(seen)}")
        assert len(seen) == 3
        assert len({rules for rules, _ in seen}) == 2


async def message(reader, writer, id_, pipelining):
    """One message to all strangers; what became of it, which is the same for all."""
    lines = [
        f"MAIL FROM:<{id_}@lamisnet.fi>\r\n".encode(),
        *(f"RCPT TO:<{one}>\r\n".encode() for one in STRANGERS),
        b"DATA\r\n",
    ]
    async with asyncio.timeout(20):
        if pipelining:
            writer.write(b"".join(lines))
            answers = [await reader.readline() for _ in lines]
        else:
            answers = []
            for line in lines:
                writer.write(line)
                answers.append(await reader.readline())
        assert answers[0].startswith(b"250"), answers[0]
        if all(b"550 5.7.1 Suppressed" in answer for answer in answers[1:-1]):
            assert answers[-1].startswith(b"554"), answers[-1]
            return "rejected"
        # Had the rules changed among the recipients, some would hear 250 and some 550.
        assert all(answer.startswith(b"250") for answer in answers[1:-1]), answers
        assert answers[-1].startswith(b"354"), answers[-1]
        writer.write(
            b"From: u@lamisnet.fi\r\nX-Campaign-Id: %b\r\n"
            b"List-Unsubscribe: <https://x.example>\r\n\r\nHei\r\n.\r\n" % id_.encode()
        )
        answer = await reader.readline()
    assert answer.startswith(b"250"), answer
    count, outcome = answer.decode().split(": ")[1].split()
    assert count == str(len(STRANGERS)), answer
    return outcome
