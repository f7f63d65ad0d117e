"""Listening sockets, bound once by the supervisor and inherited by the workers.

Each worker has a socket of its own on the shared port (SO_REUSEPORT), so that the
kernel spreads connections evenly; the supervisor keeps every socket open, so that
connections waiting for a worker that died are served by the one that replaces it.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from gateway.failure import InputError

BACKLOG = 512
"""Connections that may wait to be accepted, per socket."""


class BindError(InputError):
    """An address could not be listened on."""


def split_address(address: str) -> tuple[str, int]:
    """``host:port`` or ``[v6]:port`` as its two parts."""
    host, _, port = address.rpartition(":")
    return host.strip("[]"), int(port)


def bind(address: str, setting: str, count: int = 1) -> list[socket.socket]:
    """``count`` sockets on one address, listening; port 0 picks one for all.

    Raises:
        BindError: naming the setting, the address and the system's reason.

    """
    host, port = split_address(address)
    sockets: list[socket.socket] = []
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        for _ in range(count):
            one = socket.socket(family, socket.SOCK_STREAM)
            sockets.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if count > 1:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((host, port))
            port = one.getsockname()[1]
        for one in sockets:
            one.listen(BACKLOG)
            one.setblocking(False)
    except OSError as error:
        close(sockets)
        raise BindError(
            f"{setting}: cannot listen on {address}: {error.strerror or error}; "
            "free the port or change the setting"
        ) from None
    return sockets


def close(sockets: Sequence[socket.socket]) -> None:
    """Close them all."""
    for one in sockets:
        one.close()


def name_of(one: socket.socket) -> str:
    """The address a socket listens on, as ``host:port``."""
    host, port = one.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
