"""Who the client on a connection is: known by its network, or by its login."""

from __future__ import annotations

from gateway.settings.smtp import SmtpClient
from gateway.smtp.listener import Listener


class Identity:
    """The client of one connection, counted among its connections while it lasts."""

    def __init__(self, listener: Listener, address: str) -> None:
        self.address = address
        """The peer's IP address; ``local`` on a Unix socket."""
        self.client: SmtpClient | None = None
        """None while nobody is known."""
        self.login = ""
        """The user name logged in with."""
        self._listener = listener
        self._known_to = listener.site

    @property
    def local(self) -> bool:
        """Whether what is said stays on this machine."""
        return self.address in ("::1", "local") or self.address.startswith("127.")

    def by_address(self) -> None:
        """Be whom the address belongs to, if anybody; a login is forgotten.

        Raises:
            TooManyConnections: the client holds as many as it may.

        """
        self.login = ""
        self.become(self._listener.site.credentials.by_address(self.address))

    def become(self, client: SmtpClient | None, login: str = "") -> None:
        """Be this client from now on; raises TooManyConnections."""
        known, self.client = self.client, None
        if known is not None:
            self._listener.limits.leave(known)
        if client is not None:
            self._listener.limits.enter(client)
            self.client = client
            self.login = login

    def recognise(self) -> bool:
        """After a reload, be what the new configuration says; True: it was asked anew."""
        site = self._listener.site
        if site is self._known_to:
            return False
        self._known_to = site
        if self.login:
            self.become(site.credentials.by_username(self.login), self.login)
            if self.client is None:
                self.login = ""
        else:
            self.by_address()
        return True
