"""How a connection to an upstream comes to be: greeting, EHLO, STARTTLS, AUTH."""

from __future__ import annotations

import asyncio
import base64
import ssl

from gateway.upstream.connection import Connection
from gateway.upstream.failure import ConnectionFailed
from gateway.upstream.target import Target, Tls
from gateway.wire.ehlo import Capabilities
from gateway.wire.reply import Reply


async def open_connection(
    target: Target, hostname: str, context: ssl.SSLContext | None
) -> Connection:
    """Connects, greets, protects and authenticates.

    ``hostname`` is what EHLO says, ``context`` the TLS context where the target
    uses TLS.  Raises :class:`ConnectionFailed`; on that and on cancellation
    nothing stays open.
    """
    connection = Connection(target, asyncio.get_running_loop())
    try:
        greeting = await connection.connect(context if target.tls is Tls.IMPLICIT else None)
        _require(greeting, greeting.code == 220, "the greeting")
        await _hello(connection, hostname)
        if target.tls is Tls.STARTTLS:
            await _start_tls(connection, context)
            await _hello(connection, hostname)
        if target.username:
            await _authenticate(connection)
    except OSError as error:
        connection.abort()
        raise ConnectionFailed(f"cannot connect: {type(error).__name__}") from error
    except BaseException:
        connection.abort()
        raise
    return connection


async def _hello(connection: Connection, hostname: str) -> None:
    seconds = connection.target.timeouts.command
    (reply,) = await connection.exchange(f"EHLO {hostname}\r\n".encode(), 1, seconds)
    if reply.positive:
        connection.capabilities = Capabilities.parse(reply)
        return
    _require(reply, reply.permanent, "EHLO")
    (reply,) = await connection.exchange(f"HELO {hostname}\r\n".encode(), 1, seconds)
    _require(reply, reply.positive, "HELO")
    connection.capabilities = Capabilities()


async def _start_tls(connection: Connection, context: ssl.SSLContext | None) -> None:
    if context is None or not connection.capabilities.starttls:
        raise ConnectionFailed("STARTTLS is required and not offered")
    reply = await connection.ask_for_tls()
    _require(reply, reply.code == 220, "STARTTLS")
    await connection.start_tls(context)


async def _authenticate(connection: Connection) -> None:
    target, seconds = connection.target, connection.target.timeouts.command
    if "PLAIN" in connection.capabilities.auth:
        secret = base64.b64encode(f"\0{target.username}\0{target.password}".encode())
        (reply,) = await connection.exchange(b"AUTH PLAIN %b\r\n" % secret, 1, seconds)
    elif "LOGIN" in connection.capabilities.auth:
        (reply,) = await connection.exchange(b"AUTH LOGIN\r\n", 1, seconds)
        for word in (target.username, target.password):
            _require(reply, reply.code == 334, "AUTH")
            line = base64.b64encode(word.encode()) + b"\r\n"
            (reply,) = await connection.exchange(line, 1, seconds)
    else:
        raise ConnectionFailed("the upstream offers neither AUTH PLAIN nor LOGIN")
    _require(reply, reply.code == 235, "AUTH")


def _require(reply: Reply, good: bool, what: str) -> None:
    """Refuses to go on; the reply's text stays out of the cause, it may name persons."""
    if not good:
        raise ConnectionFailed(f"the upstream answered {what} with {reply.code}", (reply,))
