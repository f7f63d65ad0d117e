"""The log: structlog, one JSON object a line on standard error.

Addresses and numbers of recipients are never logged; aiosmtpd, which would log
whole commands, is held at warnings.  Of an error that nobody foresaw only its kind and
the places are told that it came through: what it says may quote what somebody sent.

A line that cannot be written (a full disk, a reader that is gone) is lost, and nothing else:
no answer depends on it.
"""

from __future__ import annotations

import logging
import sys
from contextlib import suppress
from traceback import extract_tb
from typing import TextIO, cast

import structlog

from gateway.failure import GatewayError
from gateway.settings.model import Log

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

_LINES = 200
"""Lines of one exception, about, at the most."""


_LOST = (OSError, ValueError, AttributeError)
"""What writing raises where nothing can be written; the last where it was closed at the start."""


class _Output:
    """Standard error, as far as it can be written."""

    def write(self, text: str) -> None:
        """Write a line, or lose it."""
        with suppress(*_LOST):
            sys.stderr.write(text)

    def flush(self) -> None:
        """Send on what was written, or lose it."""
        with suppress(*_LOST):
            sys.stderr.flush()


# One for all: structlog keeps a lock for each that it was ever given.
_OUTPUT = cast(TextIO, _Output())


def configure(settings: Log, **context: object) -> None:
    """Set the log up; ``context`` is on every line (the worker's index, say)."""
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if settings.format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            # The default shows local variables, and with them addresses.
            exception_formatter=structlog.dev.plain_traceback,
        )
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _places,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[settings.level]),
        # One write a line: those of several processes would run into each other.
        logger_factory=structlog.WriteLoggerFactory(file=_OUTPUT),
        cache_logger_on_first_use=False,
    )
    structlog.contextvars.bind_contextvars(**context)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("mail.log").setLevel(logging.WARNING)


def _places(
    _logger: object, _method: str, members: structlog.types.EventDict
) -> structlog.types.EventDict:
    """An exception as where it came from; of our own kinds with their text, which names nobody."""
    told = members.pop("exc_info", None)
    error = sys.exc_info()[1] if told is True else told
    if isinstance(error, tuple):
        error = error[1]
    if isinstance(error, BaseException):
        members["exception"] = "\n".join(_lines(error))
    return members


def _lines(error: BaseException | None) -> list[str]:
    lines: list[str] = []
    while error is not None:
        text = f": {error}" if isinstance(error, GatewayError) else ""
        lines.append(f"{type(error).__module__}.{type(error).__qualname__}{text}")
        lines += [
            f"  {each.filename}:{each.lineno} in {each.name}"
            for each in reversed(extract_tb(error.__traceback__))
        ]
        # What it came of, as Python itself tells it.
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
        if len(lines) > _LINES:
            break
    return lines
