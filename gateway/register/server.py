"""The embedded register: a private server on a Unix socket below a folder.

One process owns it; others that find it running use it.  Two files in the folder
say who does what, by ``flock``:

- ``owner.lock``: held exclusively by the owner *and its server process*, so that no
  second server can touch the data while the first still lives;
- ``users.lock``: shared by every other process that uses the register; the owner
  takes it exclusively before it stops the server.

Every acknowledged write is on the disk (``appendfsync always``), so that the server
may be killed at any moment.  It dies with its owner.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import structlog

from gateway.failure import InputError, RegisterUnavailable
from gateway.register.binary import find_server
from gateway.register.lock import FolderLock
from gateway.unixpath import socket_path

log = structlog.get_logger(__name__)

_POLL = 0.05
_FIRST_BACKOFF = 0.1
_LAST_BACKOFF = 5.0
_HEALTHY_AFTER = 30.0

# PR_SET_PDEATHSIG (prctl(2)) survives execve and is set by a small program of its
# own, because code between fork and exec is not safe in a process with threads.
# The signal comes when the *thread* that started it ends: start() therefore starts
# the server from its caller's thread.
_LAUNCHER = (
    "import ctypes, os, sys\n"
    "ctypes.CDLL(None).prctl(1, {signal}, 0, 0, 0)\n"
    "if os.getppid() != int(sys.argv[1]): os._exit(1)\n"
    "os.execv(sys.argv[2], sys.argv[2:])\n"
)

_SETTINGS = """\
# Written by the gateway at every start; changes are lost.
port 0
unixsocket {socket}
unixsocketperm 700
dir {folder}
daemonize no
supervised no
logfile {log}
loglevel notice
databases 1
# Every acknowledged change is on the disk before its acknowledgement.
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
appenddirname append
# Plain commands, which every server version reads: another program may be found
# at the next start, and the binary preamble of a newer one would be unreadable.
aof-use-rdb-preamble no
# A torn last write was never acknowledged.
aof-load-truncated yes
auto-aof-rewrite-percentage 100
auto-aof-rewrite-min-size 64mb
save ""
# A register that forgets is worse than one that refuses.
maxmemory-policy noeviction
# Buckets keep their compact encoding: up to 512 entries are expected in one.
hash-max-listpack-entries 1024
hash-max-listpack-value 512
lua-time-limit 5000
"""


class EmbeddedRegister:
    """The server of one folder, as its owner sees it.

    ``url`` is what :func:`gateway.register.connect.connect` takes.  ``start`` and
    ``stop`` may run in different event loops.
    """

    def __init__(
        self, folder: Path, *, program: Path | None = None, start_timeout: float = 120.0
    ) -> None:
        """Take the folder (made if missing) and, if configured, the server program.

        ``start_timeout`` (seconds) covers loading the data, which takes some
        seconds for millions of contacts.
        """
        self.folder = folder.absolute()
        self.socket = socket_path(self.folder, "register.sock")
        self._configured = program
        self._start_timeout = start_timeout
        self._program: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._owner: FolderLock | None = None
        self._stopping = False

    @property
    def url(self) -> str:
        """The URL to connect to."""
        return f"unix://{self.socket}"

    @property
    def pid(self) -> int | None:
        """The server's process id while this process owns a running one."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    @property
    def log_file(self) -> Path:
        """Where the server writes its log."""
        return self.folder / "register.log"

    async def start(self) -> None:
        """Become the owner and start the server; returns when it answers.

        Must be called in a thread that lives as long as the server shall.  Raises
        InputError when another process owns the folder or no server program is
        found, RegisterUnavailable when the server does not come up.
        """
        if not await self.try_start():
            raise InputError(
                f"{self.folder}: another process runs this register; stop it or use it"
            )

    async def try_start(self) -> bool:
        """Do as :meth:`start`; return False when another process owns the folder."""
        if self._owner is not None:
            return True
        self._program = await asyncio.to_thread(find_server, self._configured)
        _make_folder(self.folder)
        _make_socket_folder(self.socket, self.folder)
        owner = FolderLock(self.folder / "owner.lock")
        if not owner.try_exclusive():
            owner.close()
            return False
        self._owner = owner
        self._stopping = False
        try:
            self._spawn()
            await self._ready()
        except BaseException:
            await self._end_process()
            self._release()
            raise
        log.info("register_started", program=str(self._program), pid=self.pid)
        return True

    async def stop(self, *, wait_for_users: float = 30.0) -> None:
        """Stop the server once no other process uses it.

        Waits at most ``wait_for_users`` seconds for them, then stops it anyway:
        they see RegisterUnavailable.
        """
        if self._owner is None:
            return
        self._stopping = True
        try:
            with FolderLock(self.folder / "users.lock") as users:
                if not await users.exclusive(wait_for_users):
                    log.warning("register_stopped_in_use", waited_s=wait_for_users)
                await self._end_process()
        finally:
            # Also where the folder is gone, or this is cancelled while it waits.
            if self._process is not None and self._process.poll() is None:
                self._process.terminate()
            self._release()

    async def supervise(self) -> None:
        """Restart the server whenever it ends, with growing pauses, until stopped.

        Run it as a task of the owner's; it returns after :meth:`stop`.
        """
        loop = asyncio.get_running_loop()
        backoff = _FIRST_BACKOFF
        since = loop.time()
        while self._owned():
            if self._process is None or self._process.poll() is not None:
                if loop.time() - since > _HEALTHY_AFTER:
                    backoff = _FIRST_BACKOFF
                code = None if self._process is None else self._process.returncode
                log.error("register_ended", status=code, restart_in_s=backoff)
                await asyncio.sleep(backoff)
                backoff = min(backoff * 2, _LAST_BACKOFF)
                since = loop.time()
                if not self._owned():
                    return
                try:
                    self._spawn()
                    await self._ready()
                    log.info("register_restarted", pid=self.pid)
                except (OSError, RegisterUnavailable) as error:
                    log.warning("register_restart_failed", cause=str(error))
            await asyncio.sleep(_POLL)

    def _owned(self) -> bool:
        return self._owner is not None and not self._stopping

    def _spawn(self) -> None:
        program, owner = self._program, self._owner
        if program is None or owner is None:
            raise RegisterUnavailable("the register was stopped while it was starting")
        settings = self.folder / "register.conf"
        settings.write_text(
            _SETTINGS.format(
                socket=_quoted(self.socket),
                folder=_quoted(self.folder),
                log=_quoted(self.log_file),
            )
        )
        command = [str(program), str(settings)]
        if sys.platform == "linux":
            launcher = _LAUNCHER.format(signal=int(signal.SIGTERM))
            command = [sys.executable, "-I", "-S", "-c", launcher, str(os.getpid()), *command]
        with self.log_file.open("ab") as output:
            self._process = subprocess.Popen(  # noqa: S603 - own arguments, without a shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                # The server holds the owner's lock too, until it is really gone.
                pass_fds=(owner.fileno(),),
                # A Ctrl-C at the terminal is for the owner, which then stops the server.
                start_new_session=True,
            )

    async def _ready(self) -> None:
        loop = asyncio.get_running_loop()
        end = loop.time() + self._start_timeout
        while loop.time() < end:
            if self._process is None or self._process.poll() is not None:
                raise RegisterUnavailable(
                    f"the register server did not start; its log is {self.log_file}"
                )
            if await answers(self.socket):
                return
            await asyncio.sleep(_POLL / 5)
        raise RegisterUnavailable(
            f"the register server does not answer after {self._start_timeout:g} s; "
            f"its log is {self.log_file}"
        )

    async def _end_process(self) -> None:
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
            if not await _ended(process, 10.0):
                # Nothing acknowledged can be lost by it.
                process.kill()
                await _ended(process, 10.0)
        self._process = None
        with suppress(OSError):
            self.socket.unlink(missing_ok=True)

    def _release(self) -> None:
        if self._owner is not None:
            self._owner.close()
            self._owner = None


@asynccontextmanager
async def embedded(
    folder: Path,
    *,
    program: Path | None = None,
    start_timeout: float = 120.0,
    wait_for_users: float = 30.0,
) -> AsyncIterator[str]:
    """Give the URL of the folder's register: a running one, or one for the duration.

    While another process owns it, that process does not stop it before this context
    ends.  Where this process becomes the owner, the server is supervised, and is
    stopped at the end when nobody else uses it any more.  Raises as
    :meth:`EmbeddedRegister.start`, and RegisterUnavailable when the running one
    does not answer within ``start_timeout`` seconds.
    """
    register = EmbeddedRegister(folder, program=program, start_timeout=start_timeout)
    _make_folder(register.folder)
    end = asyncio.get_running_loop().time() + start_timeout
    users = FolderLock(register.folder / "users.lock")
    try:
        while True:
            # An owner that is just stopping holds it; afterwards it is free.
            if not await users.shared(start_timeout):
                raise RegisterUnavailable(f"{register.folder}: the register is being stopped")
            if await register.try_start():
                break
            if await answers(register.socket):
                yield register.url
                return
            users.release()
            if asyncio.get_running_loop().time() > end:
                raise RegisterUnavailable(
                    f"{register.folder}: another process holds the register, but it does not answer"
                )
            await asyncio.sleep(_POLL)
        users.release()
        keeper = asyncio.create_task(register.supervise(), name="register-supervise")
        try:
            yield register.url
        finally:
            await asyncio.shield(_close(register, keeper, wait_for_users))
    finally:
        users.close()


async def _close(
    register: EmbeddedRegister, keeper: asyncio.Task[None], wait_for_users: float
) -> None:
    await register.stop(wait_for_users=wait_for_users)
    keeper.cancel()
    with suppress(asyncio.CancelledError):
        await keeper


async def answers(path: Path, within: float = 1.0) -> bool:
    """Whether a server that has loaded its data answers on the socket."""
    try:
        async with asyncio.timeout(within):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return False


async def _ended(process: subprocess.Popen[bytes], within: float) -> bool:
    loop = asyncio.get_running_loop()
    end = loop.time() + within
    while process.poll() is None:
        if loop.time() > end:
            return False
        await asyncio.sleep(_POLL / 5)
    return True


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: the folder cannot be made ({error.strerror})") from error
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: the folder cannot be written to")


def _make_socket_folder(path: Path, folder: Path) -> None:
    if path.parent == folder:
        return
    _make_folder(path.parent)
    if path.parent.stat().st_uid != os.getuid():
        raise InputError(f"{path.parent}: belongs to another user; use a shorter register folder")


def _quoted(path: Path) -> str:
    """Return the path as the server's settings file takes it."""
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
