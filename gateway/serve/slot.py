"""The places of the gateway's processes: the sockets of each, and who serves them now."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from gateway.failure import GatewayError
from gateway.serve.assignment import Assignment
from gateway.serve.socket import bind, close
from gateway.settings import Settings


@dataclass(slots=True)
class Slot:
    """One process's place: its sockets, and the process that serves them now."""

    index: int
    front: bool = False
    """Whether it is the public process's."""
    smtp: list[socket.socket] = field(default_factory=list)
    smtp_tls: list[socket.socket] = field(default_factory=list)
    sms: list[tuple[socket.socket, str]] = field(default_factory=list)
    """Each with the route whose own address it is."""
    api: list[socket.socket] = field(default_factory=list)
    public: list[socket.socket] = field(default_factory=list)
    inbound: list[socket.socket] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None

    @property
    def alive(self) -> bool:
        """Whether its process runs."""
        return self.process is not None and self.process.returncode is None

    @property
    def sockets(self) -> list[socket.socket]:
        """All of its sockets."""
        sms = [one for one, _ in self.sms]
        return [*self.smtp, *self.smtp_tls, *sms, *self.api, *self.public, *self.inbound]

    def assignment(self, settings: str, workers: int, ready: int) -> Assignment:
        """What its process is told; ``settings`` is a path, ``ready`` a file descriptor."""
        return Assignment(
            settings=settings,
            index=self.index,
            workers=workers,
            parent=os.getpid(),
            smtp=[one.fileno() for one in self.smtp],
            smtp_tls=[one.fileno() for one in self.smtp_tls],
            sms=[(one.fileno(), route) for one, route in self.sms],
            api=[one.fileno() for one in self.api],
            public=[one.fileno() for one in self.public],
            inbound=[one.fileno() for one in self.inbound],
            front=self.front,
            ready=ready,
        )

    def signal(self, number: signal.Signals) -> None:
        """Signal its process, if it has one."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)


class Slots:
    """All places, their sockets bound; raises InputError naming a setting that cannot be."""

    def __init__(self, settings: Settings, workers: int) -> None:
        self.workers = [Slot(index) for index in range(workers)]
        self.office = Slot(workers) if settings.api.listen else None
        """The API's process, where the settings want one."""
        self.front = Slot(workers + 1, front=True) if has_front(settings) else None
        """The public process, where the settings want one."""
        try:
            self._bind(settings)
        except GatewayError:
            close(self.sockets)
            raise

    @property
    def each(self) -> list[Slot]:
        """The workers, the API's and the public one."""
        return [*self.workers, *(slot for slot in (self.office, self.front) if slot is not None)]

    @property
    def sockets(self) -> list[socket.socket]:
        """Those of all places."""
        return [one for slot in self.each for one in slot.sockets]

    def _bind(self, settings: Settings) -> None:
        smtp, count = settings.smtp, len(self.workers)
        for address in smtp.listen:
            for slot, one in zip(self.workers, bind(address, "smtp.listen", count), strict=True):
                slot.smtp.append(one)
        for address in smtp.listen_tls:
            bound = bind(address, "smtp.listen_tls", count)
            for slot, one in zip(self.workers, bound, strict=True):
                slot.smtp_tls.append(one)
        for address, setting, route in sms_addresses(settings):
            for slot, one in zip(self.workers, bind(address, setting, count), strict=True):
                slot.sms.append((one, route))
        if self.office is not None:
            for address in settings.api.listen:
                self.office.api += bind(address, "api.listen")
        if self.front is not None:
            for address in settings.public.listen:
                self.front.public += bind(address, "public.listen")
            for address in settings.inbound.listen:
                self.front.inbound += bind(address, "inbound.listen")


def has_front(settings: Settings) -> bool:
    """Whether there is anything for the public process to do."""
    return bool(settings.public.listen or settings.inbound.listen or settings.sync.tools)


def sms_addresses(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Where the text message side listens: address, setting, and the route it is alone for."""
    sms = settings.sms
    if not sms.routes:
        return
    if any(route.listen is None for route in sms.routes):
        for address in sms.listen:
            yield address, "sms.listen", ""
    for route in sms.routes:
        if route.listen is not None:
            yield route.listen, f"sms.routes {route.name}: listen", route.name
