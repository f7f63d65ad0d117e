"""Redis as it is run on several machines: a Cluster, a Sentinel; real servers, on loopback.

    with Servers() as servers:
        ports = await servers.cluster(masters=3, replicas=1)
        ... connect to cluster://127.0.0.1:port,... ...
        servers.kill(ports[0])

Whatever happens in a test, the servers end with the ``with``.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from tests.peers.certificates import Certificate
from tests.peers.port import free_port

PROGRAM = shutil.which("redis-server")


async def command(port: int, *words: object, tls: Certificate | None = None) -> str:
    """The reply of a server to one command, as ``redis-cli`` prints it."""
    secure = ()
    if tls is not None:
        pem = str(tls.certificate)
        secure = ("--tls", "--cacert", pem, "--cert", pem, "--key", str(tls.key))
    process = await asyncio.create_subprocess_exec(
        *("redis-cli", "-p", str(port), *secure, *map(str, words)),
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(90):
        out, _ = await process.communicate()
    return out.decode()


async def until(check: Callable[[], Awaitable[bool]], within: float = 60) -> None:
    """Wait until it is so."""
    async with asyncio.timeout(within):
        while True:
            with contextlib.suppress(OSError):
                if await check():
                    return
            await asyncio.sleep(0.1)


class Servers:
    """Server processes, each with its own folder; with a certificate they speak TLS alone."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        self._tls = certificate
        self._folder = Path(tempfile.mkdtemp(prefix="sg-"))
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self._running.values():
            process.kill()
            process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)

    async def command(self, port: int, *words: object) -> str:
        """The reply of a server to one command."""
        return await command(port, *words, tls=self._tls)

    async def start(self, port: int, *settings: str) -> None:
        """Start a server, and wait until it answers."""
        home = self._folder / str(port)
        home.mkdir()
        text = f'port {port}\nbind 127.0.0.1\ndir "{home}"\nsave ""\nlogfile server.log\n'
        if self._tls is not None:
            pem = self._tls.certificate
            text = text.replace("port ", "port 0\ntls-port ", 1) + (
                f'tls-cert-file "{pem}"\ntls-ca-cert-file "{pem}"\n'
                f'tls-key-file "{self._tls.key}"\ntls-replication yes\ntls-cluster yes\n'
            )
        (home / "server.conf").write_text(text + "\n".join(settings) + "\n")
        await self.start_again(port)

    async def start_again(self, port: int) -> None:
        """Start a server that was killed, with what its folder holds."""
        config = self._folder / str(port) / "server.conf"
        arguments = [PROGRAM or "redis-server", str(config)]
        if "\nsentinel " in config.read_text():
            arguments.append("--sentinel")
        self._running[port] = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )

        async def answers() -> bool:
            return "PONG" in await self.command(port, "PING")

        await until(answers)

    def kill(self, port: int) -> None:
        """Kill a server as a crash does."""
        self._running[port].kill()
        self._running[port].wait()

    def stop(self, port: int) -> None:
        """Let a server answer nobody, as where its machine hangs."""
        self._running[port].send_signal(signal.SIGSTOP)

    def go_on(self, port: int) -> None:
        """Let a server that was stopped go on."""
        self._running[port].send_signal(signal.SIGCONT)

    async def cluster(self, masters: int, replicas: int) -> list[int]:
        """Make a Cluster; its ports."""
        ports = free_ports(masters * (1 + replicas))
        for port in ports:
            await self.start(
                port,
                *("cluster-enabled yes", "cluster-node-timeout 2000", "appendonly yes"),
                *("repl-diskless-sync-delay 0", "cluster-allow-replica-migration no"),
            )
        hosts = [f"127.0.0.1:{port}" for port in ports]
        made = await self.command(
            ports[0],
            *("--cluster", "create", *hosts, "--cluster-replicas", replicas, "--cluster-yes"),
        )
        assert "All 16384 slots covered" in made, made

        async def ready() -> bool:
            for port in ports:
                if "cluster_state:ok" not in await self.command(port, "CLUSTER", "INFO"):
                    return False
                if not await self.linked(port):
                    return False
            return True

        await until(ready)
        return ports

    async def linked(self, port: int) -> bool:
        """Whether a server is a master, or a replica that follows its master."""
        told = await self.command(port, "INFO", "replication")
        return "role:master" in told or "master_link_status:up" in told

    async def is_master(self, port: int) -> bool:
        """Whether a server takes changes."""
        return "role:master" in await self.command(port, "INFO", "replication")

    async def sentinel(self, sentinels: int) -> tuple[int, int, list[int]]:
        """A master, its replica, and Sentinels that watch them as ``sg``; their ports."""
        master, replica, *watching = free_ports(2 + sentinels)
        await self.start(master, "appendonly yes", "repl-diskless-sync-delay 0")
        await self.start(
            replica, f"replicaof 127.0.0.1 {master}", "appendonly yes", "repl-diskless-sync-delay 0"
        )
        await until(lambda: self.linked(replica))
        for port in watching:
            await self.start(
                port,
                f"sentinel monitor sg 127.0.0.1 {master} {sentinels // 2 + 1}",
                "sentinel down-after-milliseconds sg 1000",
                "sentinel failover-timeout sg 6000",
            )

        async def known() -> bool:
            told = [await self.command(port, "INFO", "sentinel") for port in watching]
            return all(f"slaves=1,sentinels={sentinels}" in each for each in told)

        await until(known)
        return master, replica, watching


def free_ports(count: int) -> list[int]:
    """Ports that are free, and those of a Cluster's bus with them."""
    return [free_port(bus=True) for _ in range(count)]
