"""What a form sends, in either of the two ways that RFC 8058 and HTML know."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from urllib.parse import parse_qsl

from gateway.bounce.part import parameters, parts_of
from gateway.failure import InputError

LARGEST: Final = 32 * 1024
"""Octets of a body that is read: our forms send a few hundred."""
_FIELDS: Final = 30


class FormError(InputError):
    """A body is no form of ours: too long, or with too many fields."""


def read_form(content_type: str, body: bytes) -> dict[str, str]:
    """The fields by name, of each name the first.

    ``multipart/form-data`` (RFC 7578) is read as such, anything else as
    ``application/x-www-form-urlencoded``: who refuses with a wrong header refuses too.

    Raises FormError.
    """
    if len(body) > LARGEST:
        raise FormError("the form is too long")
    multipart = content_type.partition(";")[0].strip().lower() == "multipart/form-data"
    fields: dict[str, str] = {}
    for number, (name, value) in enumerate(
        _parts(content_type, body) if multipart else _pairs(body)
    ):
        if number >= _FIELDS:
            raise FormError("the form has too many fields")
        fields.setdefault(name, value)
    return fields


def is_one_click(fields: dict[str, str]) -> bool:
    """Whether it is the form that RFC 8058 section 3.2 asks mail programs to send."""
    return any(
        name.strip().lower() == "list-unsubscribe" and value.strip().lower() == "one-click"
        for name, value in fields.items()
    )


def _pairs(body: bytes) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            body.decode("utf-8", "replace").strip("\r\n"),
            keep_blank_values=True,
            errors="replace",
            max_num_fields=_FIELDS,
        )
    except ValueError:
        raise FormError("the form has too many fields") from None


def _parts(content_type: str, body: bytes) -> Iterator[tuple[str, str]]:
    """The fields of parts.  A form nests nothing, and each part is read in bounded time."""
    head = f"Content-Type: {content_type}\r\n\r\n".encode("latin-1", "replace")
    for part in parts_of(head + body):
        name = parameters(part.headers.first(b"content-disposition") or "").get("name")
        if name is not None:
            yield name, part.body.decode("utf-8", "replace")
