"""Who says that the register is whole while no gateway runs: the command itself."""

from __future__ import annotations

import contextlib
from pathlib import Path

from gateway.failure import GatewayError
from gateway.register.register import Register
from gateway.register.whole import NotWhole
from gateway.serve.place import archive_place
from gateway.settings import Settings


async def vouch(settings: Settings, register: Register) -> None:
    """Compare the register with the archive, where no running gateway has done it.

    A command starts the embedded register anew, so that nobody has yet.  Where the
    archive cannot be read or knows more, look-ups raise NotWhole, and changes can be
    made all the same.
    """
    try:
        await register.current.require_whole()
    except NotWhole:
        with contextlib.suppress(GatewayError):
            await register.current.examine(await _cursors(settings))
    except GatewayError:
        return  # the command itself will say so


async def _cursors(settings: Settings) -> dict[bytes, bytes]:
    place = archive_place(settings)
    if isinstance(place, Path) and not place.exists():
        return {}
    # Late: the database's library takes a third of a second.
    from gateway.records.events import EventArchive
    from gateway.serve.stores import open_database

    database = await open_database(settings)
    try:
        return await EventArchive(database).cursors()
    finally:
        await database.aclose()
