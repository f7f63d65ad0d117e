"""What a caller hears of a failure: problem details (RFC 9457).

The detail of a bad request names the member and what to do; of a fault of ours only
that it is temporary, with ``Retry-After``: the log has the cause.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from gateway.failure import (
    GatewayError,
    InputError,
    Overloaded,
    RecordsUnavailable,
    RegisterUnavailable,
    UpstreamUnavailable,
)

CONTENT_TYPE = "application/problem+json"
_TYPE = "urn:suppression-gateway:problem:"
_RETRY_AFTER = "5"


@dataclass(frozen=True, slots=True)
class BadMember:
    """One member of the request that is wrong; ``pointer`` as in RFC 6901."""

    pointer: str
    detail: str


@dataclass(slots=True)
class Problem(Exception):
    """An answer that is not what was asked for; ``kind`` ends the type's URI."""

    status: HTTPStatus
    kind: str
    detail: str
    errors: Sequence[BadMember] = ()
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.status.value} {self.kind}"

    def body(self) -> dict[str, Any]:
        """The problem details object."""
        members: dict[str, Any] = {
            "type": _TYPE + self.kind,
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
        }
        if self.errors:
            members["errors"] = [
                {"pointer": one.pointer, "detail": one.detail} for one in self.errors
            ]
        return members


def unavailable(detail: str) -> Problem:
    """Something of ours or of the upstream's is away; it is worth trying again."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "unavailable",
        detail,
        headers={"Retry-After": _RETRY_AFTER},
    )


def bad_request(detail: str, *errors: BadMember) -> Problem:
    """The request is wrong; ``errors`` say where."""
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "bad-input", detail, errors)


def not_found(detail: str) -> Problem:
    """There is no such thing."""
    return Problem(HTTPStatus.NOT_FOUND, "not-found", detail)


def problem_of(error: GatewayError) -> Problem:
    """The problem that a failure of the inner parts is to a caller."""
    if isinstance(error, InputError):
        return bad_request(str(error))
    if isinstance(
        error, RegisterUnavailable | RecordsUnavailable | UpstreamUnavailable | Overloaded
    ):
        return unavailable(error.line)
    return unavailable(GatewayError.line)
