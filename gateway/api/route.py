"""One thing that may be asked: method, path, who may, what comes in and goes out.

The table of routes is what the server serves and what the OpenAPI document describes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import IO

from pydantic import BaseModel

from gateway.api.account import Permission
from gateway.api.desk import Call


@dataclass(frozen=True, slots=True)
class Document:
    """An answer that is a file."""

    content_type: str
    octets: bytes


@dataclass(frozen=True, slots=True)
class Download:
    """An answer that is a file of any size; whoever sends it closes it."""

    content_type: str
    name: str
    file: IO[bytes]


Handler = Callable[[Call], Awaitable[BaseModel | Document | Download | None]]


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
    """The types of a :class:`Document` or :class:`Download` that it may answer with."""
    takes: Sequence[str] = ()
    """The types of a body that is taken as it is (:attr:`Call.octets`), its options in
    the query; for a JSON body the options stand in it."""
    large: bool = False
    """Whether a body of ``api.max_import`` octets is taken, not only of ``api.max_body``."""
    seconds: float | None = None
    """How long it may take, where that is longer than ``api.timeout``."""

    @property
    def places(self) -> Sequence[str]:
        """The names of the places in the path."""
        return [part[1:-1] for part in self.path.split("/") if part.startswith("{")]
