"""One thing that may be asked: method, path, who may, what comes in and goes out.

The table of routes is what the server serves and what the OpenAPI document describes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from pydantic import BaseModel

from gateway.api.account import Permission
from gateway.api.desk import Call


@dataclass(frozen=True, slots=True)
class Document:
    """An answer that is a file."""

    content_type: str
    octets: bytes


Handler = Callable[[Call], Awaitable[BaseModel | Document | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A path and what happens there."""

    method: str
    path: str
    """With places in braces, as OpenAPI and the server write them."""
    summary: str
    permission: Permission | None
    """None: any known account."""
    handler: Handler
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    answer: type[BaseModel] | None = None
    status: HTTPStatus = HTTPStatus.OK
    tag: str = ""
    may_miss: bool = False
    """Whether it answers 404 for a thing that is not there."""

    may_conflict: bool = False
    """Whether it answers 409 where something stands against it."""
    produces: Sequence[str] = ()
    """The types of a :class:`Document` that it may answer with."""

    @property
    def places(self) -> Sequence[str]:
        """The names of the places in the path."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
