"""The SMTP server for mail that comes in: the mail side's connection, another dialogue.

The main server's connection has all that is hard about SMTP (bounded reading and writing,
one write of replies to a burst, STARTTLS that forgets what came in clear, 421 for who is
silent, draining), which aiosmtpd's own protocol does not; so this is no second one on
aiosmtpd, but a dialogue of a few commands on that connection.
"""

from __future__ import annotations

from gateway.inbound.dialogue import Dialogue
from gateway.inbound.listener import Listener
from gateway.smtp.link import Conversation
from gateway.smtp.server import Server as MailServer


class Server(MailServer):
    """One connection of somebody who brings mail."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(listener)
        self._desk_listener = listener
        self.hostname = listener.hostname
        self._idle_timeout = listener.settings.timeout

    def _converse(self, address: str) -> Conversation:
        return Dialogue(self._desk_listener, self, address)
