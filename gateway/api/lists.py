"""``/v1/lists/hashed``: everybody who has a ban, as hashes, for whoever also sends.

Made whole before the first octet goes out, in a file without a name; one at a time.  It
tells bans and nothing of delivery: see :class:`~gateway.register.hashsink.HashSink`.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from http import HTTPStatus
from io import TextIOWrapper
from typing import IO, Final

from gateway.api import changeform
from gateway.api.account import Permission
from gateway.api.desk import Call
from gateway.api.problem import BadMember, Problem, bad_request, unavailable
from gateway.api.route import Download, Route
from gateway.api.scope import ban_scope
from gateway.clock import now_ms
from gateway.contacts.hashed import Scheme
from gateway.failure import InputError
from gateway.records.act import Action, Detail
from gateway.register.disclosure import Purpose
from gateway.register.export import One, export
from gateway.register.hashsink import HashSink

MOST: Final = 1_000_000
"""Hashes of one list: some 200 MB while it is made."""
SECONDS: Final = 600
"""That making it may take."""
_making = asyncio.Lock()


async def hashed(call: Call) -> Download:
    """The list; recorded before anything of it is shown."""
    asked: changeform.HashedQuery = call.form
    if not call.reason.strip():
        raise bad_request("say why in the header Gateway-Reason; it is recorded")
    if (asked.scope == "topic") != (asked.topic is not None):
        raise bad_request(
            "scope topic and a topic go together", BadMember("/topic", "name both or neither")
        )
    scheme = await _scheme(call, asked.scheme)
    if _making.locked():
        raise unavailable("another list is being made; try again later")
    async with _making:
        return await _made(call, asked, scheme)


async def _scheme(call: Call, name: str) -> Scheme:
    """The scheme of a name; one with a salt must be in use, for its salt is secret."""
    schemes = call.desk.register.schemes
    try:
        scheme = Scheme.named(name)
    except InputError as error:
        raise bad_request(str(error), BadMember("/scheme", "as sha256:trim-lower")) from None
    if scheme.salting is None:
        return scheme
    await schemes.read()
    for known in schemes.known:
        if known.name == name:
            return known
    raise bad_request(
        "the register uses no salted scheme of this name",
        BadMember("/scheme", "use suppression-gateway register export --salt-file"),
    )


async def _made(call: Call, asked: changeform.HashedQuery, scheme: Scheme) -> Download:
    purpose = Purpose(asked.purpose)
    detail: dict[str, Detail] = {"for": purpose, "form": scheme.name}
    if asked.scope is not None:
        detail["scope"] = asked.scope
    await call.record(Action.EXPORT, "", **detail)
    file = tempfile.TemporaryFile("w+b")  # noqa: SIM115 - closed by whoever sends it
    try:
        text = TextIOWrapper(file, "ascii", newline="\n", write_through=True)
        scope, channel = (None, None)
        if asked.scope is not None:
            scope, channel = ban_scope(asked.scope, asked.topic)
        sink = _Bounded(call, HashSink(text, scheme, scope, channel, asked.topic, now_ms()), text)
        result = await export(call.desk.register, call.desk.known(), purpose, sink)
        await asyncio.to_thread(sink.write)
        counts: dict[str, Detail] = {"contacts": result.contacts}
        counts |= {f"excluded_{why}": count for why, count in result.excluded.items()}
        await call.record(Action.EXPORT, "", **detail, **counts)
        text.detach()
    except BaseException:
        file.close()
        raise
    return Download("text/plain", f"bans-{asked.scheme.replace(':', '-')}.txt", file)


class _Bounded:
    """Hashes as they are found, written in a thread at the end."""

    def __init__(self, call: Call, sink: HashSink, text: IO[str]) -> None:
        self._call = call
        self._sink = sink
        self._text = text

    async def take(self, batch: Sequence[One]) -> int:
        """Take some; ends when there are too many, or nobody waits for them."""
        if self._call.left():
            raise unavailable("the caller has gone")
        count = await self._sink.take(batch)
        if self._sink.count > MOST:
            raise Problem(
                HTTPStatus.CONFLICT,
                "too-many",
                f"there are more than {MOST} hashes; use suppression-gateway register export",
            )
        await asyncio.sleep(0)  # others are served between batches
        return count

    def finish(self) -> None:
        """All are found; they are written in :meth:`write`."""

    def write(self) -> None:
        """Write them, sorted."""
        self._sink.finish()
        self._text.flush()
        self._text.seek(0)


ROUTES = (
    Route(
        method="GET",
        path="/v1/lists/hashed",
        summary="Hashes of everybody who has a ban, sorted, one a line; recorded as an export.",
        permission=Permission.EXPORT,
        handler=hashed,
        query=changeform.HashedQuery,
        tag="lists",
        produces=("text/plain",),
        may_conflict=True,
        seconds=SECONDS,
    ),
)
