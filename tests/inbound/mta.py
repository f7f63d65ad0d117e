"""A Postfix of our own that takes the gateway's mail, and brings back what bounces."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.clients.conftest import tool
from tests.clients.postfix import _SERVICES, Postfix


class Mta(Postfix):
    """``async with`` it.  Mail for a domain goes to the port of ``routes``, ``*`` for others.

    Set up as docs/inbound.md says: the addresses that the gateway takes, and of these the one
    for bounces closed to all but this machine, as a recipient and as a sender.
    """

    def __init__(self, port: int, routes: Mapping[str, int]) -> None:
        tool("postfix")
        self.port = port
        # Its user must be able to reach its folder, which pytest's own keeps to itself.
        self.folder = Path(tempfile.mkdtemp(prefix="sg-mta-"))
        self.folder.chmod(0o755)
        self.config = self.folder / "etc"
        self.config.mkdir()
        for name in ("queue", "data"):
            (self.folder / name).mkdir()
        shutil.chown(self.folder / "data", "postfix")
        transport = self.config / "transport"
        transport.write_text(
            "".join(f"{domain} smtp:[127.0.0.1]:{port}\n" for domain, port in routes.items())
        )
        transport.chmod(0o644)
        taken, closed = self.config / "gateway_addresses", self.config / "gateway_closed"
        taken.write_text(r"/^(unsubscribe|bounces)(\+[^@]*)?@mail\.lamisnet\.fi$/ OK" + "\n")
        closed.write_text(r"/^bounces(\+[^@]*)?@mail\.lamisnet\.fi$/ REJECT" + "\n")
        for path in (taken, closed):
            path.chmod(0o644)
        settings = {
            "compatibility_level": "3.6",
            "queue_directory": self.folder / "queue",
            "data_directory": self.folder / "data",
            "maillog_file": self.folder / "queue" / "mail.log",
            "maillog_file_prefixes": self.folder,
            "myhostname": "mta.lamisnet.fi",
            "mydestination": "",
            "mynetworks": "127.0.0.1/32",
            "relay_domains": "mail.lamisnet.fi",
            "relay_recipient_maps": f"regexp:{taken}",
            "smtpd_recipient_restrictions": "permit_mynetworks, "
            f"check_recipient_access regexp:{closed}, check_sender_access regexp:{closed}, "
            "reject_unauth_destination",
            "inet_interfaces": "loopback-only",
            "inet_protocols": "ipv4",
            "alias_maps": "",
            "transport_maps": f"texthash:{transport}",
            "smtp_host_lookup": "native",
            "smtp_tls_security_level": "none",
            "smtpd_peername_lookup": "no",
            "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
            # An hour in a second: what is deferred is tried again at once.
            "queue_run_delay": "1s",
            "minimal_backoff_time": "1s",
            "maximal_backoff_time": "1s",
            "transport_retry_time": "1s",
        }
        lines = "".join(f"{name} = {value}\n" for name, value in settings.items())
        (self.config / "main.cf").write_text(lines)
        listens = f"127.0.0.1:{port} inet n - n - - smtpd\n"
        (self.config / "master.cf").write_text(listens + _SERVICES)
