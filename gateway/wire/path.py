"""Reads what follows ``MAIL`` and ``RCPT``: a path and its parameters.

The grammar is RFC 5321 § 4.1.2 with the UTF-8 of RFC 6531, taken strictly: a path
stands in angle brackets, an address literal is an IPv4 or IPv6 address, a source
route is read and dropped (RFC 5321 appendix C).  The limit is the 256 octets of a
path (§ 4.5.3.1.3); the 64 octets of a local part are not enforced, because return
paths of mailing tools exceed them and whoever judges the address judges that too.

What leaves here has no CR, LF, NUL or other control character in it, ever: neither
a header field nor a command line made of it can be split.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from functools import partial
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import NamedTuple, cast

from gateway.failure import GatewayError

MAX_PATH = 256
"""Octets of a path with its brackets (RFC 5321 § 4.5.3.1.3)."""
_MAX_DOMAIN = 255
_NO_PARAMS: Mapping[str, str | None] = {}
_MAX_LABEL = 63

_MAIL_SYNTAX = "Syntax: MAIL FROM:<address> [parameters]"
_RCPT_SYNTAX = "Syntax: RCPT TO:<address> [parameters]"


class PathError(GatewayError):
    """A path or parameter that is not what the RFC says; the client hears why.

    The line names the rule that was broken, never the address.
    """

    code = 501

    def __init__(self, status: str, line: str, code: int = 501) -> None:
        """``status`` is the RFC 3463 code, ``line`` what the client hears after it."""
        super().__init__(line)
        self.code = code
        self.status = status
        self.line = line


class MailArguments(NamedTuple):
    """What ``MAIL`` said: the return path (empty for ``<>``) and its parameters."""

    address: str
    """The mailbox as written, without brackets and source route."""
    raw_path: bytes
    """The same in brackets, byte for byte, ready to follow ``FROM:``."""
    params: Mapping[str, str | None] = _NO_PARAMS
    """Parameters by upper-case keyword, in the order given; None has no value."""

    @property
    def international(self) -> bool:
        """Whether the address needs SMTPUTF8 (RFC 6531)."""
        return not self.address.isascii()


class RcptArguments(NamedTuple):
    """What ``RCPT`` said: a recipient and its parameters, as in :class:`MailArguments`.

    ``<Postmaster>`` alone is the one address without a domain (RFC 5321 § 4.5.1).
    """

    address: str
    raw_path: bytes
    params: Mapping[str, str | None] = _NO_PARAMS

    @property
    def international(self) -> bool:
        """Whether the address needs SMTPUTF8 (RFC 6531)."""
        return not self.address.isascii()


# Made by the dozen for one burst: not by way of the named tuple's own constructor.
_rcpt = cast(
    "Callable[[tuple[str, bytes, Mapping[str, str | None]]], RcptArguments]",
    partial(tuple.__new__, RcptArguments),
)

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_LABEL = r"[A-Za-z0-9]++(?:-++[A-Za-z0-9]++)*+"
_ADDRESS = rf"{_ATOM}(?:\.{_ATOM})*+@{_LABEL}(?:\.{_LABEL})*+"
_FAST_MAIL = re.compile(rf"(?i:FROM): *+<({_ADDRESS})?>(?: ++(.*))?".encode(), re.DOTALL).fullmatch
_FAST_RCPT = re.compile(rf"(?i:TO): *+<({_ADDRESS})>(?: ++(.*))?".encode(), re.DOTALL).fullmatch
_ONE_RCPT = re.compile(rf"(?i:RCPT TO:)(<({_ADDRESS})>)\r\n".encode()).fullmatch
_RUN_OF_RCPT = re.compile(rf"(?i:RCPT TO:)<({_ADDRESS})>\r\n".encode()).findall
_RCPT_AROUND = len("RCPT TO:<>\r\n")

_U_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\U0010ffff-]++"
_U_LABEL = r"[A-Za-z0-9\x80-\U0010ffff]++(?:-++[A-Za-z0-9\x80-\U0010ffff]++)*+"
_U_DOMAIN = rf"{_U_LABEL}(?:\.{_U_LABEL})*+"
_QUOTED = r'"(?:[ !#-\[\]-~\x80-\U0010ffff]|\\[ -~])*+"'
_LITERAL = r"\[[0-9A-Za-z:.]++\]"
_HOST = rf"(?:{_U_DOMAIN}|{_LITERAL})"
_PATH = re.compile(
    rf"<(?:@{_HOST}(?:,@{_HOST})*+:)?"
    rf"(?P<address>(?:{_U_ATOM}(?:\.{_U_ATOM})*+|{_QUOTED})@(?P<domain>{_HOST}))>"
    r"(?: ++(?P<params>.*))?",
    re.DOTALL,
).fullmatch
_EMPTY = re.compile(r"<>(?: ++(?P<params>.*))?", re.DOTALL).fullmatch
_POSTMASTER = re.compile(
    r"<(?P<address>(?i:postmaster))>(?: ++(?P<params>.*))?", re.DOTALL
).fullmatch
_BRACKETED = re.compile(r"<(?:\"(?:[^\"\\]|\\.)*+\"|[^>\"])*+>", re.DOTALL).match

_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]*+)(?:=([!-<>-~\x80-\U0010ffff]++))?").fullmatch
_XTEXT = r"(?:[!-*,-<>-~]|\+(?:[2-689A-F][0-9A-F]|7[0-9A-E]))"
_CHECKS = {
    # RFC 1870, 6152 and 3030, 4954
    "SIZE": re.compile(r"[0-9]{1,20}").fullmatch,
    "BODY": re.compile(r"(?i:7BIT|8BITMIME|BINARYMIME)").fullmatch,
    "AUTH": re.compile(rf"<>|{_XTEXT}{{1,500}}+").fullmatch,
    # RFC 3461 § 4 (an encoded control character is refused too), RFC 6533 § 3
    "RET": re.compile(r"(?i:FULL|HDRS)").fullmatch,
    "ENVID": re.compile(rf"{_XTEXT}{{1,100}}+").fullmatch,
    "NOTIFY": re.compile(
        r"(?i:NEVER|(?:SUCCESS|FAILURE|DELAY)(?:,(?:SUCCESS|FAILURE|DELAY)){0,2})"
    ).fullmatch,
    "ORCPT": re.compile(
        rf"(?:{_ATOM};{_XTEXT}{{1,500}}+|(?i:utf-8);(?:{_XTEXT}|[\x80-\U0010ffff]){{1,500}}+)"
    ).fullmatch,
}
_WITHOUT_VALUE = frozenset({"SMTPUTF8"})


def parse_mail(arg: bytes) -> MailArguments:
    """Reads the text after ``MAIL``, such as ``b"FROM:<a@b.example> SIZE=10"``.

    Raises :class:`PathError` (501 5.5.4, 5.1.7).
    """
    match = _FAST_MAIL(arg)
    if match is not None:
        address, rest = match.groups()
        if address is None:
            return MailArguments("", b"<>", _parameters(rest) if rest else _NO_PARAMS)
        if len(address) <= MAX_PATH - 2 and _domain_fits(address):
            text = address.decode()
            return MailArguments(text, b"<%b>" % address, _parameters(rest) if rest else _NO_PARAMS)
    address, params = _slow(arg, "FROM:", _MAIL_SYNTAX, "5.1.7")
    return MailArguments(address, f"<{address}>".encode(), params)


def parse_rcpt(arg: bytes) -> RcptArguments:
    """Reads the text after ``RCPT``, such as ``b"TO:<a@b.example> NOTIFY=NEVER"``.

    Raises :class:`PathError` (501 5.5.4, 5.1.3).
    """
    match = _FAST_RCPT(arg)
    if match is not None:
        address, rest = match.groups()
        if len(address) <= MAX_PATH - 2 and _domain_fits(address):
            text = address.decode()
            return RcptArguments(text, b"<%b>" % address, _parameters(rest) if rest else _NO_PARAMS)
    address, params = _slow(arg, "TO:", _RCPT_SYNTAX, "5.1.3")
    return RcptArguments(address, f"<{address}>".encode(), params)


def parse_rcpt_run(run: bytes) -> list[RcptArguments] | None:
    """Reads many whole RCPT lines at once, each with its verb and CRLF.

    The same as :func:`parse_rcpt` of each; None where any of them is not of the
    simplest form (no parameters, no space to spare, a short ASCII address).
    """
    one = _ONE_RCPT(run)
    if one is not None:
        path, address = one.groups()
        if len(address) > _MAX_LABEL:
            return None
        return [_rcpt((address.decode(), path, _NO_PARAMS))]
    addresses: list[bytes] = _RUN_OF_RCPT(run)
    octets = sum(map(len, addresses))
    # What is found covers every octet of the run, or there is something else in it.
    if octets + _RCPT_AROUND * len(addresses) != len(run) or not addresses:
        return None
    if len(max(addresses, key=len)) > _MAX_LABEL:
        return None
    texts = b" ".join(addresses).decode().split(" ")
    return [
        _rcpt((text, b"<%b>" % address, _NO_PARAMS))
        for text, address in zip(texts, addresses, strict=True)
    ]


def _domain_fits(address: bytes) -> bool:
    """Whether no label can be too long, told without splitting the usual address."""
    if len(address) <= _MAX_LABEL:
        return True
    domain = address[address.rindex(b"@") + 1 :]
    return len(domain) <= _MAX_LABEL or max(map(len, domain.split(b"."))) <= _MAX_LABEL


def _slow(arg: bytes, keyword: str, syntax: str, status: str) -> tuple[str, dict[str, str | None]]:
    """The whole grammar: quoted local parts, literals, routes, UTF-8, errors."""
    try:
        text = arg.decode()
    except UnicodeDecodeError:
        raise PathError(status, "The address is not UTF-8") from None
    if any(_forbidden(character) for character in text):
        raise PathError(status, "Control characters are not allowed")
    if not text[: len(keyword)].upper() == keyword:
        raise PathError("5.5.4", syntax)
    text = text[len(keyword) :].lstrip(" ")
    if not text.startswith("<"):
        raise PathError("5.5.4", syntax)
    bracketed = _BRACKETED(text)
    if bracketed is not None and len(bracketed[0].encode()) > MAX_PATH:
        raise PathError(status, f"A path has at most {MAX_PATH} octets")
    mail = keyword == "FROM:"
    if mail and (empty := _EMPTY(text)) is not None:
        return "", _parameters((empty["params"] or "").encode())
    match = _PATH(text)
    if match is not None:
        _check_domain(match["domain"], status)
    elif mail or (match := _POSTMASTER(text)) is None:
        raise PathError(status, "Not a mailbox by RFC 5321")
    return match["address"], _parameters((match["params"] or "").encode())


def _forbidden(character: str) -> bool:
    """C0, DEL and C1 controls, and every separator other than the plain space."""
    if " " <= character <= "~":
        return False
    return unicodedata.category(character) in ("Cc", "Zs", "Zl", "Zp")


def _check_domain(domain: str, status: str) -> None:
    if domain.startswith("["):
        literal = domain[1:-1]
        try:
            if literal[:5].upper() == "IPV6:":
                IPv6Address(literal[5:])
            else:
                IPv4Address(literal)
        except AddressValueError:
            raise PathError(status, "Not an address literal by RFC 5321") from None
        return
    encoded = domain.encode()
    # An internationalised label may be longer in UTF-8 than as the A-label it stands for.
    limit = _MAX_LABEL if domain.isascii() else 4 * _MAX_LABEL
    if len(encoded) > _MAX_DOMAIN or max(map(len, encoded.split(b"."))) > limit:
        raise PathError(status, "The domain is too long")


def _parameters(text: bytes) -> dict[str, str | None]:
    """``KEYWORD[=value]`` separated by spaces, each keyword once."""
    params: dict[str, str | None] = {}
    try:
        words = text.decode().split(" ")
    except UnicodeDecodeError:
        raise PathError("5.5.4", "A parameter is not UTF-8") from None
    for word in words:
        if not word:
            continue
        match = _PARAMETER(word)
        if match is None or (not word.isascii() and any(map(_forbidden, word))):
            raise PathError("5.5.4", "Not a parameter by RFC 5321")
        keyword, value = match[1].upper(), match[2]
        if keyword in params:
            raise PathError("5.5.4", f"{keyword[:32]} is given twice")
        check = _CHECKS.get(keyword)
        if check is not None and (value is None or check(value) is None):
            raise PathError("5.5.4", f"Bad value of {keyword}")
        if value is not None and keyword in _WITHOUT_VALUE:
            raise PathError("5.5.4", f"{keyword} has no value")
        params[keyword] = value
    return params
