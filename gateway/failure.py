"""Failures that cross a module, and what a client may hear of them.

Every failure knows the SMTP reply (RFC 5321 code, RFC 3463 status) a client gets
for it.  The client hears only the generic line in :attr:`GatewayError.reply`; the
exception's own text is the cause and goes to the log.  A fault of ours or of the
upstream's is always temporary (4xx), so that the client keeps the message.
"""

from __future__ import annotations


class GatewayError(Exception):
    """A failure with the reply that a client hears for it.

    The exception's text is for the log: it names the cause, never a person's
    address or number.
    """

    code: int = 451
    status: str = "4.3.0"
    line: str = "Try again later"

    @property
    def temporary(self) -> bool:
        """Whether the client should keep the message and try again."""
        return 400 <= self.code < 500

    @property
    def reply(self) -> str:
        """The generic SMTP reply line, without its CRLF."""
        return f"{self.code} {self.status} {self.line}"


class RegisterUnavailable(GatewayError):
    """The register did not answer in time, or answered with an error."""

    line = "The suppression register cannot be reached; try again later"


class RecordsUnavailable(GatewayError):
    """The record, or the content that belongs to it, could not be stored."""

    line = "The message cannot be recorded; try again later"


class UpstreamUnavailable(GatewayError):
    """No upstream could be reached, or the one in use fell silent or hung up."""

    status = "4.4.1"
    line = "The upstream mail server cannot be reached; try again later"


class Overloaded(GatewayError):
    """A bound of ours is reached (connections, memory, disk, backlog, rate)."""

    status = "4.3.2"
    line = "Too busy; try again later"


class InputError(GatewayError):
    """Something a person wrote (setting, file, argument) is wrong.

    The text names the place (file and line, setting, field) and what to do; the
    command line prints it as its one line on standard error.
    """

    code = 550
    status = "5.6.0"
    line = "Bad input"


class SealError(GatewayError):
    """A sealed text cannot be opened: its key is not here (any more), or it was changed."""
