"""Requests that a tool repeats because it never heard the answer.

A tool that names its request (``Idempotency-Key`` and the like) may say it again, and
one that is impatient says it again while the first is still under way.  Whoever carries
it out has claimed it; the others wait for what comes of that, at whatever worker.

What was sent is never sent a second time in silence: said again, the request hears the
same answer.  Where a process was killed while the provider had it, the tool is told that
the message may have been sent, once, before the same request is handed over again.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
import structlog

from gateway.decision.facts import Outcome
from gateway.failure import GatewayError, RegisterUnavailable
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Decided, Fate
from gateway.records.lease import is_gone, process_name
from gateway.records.recorder import Exchange
from gateway.records.seal import Sealer
from gateway.register.reply import require_good
from gateway.sms.judged import Judged
from gateway.sms.route import Route

log = structlog.get_logger(__name__)

SECONDS = 86_400
"""How long a request is remembered: as long as providers do."""
_LARGEST = 64 * 1024
"""Octets of an answer that is kept; in the place of a larger one stands one of ours."""
_WITHIN = 1.0
_WAIT, _PAUSE, _LONGEST_PAUSE = 5.0, 0.02, 0.25
_DECIDING = 15_000
"""Milliseconds that a claim lasts until something may leave."""
_SPARE = 30_000
"""By how much it lasts longer than the longest wait for a provider."""

_BEGIN: Final = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('SET', KEYS[2], ARGV[3], 'EX', ARGV[4])
return 1
"""
_END: Final = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == 'forget' then
  redis.call('DEL', KEYS[2])
elseif ARGV[2] ~= '' then
  redis.call('SET', KEYS[2], ARGV[2], 'EX', ARGV[3])
end
return redis.call('DEL', KEYS[1])
"""
_TAKE_OVER: Final = b"""
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""


class Earlier(NamedTuple):
    """What was recorded of a request, and how far it came."""

    outcomes: list[list[str]]
    """Of each contact of each message."""
    messages: list[str]
    records: list[list[str]]
    held: Sequence[str] = ()
    """What was stored of it to wait."""
    begun: bool = False
    """Whether it is being handed over, or was when its process was killed."""
    sent: bool = False
    """Whether it was handed over, and answered well."""
    answer: str = ""
    """The tool's answer then, sealed, in base 64; "" where it was too large."""

    def fits(self, outcomes: Sequence[Sequence[str]]) -> bool:
        """Whether the same contacts are found in the request now."""
        return [*map(len, self.outcomes)] == [*map(len, outcomes)]

    def waiting(self) -> list[tuple[int, int]]:
        """Message and contact of those for whom it was stored to wait."""
        if not self.held:
            return []
        return [
            (number, place)
            for number, outcomes in enumerate(self.outcomes)
            for place, outcome in enumerate(outcomes)
            if outcome in (Outcome.HOLD, Outcome.DEFER)
        ]


class Repeats:
    """What is remembered of named requests, in the register's server for a day."""

    def __init__(self, wire: Exchange, seal: Sealer) -> None:
        self._wire = wire
        self._seal = seal
        self._process = ""
        """Of the process that claims; known once it does."""

    @staticmethod
    def key(route: Route, request: Request) -> bytes | None:
        """What the request is remembered by; None: it names itself not."""
        for name in route.adapter.idempotency:
            value = request.header(name)
            if value:
                said = b"\0".join(
                    (route.name.encode(), value.encode(), request.path.encode(), request.body)
                )
                digest = hashlib.blake2b(said, digest_size=20).hexdigest()
                # The braces keep both keys in one slot of a cluster.
                return f"gw:sms:repeat:{{{digest}}}".encode()
        return None

    @asynccontextmanager
    async def turn(self, key: bytes, longest: float) -> AsyncIterator[Turn]:
        """Carry out a named request alone; one that is under way elsewhere is waited for.

        ``longest``: the seconds that the provider may take.

        Raises:
            Refusal: the other takes too long; or it was killed while the provider had
                the message.
            RegisterUnavailable: nobody can say.

        """
        turn = await self._claim(key, longest)
        if turn.earlier is not None and turn.earlier.begun:
            turn.said = turn.earlier
            await self._end(turn)
            raise Refusal(
                Problem.UNANSWERED,
                "The same request was being sent when the gateway was interrupted; "
                "the message may have been sent",
            )
        try:
            yield turn
        except Exception:
            raise
        except BaseException:
            # Cut off: what has begun stays begun.
            turn.said = None
            raise
        finally:
            await self._end(turn)

    async def _claim(self, key: bytes, longest: float) -> Turn:
        self._process = self._process or process_name(os.getpid())
        token = f"{self._process} {secrets.token_hex(8)}".encode()
        claim, lasts = key + b":turn", b"%d" % _DECIDING
        deadline = asyncio.get_running_loop().time() + _WAIT
        pause = _PAUSE
        while True:
            won, holder, found = await self._exchange(
                (b"SET", claim, token, b"NX", b"PX", lasts), (b"GET", claim), (b"GET", key)
            )
            if not won and holder and is_gone(_octets(holder).decode(errors="replace")):
                command = (b"EVAL", _TAKE_OVER, b"1", claim, _octets(holder), token, lasts)
                won, found = await self._exchange(command, (b"GET", key))
            earlier = Earlier(*orjson.loads(found)) if found else None
            if won:
                return Turn(self, key, claim, token, earlier, round(longest * 1000) + _SPARE)
            if asyncio.get_running_loop().time() > deadline:
                raise Refusal(
                    Problem.BUSY, "The same request is being carried out; try again later"
                )
            await asyncio.sleep(pause)
            pause = min(_LONGEST_PAUSE, pause * 1.5)

    async def begin(self, turn: Turn, said: Earlier) -> None:
        """Remember what is recorded of it; raises RegisterUnavailable as :meth:`Turn.begin`."""
        text = orjson.dumps([*said])  # a list: orjson writes no named tuples
        keys = (b"EVAL", _BEGIN, b"2", turn.claim, turn.key)
        lasts = b"%d" % turn.lasts
        (ours,) = await self._exchange((*keys, turn.token, lasts, text, b"%d" % SECONDS))
        if ours != 1:
            raise RegisterUnavailable("the request was taken over by its repetition")

    async def _end(self, turn: Turn) -> None:
        """Give it back; where that fails, the claim ends by itself."""
        text = b""
        if turn.forgotten:
            text = b"forget"
        elif turn.said is not None:
            text = orjson.dumps([*self._ended(turn, turn.said)])
        keys = (b"EVAL", _END, b"2", turn.claim, turn.key)
        try:
            await self._exchange((*keys, turn.token, text, b"%d" % SECONDS))
        except GatewayError as error:
            log.warning("repeat_not_remembered", cause=str(error))

    def _ended(self, turn: Turn, said: Earlier) -> Earlier:
        answer = turn.answered
        if answer is None:
            return said._replace(begun=False)
        text = ""
        if len(answer.body) <= _LARGEST:
            members = [
                answer.status,
                base64.b64encode(answer.body).decode(),
                answer.content_type,
                answer.headers,
            ]
            text = base64.b64encode(self._seal.seal(orjson.dumps(members), turn.key)).decode()
        return said._replace(begun=False, sent=True, answer=text)

    def opened(self, key: bytes, answer: str) -> Answer | None:
        """An answer that was kept; None: none was."""
        if not answer:
            return None
        status, body, content_type, headers = orjson.loads(
            self._seal.open(base64.b64decode(answer), key)
        )
        pairs = tuple((name, value) for name, value in headers)
        return Answer(status, base64.b64decode(body), content_type, pairs)

    async def _exchange(self, *commands: tuple[bytes, ...]) -> list[Any]:
        replies: list[Any] = await self._wire.exchange(commands, _WITHIN)
        require_good(replies, "repeats cannot be remembered")
        return replies


@dataclass(slots=True)
class Turn:
    """A named request that is being carried out; nobody else does meanwhile."""

    repeats: Repeats
    key: bytes
    claim: bytes
    token: bytes
    earlier: Earlier | None
    """What was recorded of it when it was said before."""
    lasts: int
    """Milliseconds that the claim lasts once something may leave."""
    said: Earlier | None = None
    answered: Answer | None = None
    forgotten: bool = False

    @property
    def answer(self) -> Answer | None:
        """The answer of the time before; None where there is none or it was too large."""
        return None if self.earlier is None else self.repeats.opened(self.key, self.earlier.answer)

    async def begin(self, said: Earlier) -> None:
        """Remember what is recorded of it now, before anything of it leaves.

        Raises:
            RegisterUnavailable: it is not remembered, or ours no more: nothing may leave.

        """
        self.said = said
        await self.repeats.begin(self, said)

    def done(self, answer: Answer) -> None:
        """It was handed over, and the tool's answer is this."""
        self.answered = answer

    def forget(self) -> None:
        """It came to nothing: said again it is a new one."""
        self.forgotten = True


def decided_then(
    earlier: Earlier, judged: Sequence[Judged], fate: Callable[[Outcome], Fate], at: int
) -> Decided:
    """What was decided of a request when it was handed over, as of now."""
    fates, ids = [], []
    for one, outcomes, records in zip(judged, earlier.outcomes, earlier.records, strict=True):
        of_all = list(one.addressees.fates)
        names = [""] * len(of_all)
        places = one.addressees.places
        for there, outcome, record in zip(places, outcomes, records, strict=True):
            of_all[there], names[there] = fate(Outcome(outcome)), record
        fates.append(of_all)
        ids.append(names)
    return Decided(fates, ids, at)


def _octets(found: bytes | str) -> bytes:
    return found.encode() if isinstance(found, str) else found
