"""Options of the commands about people: whom, who does it, why."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.address import read_contact
from gateway.failure import InputError

if TYPE_CHECKING:
    from gateway.serve.desk import Desk

PersonId = Annotated[
    str,
    typer.Argument(
        metavar="PERSON", help="A person's id, or an address or number that one person alone has."
    ),
]
Why = Annotated[str, typer.Option("--reason", help="Why; it is recorded.")]
Needed = Annotated[str, typer.Option("--reason", help="Why; it is recorded. Needed.")]
From = Annotated[str, typer.Option("--source", help="Where the contact came from. Needed.")]


async def person_of(desk: Desk, text: str) -> str:
    """The id of the person that a text names.

    Raises:
        InputError: it names nobody, or several.

    """
    if "@" not in text and not text.startswith("+"):
        return text
    found = await desk.people.store.of(read_contact(text))
    if not found:
        raise InputError(f"{text}: nobody has this contact; see subject add and subject link")
    if len(found) > 1:
        raise InputError(f"{text}: {len(found)} people have it; name one by id (subject find)")
    return found[0]
