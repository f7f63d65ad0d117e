"""The envelope commands as they leave for an upstream, and what they ask of it.

No path and no parameter can end its own line.  A command that is made by hand checks
its path when it is made; one that repeats what a client said (``of``) has a path out of
:mod:`gateway.wire.path`, whose grammar knows no control character; and whoever built
it, no line that would be two is ever made of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import NamedTuple, Self

from gateway.wire.ehlo import Capabilities
from gateway.wire.path import MailArguments, PathError, RcptArguments

_NO_PARAMS: Mapping[str, str | None] = {}
_CONTROLS = bytes([*range(0x20), 0x7F])
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f]").search
_UNSAFE_TEXT = re.compile(r"[\x00-\x20\x7f-\x9f]").search


class _Command(NamedTuple):
    path: bytes
    params: Mapping[str, str | None] = _NO_PARAMS


_path = attrgetter("path")
_params = attrgetter("params")
_said = attrgetter("raw_path", "params")
_trusted = tuple.__new__


class MailCommand(_Command):
    """``MAIL FROM`` as an upstream will hear it.

    Raises :class:`gateway.wire.path.PathError` where path or parameters could
    break the line.  ``path`` is the return path in brackets, ``b"<>"`` the empty one.
    """

    __slots__ = ()

    def __new__(cls, path: bytes, params: Mapping[str, str | None] = _NO_PARAMS) -> Self:
        """Raises :class:`gateway.wire.path.PathError`."""
        _check(path)
        return super().__new__(cls, path, params)

    @classmethod
    def of(cls, arguments: MailArguments) -> Self:
        """The command that says upstream what the client said here."""
        return _trusted(cls, _said(arguments))

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
        """The command line with its CRLF; raises as the class does."""
        path = self.path
        if _UNSAFE(path) is not None:
            raise PathError("5.5.4", "Control characters are not allowed")
        if not self.params:
            return b"MAIL FROM:%b\r\n" % path
        params = dict(self.params)
        if capabilities.size is None:
            params.pop("SIZE", None)
        if not capabilities.eight_bit:
            params.pop("BODY", None)
        if not capabilities.auth:
            params.pop("AUTH", None)
        return b"MAIL FROM:%b%b\r\n" % (path, _tail(params))


class RcptCommand(_Command):
    """``RCPT TO`` as an upstream will hear it; raises as :class:`MailCommand` does."""

    __slots__ = ()

    def __new__(cls, path: bytes, params: Mapping[str, str | None] = _NO_PARAMS) -> Self:
        """Raises :class:`gateway.wire.path.PathError`."""
        _check(path)
        return super().__new__(cls, path, params)

    @classmethod
    def of(cls, arguments: RcptArguments) -> Self:
        """The command that says upstream what the client said here."""
        return _trusted(cls, _said(arguments))

    @classmethod
    def all_of(cls, arguments: Iterable[RcptArguments]) -> list[Self]:
        """:meth:`of` for each of them."""
        return list(map(partial(_trusted, cls), map(_said, arguments)))

    def lacking(self, capabilities: Capabilities) -> str | None:
        """The extension this command needs and the upstream does not offer, if any."""
        params = self.params
        if params and not capabilities.dsn and ("NOTIFY" in params or "ORCPT" in params):
            return "DSN"
        return None

    def line(self) -> bytes:
        """The command line with its CRLF; raises as the class does."""
        path = self.path
        if _UNSAFE(path) is not None:
            raise PathError("5.5.4", "Control characters are not allowed")
        if not self.params:
            return b"RCPT TO:%b\r\n" % path
        return b"RCPT TO:%b%b\r\n" % (path, _tail(self.params))


def with_params(recipients: Iterable[RcptCommand]) -> bool:
    """Whether any of them has a parameter."""
    return any(map(_params, recipients))


def rcpt_lines(recipients: Sequence[RcptCommand]) -> bytes:
    """:meth:`RcptCommand.line` for each of them, in one piece."""
    if len(recipients) == 1:
        return recipients[0].line()
    if not recipients or with_params(recipients):
        return b"".join([command.line() for command in recipients])
    lines = b"RCPT TO:%b\r\n" % b"\r\nRCPT TO:".join(map(_path, recipients))
    # One look at all of them: no control characters but the CRLF of each.
    if len(lines) - len(lines.translate(None, _CONTROLS)) != 2 * len(recipients):
        raise PathError("5.5.4", "Control characters are not allowed")
    return lines


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
