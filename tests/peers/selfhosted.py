"""Tools that one runs oneself, as stand-ins on sockets."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from tests.peers.fleet import SECRET, TOPIC, Call, Fleet, One, Stands, iso
from tests.peers.tools.file import Cupboard
from tests.peers.tools.http import Ledger
from tests.peers.tools.listmonk import Listmonk
from tests.peers.tools.mautic import Mautic

LIST = 5


async def http(fleet: Fleet) -> None:
    """A system that speaks the small protocol of the gateway."""
    ledger = Ledger()

    def stands(address: str) -> Stands:
        return said_by([row for row in ledger.entries if row["contact"] == address])

    def call(reason: str, **more: str) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            entry = {"contact": address, "scope": "channel", "reason": reason, "at": iso(), **more}
            return Call(**ledger.webhook(SECRET, int(time.time()), entry))

        return made

    fleet.add(
        "http",
        ledger,
        await fleet.running(ledger.app),
        "t0ken",
        SECRET,
        settings={"topics": {TOPIC: "news"}},
        stands=stands,
        calls={
            **{reason: call(reason) for reason in ("objection", "bounce", "complaint")},
            "topic": call("objection", scope="topic", topic="news"),
        },
        topics=True,
        delivery=True,
        channels="email sms",
    )


async def listmonk(fleet: Fleet) -> None:
    """It calls no webhook."""
    lists = Listmonk()

    def stands(address: str) -> Stands:
        whole = lists.status(address) == "blocklisted"
        return Stands(whole, lists.subscription(address, LIST) == "unsubscribed")

    fleet.add(
        "listmonk",
        lists,
        await fleet.running(lists.app),
        "t0ken",
        "",
        settings={"username": "gateway", "topics": {TOPIC: str(LIST)}},
        stands=stands,
        topics=True,
        delivery=False,
    )


async def mautic(fleet: Fleet) -> None:
    """Its webhooks are signed over the body."""
    people = Mautic()

    def known(address: str) -> list[int]:
        return [number for number, one in people.contacts.items() if address in one.values()]

    def call(reason: int) -> Callable[[str], Call]:
        def made(address: str) -> Call:
            channel = "email" if "@" in address else "sms"
            field = {"email": address} if channel == "email" else {"mobile": address}
            number = people.contact(**field)
            people.enter(number, channel, reason)
            return Call(*people.webhook(SECRET, (number, channel, 0, reason)))

        return made

    def stands(address: str) -> Stands:
        channel = "email" if "@" in address else "sms"
        held = {people.held(number).get(channel, 0) for number in known(address)}
        return Stands(bool(held & {1, 3}), delivery="bounce" if 2 in held else "")

    fleet.add(
        "mautic",
        people,
        await fleet.running(people.app),
        "t0ken",
        SECRET,
        settings={"username": "gateway"},
        stands=stands,
        calls={"objection": call(1), "bounce": call(2)},
        topics=False,
        delivery=True,
        channels="email sms",
    )


async def file(fleet: Fleet) -> None:
    """Files in a folder: nothing calls, and nothing is asked."""
    folder = fleet.folder / "files"
    cupboard = Cupboard(folder)
    fleet.tools["file"] = One(
        cupboard,
        {"name": "file", "kind": "file", "folder": str(folder), "topics": {TOPIC: "news"}},
        lambda contact: said_by(cupboard.rows(contact)),
        calls={},
        topics=True,
        delivery=True,
        channels="email sms",
    )


def said_by(rows: Sequence[Mapping[str, str]]) -> Stands:
    """What entries of the gateway's own form say of the contact that they are about."""
    legal = [row for row in rows if row["reason"] in ("objection", "blocked")]
    return Stands(
        any(row["scope"] != "topic" for row in legal),
        any(row["scope"] == "topic" and row["topic"] == "news" for row in legal),
        next((row["reason"] for row in rows if row not in legal), ""),
    )
