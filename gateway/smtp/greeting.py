"""Who speaks, and what is spoken: HELO and EHLO, STARTTLS, AUTH.

RFC 5321 section 4.1.1.1, 3207 (STARTTLS), 4954 (AUTH).
"""

from __future__ import annotations

import re

import structlog

from gateway.smtp import replies
from gateway.smtp.auth import AuthAborted, read_login
from gateway.smtp.draft import Peer
from gateway.smtp.extension import offer
from gateway.smtp.identity import Identity
from gateway.smtp.link import Link
from gateway.smtp.listener import Listener
from gateway.wire.ehlo import Capabilities
from gateway.wire.lines import CommandParser, LineFault

log = structlog.get_logger(__name__)

_MAX_LOGINS = 3
_HELO = re.compile(rb"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,254}")


class Greeting:
    """One client: its name, its login, the extensions it was offered."""

    def __init__(self, listener: Listener, link: Link, address: str) -> None:
        self.ended = False
        """Whether nothing more is read once what was said has been sent."""
        self._listener = listener
        self._link = link
        self._identity = Identity(listener, address)
        self._commands = CommandParser()
        self._offered = Capabilities()
        self._helo = ""
        self._extended = False
        self._peer: Peer | None = None
        """The client's side as trace fields tell it; None: not asked since it changed."""
        self._failed_logins = 0

    @property
    def in_transaction(self) -> bool:
        """Whether MAIL has been accepted and its message not been answered."""
        raise NotImplementedError

    def _forget(self) -> None:
        """Whatever was begun is over: a greeting or a handshake begins anew."""
        raise NotImplementedError

    @property
    def _in_force(self) -> Capabilities:
        """The extensions that the client may use: none after HELO."""
        return self._offered if self._extended else Capabilities()

    # -- greeting -----------------------------------------------------------------

    def _helo_command(self, argument: bytes) -> None:
        if self._greet(argument):
            self._extended = False
            hostname = self._listener.site.settings.smtp.hostname
            self._link.say(f"250 {hostname}\r\n".encode())

    def _ehlo_command(self, argument: bytes) -> None:
        if not self._greet(argument):
            return
        self._extended = True
        site = self._listener.site
        smtp = site.settings.smtp
        names = [upstream.name for upstream in smtp.upstreams]
        client = self._identity.client
        if client is not None:
            names = list(client.upstreams)
        self._offered = offer(site.upstreams.capabilities(names), smtp.max_message_size)
        lines = [smtp.hostname, *self._offered.keywords()]
        if self._link.offers_tls:
            lines.append("STARTTLS")
        if self._may_login:
            lines.append("AUTH PLAIN LOGIN")
        last = len(lines) - 1
        for place, text in enumerate(lines):
            self._link.say(f"250{' ' if place == last else '-'}{text}\r\n".encode())

    def _greet(self, argument: bytes) -> bool:
        if not _HELO.fullmatch(argument):
            self._link.say(b"501 5.5.4 Give your host name\r\n")
            return False
        self._forget()
        self._helo = argument.decode("ascii")
        self._peer = None
        return True

    async def _starttls_command(self, argument: bytes) -> None:
        if argument:
            self._link.say(replies.SYNTAX)
            return
        if not self._link.offers_tls:
            self._link.say(b"454 4.7.0 TLS not available\r\n")
            return
        self._forget()
        # RFC 3207 section 4.2: nothing said before the handshake counts after it,
        # commands that came in the same burst as STARTTLS least of all.
        self._commands.take_rest()
        self._helo = ""
        self._extended = False
        self._peer = None
        if self._identity.login:
            self._identity.by_address()
        await self._link.start_tls()

    # -- login --------------------------------------------------------------------

    @property
    def _may_login(self) -> bool:
        has_logins = self._listener.site.credentials.has_logins
        return has_logins and (self._link.secure or self._identity.local)

    async def _auth_command(self, argument: bytes) -> None:
        site = self._listener.site
        if not self._helo or not self._extended:
            self._link.say(replies.NEED_HELO)
            return
        if not self._may_login:
            needs_tls = site.credentials.has_logins
            self._link.say(replies.NEED_TLS if needs_tls else replies.NOT_IMPLEMENTED)
            return
        if self._identity.login or self.in_transaction:
            self._link.say(b"503 5.5.1 Already authenticated or in a transaction\r\n")
            return
        try:
            username, password = await read_login(argument, self._challenge)
        except AuthAborted as error:
            site.metrics.login("aborted")
            self._link.say(replies.line(error))
            return
        client = await site.credentials.by_login(username, password)
        if client is None:
            self._refuse_login()
            return
        self._identity.become(client, username)
        self._peer = None
        site.metrics.login("accepted")
        self._link.say(b"235 2.7.0 Authentication successful\r\n")

    def _refuse_login(self) -> None:
        self._listener.site.metrics.login("refused")
        log.warning("login_refused", peer=self._identity.address)
        self._failed_logins += 1
        self._link.say(b"535 5.7.8 Authentication credentials invalid\r\n")
        if self._failed_logins >= _MAX_LOGINS:
            self._link.say(b"421 4.7.0 Too many failed logins\r\n")
            self.ended = True

    async def _challenge(self, prompt: bytes) -> bytes:
        self._link.say(b"334 " + prompt + b"\r\n")
        await self._link.flush()
        within = self._listener.site.settings.smtp.idle_timeout
        self._commands.dialogue = True
        try:
            while (line := self._commands.next_line()) is None:
                self._commands.feed(await self._link.read(within))
        finally:
            self._commands.dialogue = False
        if isinstance(line, LineFault):
            raise AuthAborted(line.name)
        return line
