"""Postfix in four settings, each an instance of its own in a folder of its own.

It knows nothing of the machine's own Postfix and touches nothing of it.  Settings that
only slow a load test down (delays after errors, flow control) are off; it logs nowhere.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.dataset import addresses
from bench.machine import CACHE, Missing, tool
from bench.participant import Participant

_SERVICES = """\
{port}    inet  n - n -  200 smtpd{proxy}
cleanup   unix  n - n -  0 cleanup
qmgr      unix  n - n 300 1 qmgr
tlsmgr    unix  - - n 1000? 1 tlsmgr
rewrite   unix  - - n -  - trivial-rewrite
bounce    unix  - - n -  0 bounce
defer     unix  - - n -  0 bounce
trace     unix  - - n -  0 bounce
verify    unix  - - n -  1 verify
flush     unix  n - n 1000? 0 flush
proxymap  unix  - - n -  - proxymap
smtp      unix  - - n -  200 smtp
relay     unix  - - n -  200 smtp
showq     unix  n - n -  - showq
error     unix  - - n -  - error
retry     unix  - - n -  - error
anvil     unix  - - n -  1 anvil
scache    unix  - - n -  1 scache
pickup    unix  n - n 60 1 pickup
"""


def _table() -> Path:
    """Return the table of a million entries, made once."""
    table = CACHE / "suppressed"
    if not table.with_name("suppressed.db").exists():
        print("making Postfix's table, once", file=sys.stderr)
        with tempfile.TemporaryDirectory(prefix="sg-bench-") as name:
            folder = Path(name)
            (folder / "main.cf").write_text("berkeley_db_create_buffer_size = 536870912\n")
            draft = folder / "suppressed"
            with draft.open("w") as file:
                file.writelines(f"{address} REJECT\n" for address in addresses())
            subprocess.run([tool("postmap"), "-c", name, f"hash:{draft}"], check=True)
            shutil.move(f"{draft}.db", f"{table}.db")
            shutil.move(draft, table)
    return table


class PostfixTable(Participant):
    """An access table, the queue on disk."""

    key = "postfix-disk"
    name = "Postfix, table, queue on disk"
    asks = False
    proxy = False

    def start(self) -> None:
        """Write its configuration and start it."""
        tool("postfix")
        if os.geteuid() != 0:
            raise Missing("Postfix has to be started by root")
        self.config = self.folder / "etc"
        self._queue = self.queue()
        for folder in (self.config, self._queue, self.folder / "data"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
        shutil.chown(self.folder / "data", "postfix")
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self._queue,
            "data_directory": self.folder / "data",
            "myhostname": "postfix.example",
            "mydestination": "",
            "inet_interfaces": "127.0.0.1",
            "inet_protocols": "ipv4",
            "mynetworks": "127.0.0.0/8",
            "alias_maps": "",
            "relayhost": f"[127.0.0.1]:{self.place.upstream}",
            "smtp_host_lookup": "native",
            "disable_dns_lookups": "yes",
            "smtpd_peername_lookup": "no",
            "smtpd_delay_reject": "no",
            "smtpd_relay_restrictions": "permit_mynetworks, reject",
            "smtpd_recipient_restrictions": f"{self.check()}, permit_mynetworks, reject",
            # A refused recipient counts as an error of the client's.
            "smtpd_soft_error_limit": 1_000_000,
            "smtpd_hard_error_limit": 1_000_000,
            "smtpd_error_sleep_time": "0",
            "smtpd_client_connection_count_limit": 0,
            "default_process_limit": 200,
            "in_flow_delay": "0",
            "initial_destination_concurrency": 20,
            "default_destination_concurrency_limit": 50,
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.config / "main.cf").write_text(lines)
        proxy = f" -o smtpd_proxy_filter=127.0.0.1:{self.place.upstream}" if self.proxy else ""
        (self.config / "master.cf").write_text(
            _SERVICES.format(port=f"127.0.0.1:{self.port}", proxy=proxy)
        )
        done = self._control("start")
        if done.returncode:
            raise Missing(f"it does not start: {done.stderr.decode(errors='replace')[-300:]}")
        self.meter.add(int((self._queue / "pid" / "master.pid").read_text()))
        self.ready()

    def queue(self) -> Path:
        """Return the folder of its queue."""
        return self.folder / "queue"

    def check(self) -> str:
        """Return the restriction that refuses suppressed recipients."""
        table = _table()
        for name in ("suppressed", "suppressed.db"):
            os.link(table.with_name(name), self.folder / name)
        return f"check_recipient_access hash:{self.folder / 'suppressed'}"

    def stop(self) -> None:
        """End it; what is still in its queue is lost with it."""
        if (self.folder / "etc" / "master.cf").exists():
            self._control("stop")

    def _control(self, what: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            self.meter.wrapped([tool("postfix"), "-c", str(self.config), what]),
            capture_output=True,
            stdin=subprocess.DEVNULL,
            check=False,
            timeout=60,
        )


class PostfixMemory(PostfixTable):
    """An access table, the queue in memory."""

    key = "postfix-tmpfs"
    name = "Postfix, table, queue on tmpfs"

    def queue(self) -> Path:
        """Return a folder on tmpfs."""
        shared = Path("/dev/shm")
        if not shared.is_dir():
            raise Missing("there is no tmpfs at the usual place")
        return Path(tempfile.mkdtemp(prefix="sg-bench-", dir=shared))

    def stop(self) -> None:
        """End it and empty the memory."""
        super().stop()
        shutil.rmtree(self._queue, ignore_errors=True)


class PostfixPolicy(PostfixTable):
    """A policy server that asks the register, the queue on disk."""

    key = "postfix-policy"
    name = "Postfix, policy server asking Redis"
    asks = True

    def check(self) -> str:
        """Start the policy server."""
        path = self.folder / "policy.sock"
        self.spawn(
            *(sys.executable, "-m", "bench.policy", path, self.place.register.socket),
            environment={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
        return f"check_policy_service unix:{path}"


class PostfixProxy(PostfixTable):
    """No queue: each message is handed on while the client waits, as the gateway does."""

    key = "postfix-proxy"
    name = "Postfix, before-queue proxy and table"
    proxy = True


POSTFIX: tuple[type[Participant], ...] = (PostfixTable, PostfixMemory, PostfixPolicy, PostfixProxy)
