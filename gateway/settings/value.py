"""The types that settings are made of, each with its own check and what to write instead."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, ClassVar

from gateway.contacts.contact import ContactError
from gateway.contacts.parse import parse_domain
from gateway.decision.facts import Kind
from gateway.settings.bound import Bound, Checked

MIB = 1024 * 1024
is_plain_address = re.compile(r"[!-;=?A-~]+@[A-Za-z0-9.-]+").fullmatch
"""Whether a text is an address that a header field can hold as it is."""


class ClientKind(StrEnum):
    """The kind of a client's messages; ``declared`` leaves it to each message."""

    MARKETING = "marketing"
    SERVICE = "service"
    TRANSACTIONAL = "transactional"
    NOTICE = "notice"
    DECLARED = "declared"


CLIENT_KINDS: dict[ClientKind, Kind] = {
    ClientKind.MARKETING: Kind.MARKETING,
    ClientKind.SERVICE: Kind.SERVICE,
    ClientKind.TRANSACTIONAL: Kind.TRANSACTIONAL,
    ClientKind.NOTICE: Kind.NOTICE,
    ClientKind.DECLARED: Kind.UNCLEAR,
}


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("write it as host:port, for instance 127.0.0.1:2525 or [::1]:2525")
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}; write a network as 10.0.0.0/8 or one address") from None
    return value


def _domain(value: str) -> str:
    try:
        return parse_domain(value)
    except ContactError as error:
        raise ValueError(str(error)) from None


def valid_business_id(value: str) -> str:
    """A Y-tunnus with its check digit, or nothing; raises ValueError."""
    if not value:
        return value
    # Late: only who reads a configuration asks it.
    from stdnum.fi import ytunnus

    if not ytunnus.is_valid(value):
        raise ValueError("not a valid Y-tunnus (NNNNNNN-C with its check digit)")
    return value


Listen = Annotated[str, Checked(_listen)]
Network = Annotated[str, Checked(_network)]
Domain = Annotated[str, Checked(_domain)]
Name = Annotated[str, Bound(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Count = Annotated[int, Bound(ge=1)]
Seconds = Annotated[float, Bound(gt=0)]


class Table:
    """A table of settings: no unknown names."""

    __slots__ = ()
    __pydantic_config__: ClassVar = {"extra": "forbid"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate(Table):
    """The certificate that a listener shows."""

    certificate: Path
    key: Path
