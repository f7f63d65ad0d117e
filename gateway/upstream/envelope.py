"""The recipients of one transaction and what is said of each.

Some cannot even be asked about: they ask for an extension that the upstream lacks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gateway.upstream.failure import ConnectionFailed
from gateway.wire.command import RcptCommand, with_params
from gateway.wire.ehlo import Capabilities
from gateway.wire.reply import Reply, code_of

_NONE: Mapping[int, Reply] = {}


def split(
    recipients: Sequence[RcptCommand], capabilities: Capabilities
) -> tuple[Sequence[RcptCommand], Mapping[int, Reply]]:
    """Those to ask the upstream about, and our reply for each of the others by index."""
    if capabilities.dsn or not with_params(recipients):
        return recipients, _NONE
    refused: dict[int, Reply] = {}
    sent: list[RcptCommand] = []
    for index, command in enumerate(recipients):
        extension = command.lacking(capabilities)
        if extension is None:
            sent.append(command)
        else:
            refused[index] = lacks(extension)
    return sent, refused


def merge(count: int, refused: Mapping[int, Reply], answers: list[Reply]) -> list[Reply]:
    """One reply for each of ``count`` recipients, in the order of :func:`split`'s."""
    if not refused:
        return answers
    rest = iter(answers)
    return [refused.get(index) or next(rest) for index in range(count)]


def accepted(answers: Sequence[Reply]) -> int:
    """How many of the recipients that were asked about are taken.

    Raises :class:`ConnectionFailed` for a 3xx.  It asks for more, which MAIL and RCPT
    cannot: the dialogue is out of step.
    """
    codes = list(map(code_of, answers))
    if max(codes, default=200) < 300:
        return len(codes)
    if any(code // 100 == 3 for code in codes):
        raise ConnectionFailed("the upstream answered MAIL or RCPT with a 3xx")
    return sum(code < 300 for code in codes)


def lacks(extension: str) -> Reply:
    """Temporary: the extension was on offer when the client was told of it."""
    return Reply.of(451, f"4.3.5 The upstream does not offer {extension} now")
