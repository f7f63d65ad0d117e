"""The log of a piece of the gateway that runs within a test, as it would be written."""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from gateway.serve.logging import configure
from gateway.settings.model import Log


@contextmanager
def written_log() -> Iterator[io.StringIO]:
    """Everything that is logged meanwhile, at every level."""
    before, text = sys.stderr, io.StringIO()
    sys.stderr = text
    try:
        configure(Log(level="debug"))
        yield text
    finally:
        sys.stderr = before
        structlog.contextvars.clear_contextvars()
        structlog.reset_defaults()
