"""The envelope commands as they leave for an upstream, and what they ask of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.wire.ehlo import Capabilities
from gateway.wire.path import MailArguments, PathError, RcptArguments

_UNSAFE = re.compile(rb"[\x00-\x1f\x7f]").search
_UNSAFE_TEXT = re.compile(r"[\x00-\x20\x7f-\x9f]").search


def _tail(params: Mapping[str, str | None]) -> bytes:
    parts = [
        f" {keyword}" if value is None else f" {keyword}={value}"
        for keyword, value in params.items()
    ]
    text = "".join(parts)
    if any(_UNSAFE_TEXT(part, 1) for part in parts):
        raise PathError("5.5.4", "Control characters are not allowed")
    return text.encode()


def _check(path: bytes) -> None:
    """No path can end its own line, whoever built it."""
    if path[:1] != b"<" or path[-1:] != b">" or _UNSAFE(path) is not None:
        raise PathError("5.5.4", "Not a path by RFC 5321")


@dataclass(frozen=True, slots=True)
class MailCommand:
    """``MAIL FROM`` as an upstream will hear it.

    Raises :class:`gateway.wire.path.PathError` where path or parameters could
    break the line.
    """

    path: bytes
    """The return path in brackets; ``b"<>"`` is the empty one."""
    params: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.path)

    @classmethod
    def of(cls, arguments: MailArguments) -> MailCommand:
        """The command that says upstream what the client said here."""
        return cls(arguments.raw_path, arguments.params)

    def lacking(self, capabilities: Capabilities) -> str | None:
        """The extension this command needs and the upstream does not offer, if any.

        SIZE is no need: the upstream that does not know it is not told.
        """
        params = self.params
        if not params:
            return None
        if not capabilities.smtputf8 and "SMTPUTF8" in params:
            return "SMTPUTF8"
        body = (params.get("BODY") or "").upper()
        if body == "BINARYMIME":
            # It needs BDAT (RFC 3030), which is not spoken here.
            return body
        if not capabilities.eight_bit and body == "8BITMIME":
            return body
        if not capabilities.dsn and ("RET" in params or "ENVID" in params):
            return "DSN"
        return None

    def line(self, capabilities: Capabilities) -> bytes:
        """The command line with its CRLF."""
        if not self.params:
            return b"MAIL FROM:%b\r\n" % self.path
        params = dict(self.params)
        if capabilities.size is None:
            params.pop("SIZE", None)
        if not capabilities.eight_bit:
            params.pop("BODY", None)
        if not capabilities.auth:
            params.pop("AUTH", None)
        return b"MAIL FROM:%b%b\r\n" % (self.path, _tail(params))


@dataclass(frozen=True, slots=True)
class RcptCommand:
    """``RCPT TO`` as an upstream will hear it; raises as :class:`MailCommand` does."""

    path: bytes
    """The recipient in brackets."""
    params: Mapping[str, str | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check(self.path)

    @classmethod
    def of(cls, arguments: RcptArguments) -> RcptCommand:
        """The command that says upstream what the client said here."""
        return cls(arguments.raw_path, arguments.params)

    def lacking(self, capabilities: Capabilities) -> str | None:
        """The extension this command needs and the upstream does not offer, if any."""
        params = self.params
        if params and not capabilities.dsn and ("NOTIFY" in params or "ORCPT" in params):
            return "DSN"
        return None

    def line(self) -> bytes:
        """The command line with its CRLF."""
        if not self.params:
            return b"RCPT TO:%b\r\n" % self.path
        return b"RCPT TO:%b%b\r\n" % (self.path, _tail(self.params))
