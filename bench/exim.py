"""Exim with its own Redis look-up, queueing and cutting through."""

from __future__ import annotations

import os
from typing import ClassVar

from bench import eximbuild
from bench.dataset import PLAIN
from bench.machine import Missing, end
from bench.participant import Participant

_CONFIG = """\
primary_hostname = exim.example
exim_path = {program}
keep_environment =
spool_directory = {spool}
log_file_path = {spool}/%slog
pid_file_path = {spool}/exim.pid
log_selector = -all
message_logs = false
write_rejectlog = false
split_spool_directory
deliver_drop_privilege
local_interfaces = 127.0.0.1
daemon_smtp_ports = {port}
chunking_advertise_hosts =
rfc1413_query_timeout = 0s
host_lookup =
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
smtp_accept_max_nonmail_hosts =
smtp_accept_max_per_connection = 0
smtp_connect_backlog = 512
smtp_max_synprot_errors = 0
smtp_max_unknown_commands = 1000000
queue_run_max = 20
remote_max_parallel = 20
redis_servers = <, 127.0.0.1:{register}//
acl_smtp_rcpt = rcpt

begin acl
rcpt:
  deny condition = ${{lookup redis{{SISMEMBER {key} ${{quote_redis:$local_part@$domain}}}}}}
{cut}  accept

begin routers
sink:
  driver = manualroute
  route_list = * 127.0.0.1::{sink} byname
  self = send
  transport = smtp

begin transports
smtp:
  driver = smtp
  allow_localhost
  hosts_try_chunking =
  max_rcpt = 1000

begin retry
* * F,1h,1s
"""


class EximQueue(Participant):
    """Each message into the queue and at once out of it."""

    key = "exim-queue"
    name = "Exim, Redis look-up, queue"
    cut: ClassVar[str] = ""

    def start(self) -> None:
        """Write its configuration and start it."""
        if os.geteuid() != 0:
            raise Missing("Exim has to be started by root")
        program = eximbuild.program()
        spool = self.folder / "spool"
        spool.mkdir()
        os.chown(spool, eximbuild.UID, eximbuild.UID)
        config = self.folder / "exim.conf"
        config.write_text(
            _CONFIG.format(
                program=program,
                spool=spool,
                port=self.port,
                sink=self.place.upstream,
                register=self.place.register.port,
                key=PLAIN,
                cut=self.cut,
            )
        )
        process = self.spawn(program, "-C", config, "-bdf", "-q1m")
        try:
            self.ready(process)
        except Missing as error:
            raise Missing(f"{error}: {self.output().strip()[-300:]}") from None

    def stop(self) -> None:
        """End the daemon, then what it left."""
        for process in self._processes:
            end(process)
        for pid in self.meter.pids():
            try:
                os.kill(pid, 9)
            except ProcessLookupError:
                continue


class EximCutThrough(EximQueue):
    """Each message handed on while the client waits, as the gateway does."""

    key = "exim-cut"
    name = "Exim, Redis look-up, cut-through"
    cut = "  warn control = cutthrough_delivery\n"


EXIM: tuple[type[Participant], ...] = (EximQueue, EximCutThrough)
