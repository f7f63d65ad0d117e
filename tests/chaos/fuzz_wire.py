"""Coverage-guided fuzzing of the wire's codecs; run by hand, never by pytest.

    pip install atheris && python -m tests.chaos.fuzz_wire -max_total_time=300

Each codec is fed the same octets whole and in pieces and must say the same, raise
nothing but its own error, and read back what it wrote.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import atheris

with atheris.instrument_imports(include=["gateway.wire"]):
    from gateway.wire.body import BodyParser, normalise, unstuff
    from gateway.wire.command import MailCommand, RcptCommand
    from gateway.wire.ehlo import Capabilities
    from gateway.wire.lines import CommandParser, LineFault
    from gateway.wire.path import PathError, parse_mail, parse_rcpt
    from gateway.wire.reply import ProtocolError, Reply, ReplyParser


def pieces(data: bytes, step: int) -> Iterator[bytes]:
    """The octets, so many at a time."""
    for place in range(0, len(data), step):
        yield data[place : place + step]


def body(data: bytes, step: int) -> object:
    """The body's octets, what follows it, and what was noted."""
    parser = BodyParser()
    chunks: list[bytes] = []
    rest: bytes | None = None
    for piece in pieces(data, step):
        if rest is not None:
            rest += piece
            continue
        chunk, rest = parser.feed(piece)
        chunks.append(chunk)
    if rest is None:
        return None
    wire = b"".join(chunks)
    assert wire == b"" or wire.endswith(b"\r\n")
    assert b"\r\n.\r\n" not in b"\r\n" + wire
    clean = b"".join(normalise(chunks))
    assert b"\r\n.\r\n" not in b"\r\n" + clean
    assert b"\n" not in clean.replace(b"\r\n", b"")
    assert b"\r" not in clean.replace(b"\r\n", b"")
    return wire, rest, parser.bare, parser.size, clean, b"".join(unstuff(chunks))


def commands(data: bytes, step: int) -> list[bytes | LineFault]:
    """The command lines."""
    parser = CommandParser()
    found: list[bytes | LineFault] = []
    for piece in pieces(data, step):
        parser.feed(piece)
        while (line := parser.next_line()) is not None:
            assert isinstance(line, LineFault) or not set(line) & set(b"\r\n\0")
            found.append(line)
    return found


def replies(data: bytes, step: int) -> tuple[list[Reply], bool]:
    """The replies, and whether the stream failed."""
    parser = ReplyParser()
    found: list[Reply] = []
    for piece in pieces(data, step):
        try:
            found += parser.feed(piece)
        except ProtocolError as error:
            return [*found, *error.replies], True
    for reply in found:
        assert ReplyParser().feed(reply.wire()) == [reply]
    return found, False


def paths(data: bytes, _: int) -> None:
    """What leaves is one line, whatever came."""
    capabilities = Capabilities(size=1, eight_bit=True, smtputf8=True, dsn=True)
    for parse, command in ((parse_mail, MailCommand), (parse_rcpt, RcptCommand)):
        try:
            arguments = parse(data)
            line = (
                command.of(arguments).line(capabilities)
                if command is MailCommand
                else command.of(arguments).line()
            )
        except PathError:
            continue
        assert line.endswith(b"\r\n")
        assert not set(line[:-2]) & set(b"\r\n\0")


CODECS: tuple[Callable[[bytes, int], object], ...] = (body, commands, replies, paths)


def one(data: bytes) -> None:
    """One input: the first two octets choose the codec and the size of the pieces."""
    if len(data) < 2:
        return
    codec, step, octets = CODECS[data[0] % len(CODECS)], 1 + data[1] % 16, data[2:]
    assert codec(octets, len(octets) or 1) == codec(octets, step) == codec(octets, 1)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one)
    atheris.Fuzz()
