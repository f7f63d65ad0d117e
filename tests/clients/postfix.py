"""A Postfix of our own, in a folder, whose relayhost is the gateway.

It knows nothing of the machine's own Postfix and touches nothing of it.  Postfix
has to be started by root; it then works as its own user.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from tests.clients.conftest import run, tool
from tests.peers.process import until

_SERVICES = """\
pickup    unix  n - n 1  1 pickup
cleanup   unix  n - n -  0 cleanup
qmgr      unix  n - n 1  1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -  - trivial-rewrite
bounce    unix  - - n -  0 bounce
defer     unix  - - n -  0 bounce
trace     unix  - - n -  0 bounce
verify    unix  - - n -  1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -  - proxymap
smtp      unix  - - n -  - smtp
relay     unix  - - n -  - smtp
showq     unix  n - n -  - showq
error     unix  - - n -  - error
retry     unix  - - n -  - error
discard   unix  - - n -  - discard
anvil     unix  - - n -  1 anvil
scache    unix  - - n -  1 scache
postlog   unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """``async with`` it; ``relay`` is the gateway's port on localhost."""

    def __init__(self, relay: int, login: tuple[str, str], ca_file: Path) -> None:
        tool("postfix")
        # Its user must be able to reach its folder, which pytest's own keeps to itself.
        self.folder = Path(tempfile.mkdtemp(prefix="sg-postfix-"))
        self.folder.chmod(0o755)
        self.config = self.folder / "etc"
        self.config.mkdir()
        for name in ("queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        trusted = self.folder / "ca.pem"
        shutil.copy(ca_file, trusted)
        trusted.chmod(0o644)
        self._relay = f"[localhost]:{relay}"
        self.login(*login)
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.folder / "queue",
            "data_directory": self.folder / "data",
            "maillog_file": self.folder / "queue" / "mail.log",
            "maillog_file_prefixes": self.folder,
            "myhostname": "tool.example",
            "mydestination": "",
            "inet_interfaces": "loopback-only",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "relayhost": self._relay,
            "smtp_host_lookup": "native",
            "smtp_tls_security_level": "verify",
            "smtp_tls_verify_cert_match": "localhost",
            "smtp_tls_CAfile": trusted,
            "smtp_sasl_auth_enable": "yes",
            "smtp_sasl_password_maps": f"texthash:{self._logins}",
            "smtp_sasl_security_options": "noanonymous",
            "smtp_connection_cache_on_demand": "yes",
            # An hour in a second: what is deferred is tried again at once.
            "queue_run_delay": "1s",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "1s",
            "transport_retry_time": "1s",
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.config / "main.cf").write_text(lines)
        (self.config / "master.cf").write_text(_SERVICES)

    async def __aenter__(self) -> Self:
        try:
            await self.control("start")
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()

    @property
    def _logins(self) -> Path:
        return self.config / "logins"

    def login(self, user: str, password: str) -> None:
        """What it logs in with after its next start."""
        self._logins.write_text(f"{self._relay} {user}:{password}\n")
        self._logins.chmod(0o644)

    async def control(self, what: str) -> None:
        done = await run(tool("postfix"), "-c", self.config, what)
        assert done.status == 0, done.out

    def _end(self) -> None:
        subprocess.run(
            [tool("postfix"), "-c", str(self.config), "stop"],
            capture_output=True,
            check=False,
            timeout=30,
        )
        shutil.rmtree(self.folder, ignore_errors=True)

    async def send(self, sender: str, *recipients: str, message: bytes) -> None:
        """Give it a message, as a local program does; it is in its queue on return."""
        done = await run(
            *(tool("sendmail"), "-C", self.config, "-i", "-f", sender, "--", *recipients),
            text=message.replace(b"\r\n", b"\n"),
        )
        assert done.status == 0, done.out

    async def queue(self) -> list[dict[str, Any]]:
        """What it still has to deliver, each message once.

        Postfix lists one queue after the other.  A message that moves meanwhile is listed in
        both, or in neither: nothing is only believed when it is seen three times.
        """
        for look in range(3):
            await asyncio.sleep(0.05 if look else 0)
            done = await run(tool("postqueue"), "-c", self.config, "-j")
            assert done.status == 0, done.out
            listed = [json.loads(line) for line in done.out.splitlines()]
            if listed:
                return list({message["queue_id"]: message for message in listed}.values())
        return []

    async def emptied(self, within: float = 30) -> None:
        """Wait until it has nothing left to deliver."""
        end = asyncio.get_running_loop().time() + within
        while queue := await self.queue():
            assert asyncio.get_running_loop().time() < end, (queue, self.log[-3000:])
            await asyncio.sleep(0.1)

    async def flush(self) -> None:
        """Have it try everything now."""
        done = await run(tool("postqueue"), "-c", self.config, "-f")
        assert done.status == 0, done.out

    @property
    def log(self) -> str:
        path = self.folder / "queue" / "mail.log"
        return path.read_text(errors="replace") if path.exists() else ""

    async def logged(self, words: str, count: int = 1, within: float = 15) -> None:
        """Wait until its log has these words so often."""
        try:
            await until(lambda: self.log.count(words) >= count, within, f"no {words!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.log[-2000:]}") from None
