"""The options that many commands share, and how they reach settings and stores."""

from __future__ import annotations

import asyncio
import getpass
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import structlog
import typer

from gateway.failure import GatewayError, InputError, RecordsUnavailable
from gateway.records.act import Act
from gateway.records.entry import ACT, RECORDS
from gateway.register.register import Register
from gateway.serve import assembly
from gateway.serve.keys import key_ring, sealer
from gateway.serve.vouching import vouch
from gateway.settings import Settings
from gateway.settings.load import find_config, load_settings

if TYPE_CHECKING:
    from gateway.serve.stores import Stores

T = TypeVar("T")

Config = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; else GATEWAY_CONFIG, else config.toml."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object a line, for programs.")]


def _named(value: str) -> str:
    if not value.strip():
        raise InputError("--by: say who does it; it is recorded")
    if not is_text(value):
        raise InputError("--by: not UTF-8 text (it may come from GATEWAY_ACTOR or USER)")
    return value


def is_text(value: str) -> bool:
    """Whether what the system gave as an argument or variable was UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


Actor = Annotated[
    str,
    typer.Option(
        "--by",
        help="Who does it; it is recorded.",
        envvar=["GATEWAY_ACTOR", "USER"],
        callback=_named,
    ),
]


def _reader(value: str) -> str:
    return _named(value) if value.strip() else _named(getpass.getuser())


Reader = Annotated[
    str,
    typer.Option(
        "--by",
        help="Who looks; it is recorded. Default: the system's user.",
        envvar=["GATEWAY_ACTOR"],
        show_default=False,
        callback=_reader,
    ),
]
ReadReason = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]

_ERROR = 40
_PATIENCE = 5.0
"""Seconds a command waits for the register: nobody's message waits behind it."""


def settings_of(config: Path | None) -> Settings:
    """The settings, with the log kept to errors: a command says itself what went wrong."""
    settings = load_settings(find_config(config))
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(_ERROR),
        logger_factory=structlog.PrintLoggerFactory(file=typer.get_text_stream("stderr")),
    )
    return settings


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run one command's coroutine."""
    return asyncio.run(work)


@asynccontextmanager
async def open_register(settings: Settings) -> AsyncIterator[Register]:
    """The configured register; an embedded one that is not running runs meanwhile."""
    async with assembly.register_url(settings) as url:
        timeout = max(settings.register.timeout, _PATIENCE)
        patient = replace(settings, register=replace(settings.register, timeout=timeout))
        ring, seal = key_ring(settings), sealer(settings)
        register = await assembly.open_register(patient, url, ring, seal)
        async with register:
            await vouch(settings, register)
            yield register


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """Register and archive; an embedded register that is not running runs meanwhile."""
    # Late: the database's library takes a third of a second, and most commands need none.
    from gateway.serve import stores

    async with stores.open_stores(settings) as opened:
        yield opened


async def record_act(register: Register, *acts: Act) -> None:
    """Write down what somebody is about to do; it is durable when this returns.

    Raises:
        RecordsUnavailable: it could not be written; then it is not to be done.

    """
    commands = [(b"XADD", RECORDS, b"*", ACT, act.to_json()) for act in acts]
    try:
        replies = await register.connections.wire.exchange(commands, _PATIENCE)
        failed = next((reply for reply in replies if isinstance(reply, Exception)), None)
    except GatewayError as error:
        failed = error
    if failed is not None:
        raise RecordsUnavailable(
            f"what you do could not be recorded, so it is not done ({failed})"
        ) from None
