"""Inbound mail in the public process: its sockets, its desk, and their life."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Sequence
from typing import Self

from gateway.evidence.metric import Metrics
from gateway.inbound.desk import Desk
from gateway.inbound.listener import Listener
from gateway.inbound.server import Server
from gateway.serve.assembly import Parts
from gateway.serve.certificate import load_certificate, server_context
from gateway.serve.offer import links_of
from gateway.settings import Settings


class Letterbox:
    """Where mail comes in; made by :meth:`open`, ended by :meth:`end`."""

    def __init__(
        self, listener: Listener | None, context: ssl.SSLContext | None, metrics: Metrics
    ) -> None:
        """Use :meth:`open`."""
        self._listener = listener
        self._context = context
        self._metrics = metrics

    @classmethod
    async def open(
        cls, settings: Settings, parts: Parts, metrics: Metrics, descriptors: Sequence[int]
    ) -> Self:
        """Listen on the inherited sockets; without any there is nothing to do.

        Raises:
            GatewayError: certificate or link keys cannot be used.

        """
        if not descriptors:
            return cls(None, None, metrics)
        context = server_context(settings.inbound.tls, "inbound.tls")
        listener = Listener(parts.site, desk_of(settings, parts, metrics), context)
        for descriptor in descriptors:
            listener.own(
                await asyncio.get_running_loop().create_server(
                    lambda: Server(listener), sock=socket.socket(fileno=descriptor)
                )
            )
        return cls(listener, context, metrics)

    def renew(self, settings: Settings, parts: Parts) -> None:
        """Take new settings; messages that are being taken keep theirs.

        Raises:
            GatewayError: certificate or link keys cannot be used; nothing has changed.

        """
        listener = self._listener
        if listener is None:
            return
        desk = desk_of(settings, parts, self._metrics)
        if self._context is not None and settings.inbound.tls is not None:
            load_certificate(self._context, settings.inbound.tls, "inbound.tls")
        listener.swap(parts.site, self._context)
        listener.seat(desk)

    async def end(self, seconds: float) -> bool:
        """Finish what has begun, refuse what has not; False: time ran out."""
        return self._listener is None or await self._listener.drain(seconds)


def desk_of(settings: Settings, parts: Parts, metrics: Metrics) -> Desk:
    """What takes the messages, of one process's parts.

    Raises:
        InputError: the link keys cannot be used.

    """
    return Desk(
        settings=settings,
        register=parts.register,
        ring=parts.ring,
        links=links_of(settings),
        recorder=parts.site.recorder,
        contents=parts.site.contents,
        metrics=metrics,
    )
