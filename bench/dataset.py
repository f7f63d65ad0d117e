"""The register's million entries, and the servers that hold them.

The load tools number their recipients: ``1r@bench.example``, ``2r@bench.example``, …
(``smtp-source -N``).  The entries are every fifth of these numbers up to five
million, so one recipient in five is suppressed however many a run has.

Importing a million rows through the command takes minutes, since each row is a change
with its event.  Here the same entries are written as octets: the gateway's own
canonical form, digest, layout and codec make key, field and value, and raw pipelined
HSETs store them, with the mark that an archived event leaves.  For the peers that
cannot make our digests a plain set holds the same addresses.

What is made is kept in ``.bench``, with the keys it was made with:

- ``register-…rdb``: hashes and set, for the one server that the bare relay and the
  peers ask, on a Unix socket and a TCP port.  Nobody writes to it.
- ``register-…/append``: the hashes as the gateway's own embedded register keeps them.
  Each gateway gets a copy, and runs its register as it always does, with every write
  on the disk before its acknowledgement: its records are written there.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.machine import CACHE, cpu_seconds, end, free_port
from gateway.contacts.digest import KeyRing, subject_of
from gateway.contacts.email import parse_email
from gateway.entry.codec import encode
from gateway.entry.entry import Ban, Entry, Scope
from gateway.register.binary import find_server
from gateway.register.layout import MARK, META, VERSION, Layout
from gateway.register.server import EmbeddedRegister

ENTRIES = 1_000_000
EVERY = 5
"""One recipient in so many is suppressed."""
PLAIN = "suppressed"
"""The set of addresses for those that make no digests."""

KEYS = CACHE / "digest-keys.json"

_MADE = 2
"""Raised when the entries' form changes, so that old files are made anew."""
_BATCH = 10_000


def address(number: int) -> str:
    """Return the recipient that the load tools make of a number."""
    return f"{number}r@bench.example"


def suppressed(number: int) -> bool:
    """Whether the recipient of a number is in the register."""
    return number % EVERY == 0


@dataclass(frozen=True)
class Server:
    """The running server that everybody but the gateway asks."""

    pid: int
    socket: Path
    port: int
    keys: Path

    def cpu(self) -> float:
        """Return the seconds it has used."""
        return cpu_seconds(self.pid)


@contextmanager
def server() -> Iterator[Server]:
    """Run the register server with all entries; they are made if they are not there."""
    dump, keys = _prepared()
    with _running(dump) as (process, folder, port):
        yield Server(process.pid, folder / "register.sock", port, keys)


def addresses() -> Iterator[str]:
    """Yield every suppressed address."""
    for number in range(EVERY, ENTRIES * EVERY + 1, EVERY):
        yield address(number)


def embed(data: Path) -> None:
    """Put a copy of the embedded register's files below a gateway's ``data_dir``."""
    target = data / "register" / "append"
    target.parent.mkdir(mode=0o700, parents=True)
    shutil.copytree(_embedded(), target)


def _keys() -> Path:
    """Return the digest keys' file."""
    CACHE.mkdir(exist_ok=True)
    if not KEYS.exists():
        for made in CACHE.glob("register-*"):
            shutil.rmtree(made) if made.is_dir() else made.unlink()
        KeyRing.create(KEYS)
    return KEYS


def _prepared() -> tuple[Path, Path]:
    keys = _keys()
    dump = CACHE / f"register-{VERSION}-{_MADE}.rdb"
    if not dump.exists():
        print("making the register's entries, once", file=sys.stderr)
        with _running(None) as (_, folder, _):
            with _linked(folder / "register.sock") as link:
                _fill(link, plain=True)
                _exchange(link, [_packed(b"SAVE")])
            shutil.move(folder / "dump.rdb", dump)
    return dump, keys


def _embedded() -> Path:
    _keys()
    made = CACHE / f"register-{VERSION}-{_MADE}" / "append"
    if not made.exists():
        print("making the embedded register's entries, once", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="sg-bench-") as name:
            asyncio.run(_made(Path(name)))
            made.parent.mkdir(exist_ok=True)
            shutil.move(Path(name) / "append", made)
    return made


async def _made(folder: Path) -> None:
    register = EmbeddedRegister(folder)
    await register.start()
    try:
        with _linked(register.socket) as link:
            _fill(link, plain=False)
            _exchange(link, [_packed(b"BGREWRITEAOF")])
            waiting = True
            while waiting:
                await asyncio.sleep(0.2)
                link.sendall(_packed(b"INFO", b"persistence"))
                text = link.recv(1 << 16)
                waiting = b"rewrite_in_progress:1" in text or b"rewrite_scheduled:1" in text
    finally:
        await register.stop(wait_for_users=0)


@contextmanager
def _linked(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(str(path))
        yield link


def _fill(link: socket.socket, *, plain: bool) -> None:
    ring = KeyRing.load(KEYS)
    layout = Layout()
    # A ban of all marketing, made a day before the entries.
    now = int(time.time() * 1000)
    value = encode(Entry(bans=(Ban(Scope.ALL, now - 86_400_000),)))
    mark = b"%d-0" % now
    key_id = ring.current.encode()
    batch: list[bytes] = [
        _packed(b"HSET", META, b"version", b"%d" % VERSION, b"bits", b"%d" % layout.bits)
    ]
    for text in addresses():
        digest = ring.digest(subject_of(parse_email(text)))
        bucket, field = layout.bucket(key_id, digest.value)
        batch.append(_packed(b"HSET", bucket, field, value, MARK, mark))
        if plain:
            batch.append(_packed(b"SADD", PLAIN.encode(), text.encode()))
        if len(batch) >= _BATCH:
            _exchange(link, batch)
            batch = []
    _exchange(link, batch)


def _packed(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w), w) for w in words)


def _exchange(link: socket.socket, commands: list[bytes]) -> None:
    link.sendall(b"".join(commands))
    left = len(commands)
    while left > 0:
        received = link.recv(1 << 20)
        if not received or b"-ERR" in received:
            raise RuntimeError("the register server refused an entry")
        left -= received.count(b"\r\n")


@contextmanager
def _running(dump: Path | None) -> Iterator[tuple[subprocess.Popen[bytes], Path, int]]:
    folder = Path(tempfile.mkdtemp(prefix="sg-bench-"))
    try:
        if dump is not None:
            _link(dump, folder / "dump.rdb")
        port = free_port()
        process = subprocess.Popen(
            [
                *(str(find_server()), "--bind", "127.0.0.1", "--port", str(port)),
                *("--unixsocket", str(folder / "register.sock"), "--dir", str(folder)),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
                # As the gateway's own server has it.
                *("--hash-max-listpack-entries", "1024", "--hash-max-listpack-value", "512"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            _loaded(folder / "register.sock")
            yield process, folder, port
        finally:
            process.kill()  # nothing it holds is to be kept
            end(process)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy(source, target)


def _loaded(path: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        try:
            with socket.socket(socket.AF_UNIX) as link:
                link.settimeout(5)
                link.connect(str(path))
                link.sendall(b"PING\r\n")
                if link.recv(64).startswith(b"+PONG"):
                    return
        except OSError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the register server does not answer")
