"""Mailgun: the bounces, unsubscribes and complaints of one sending domain.

What is new is read from the events, not from the lists: these are in the order of the
alphabet and know no time, so that one new entry would cost reading all of them.  What
somebody adds to a list by hand, by a file or by the API makes no event; it is told by the
full listing.

An event of an unsubscribe does not say whether the person refused all of the domain's
mail or the message's tags.  Where tags stand for topics, ``changes`` asks the list; a
webhook, which cannot ask, tells the tags alone.  Where they do not, all is refused.
https://documentation.mailgun.com/docs/mailgun/api-reference/openapi-final/tag/Unsubscribe/
https://documentation.mailgun.com/docs/mailgun/user-manual/events/
https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import partial
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

from gateway.clock import Clock, now_ms
from gateway.connector.answer import document, object_in, objects_at, unreadable
from gateway.connector.asking import basic, post
from gateway.connector.bookmark import Bookmark
from gateway.connector.connector import (
    Connector,
    Exchange,
    Holds,
    HookRefused,
    Page,
    Place,
    Put,
    ToolUnreadable,
)
from gateway.connector.halving import put_halving
from gateway.connector.mailgunevent import Told, is_lost, noted, read_event, tags_of, verify
from gateway.connector.saying import email_of, mail_ms, text
from gateway.connector.setting import lacking
from gateway.connector.suppression import DELIVERY, Change, Reason, Said, Suppression
from gateway.connector.topics import Topics
from gateway.connector.webhook import hook_document
from gateway.contacts.contact import Channel, Contact
from gateway.entry.entry import Scope
from gateway.provider.request import Answer, Request

_LISTS: Final = {
    "unsubscribes": Reason.OBJECTION,
    "complaints": Reason.COMPLAINT,
    "bounces": Reason.BOUNCE,
}
_NAMES: Final = tuple(_LISTS)
_EVENTS: Final = (
    (("event", "unsubscribed OR complained"),),
    (("event", "failed"), ("severity", "permanent")),
)
"""What is asked of the events, part by part."""
_ALL: Final = "*"
_NOT_TAKEN: Final = "Mailgun does not take this address"
_LIST_PAGE: Final = 1000
_EVENT_PAGE: Final = 300

_is_domain = re.compile(r"(?:[A-Za-z0-9_-]{1,63}\.)+[A-Za-z0-9-]{2,63}").fullmatch
_is_path = re.compile(r"[!-~]+").fullmatch


class Mailgun(Connector):
    """``place`` is the sending domain, ``secret`` an API key, ``webhook_secret`` the
    webhook signing key; ``topics`` are tags."""

    kind = "mailgun"
    title = "Mailgun"
    url = "https://api.mailgun.net"
    most = 1000

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        if not place.secret:
            raise lacking(place, "secret_file", "name a file with an API key")
        if not _is_domain(place.place):
            raise lacking(place, "place", "write the sending domain, as mg.example.com")
        for topic, tag in place.topics:
            if not tag or tag == _ALL:
                raise lacking(place, f"topics.{topic}", "write a tag")
        super().__init__(replace(place, url=place.url or self.url), clock)
        self._topics = Topics(place)
        self._root = f"/v3/{place.place}"

    @property
    def holds(self) -> Holds:
        """All mail of the domain, and the tags that the settings name."""
        return Holds(
            scopes=self._topics.scopes,
            channels=frozenset({Channel.EMAIL}),
            topics=self._topics.names,
            delivery=DELIVERY,
        )

    def warnings(self) -> list[str]:
        """What its lists do, and do not do."""
        told = [
            "an unsubscribe from all stops contract messages of this domain too",
            "its lists are of one domain: name each domain that sends as a tool of its own",
        ]
        if self._topics.names:
            told.append(
                "a webhook tells an unsubscribe as one of the message's tags; "
                "that it is one of all is told by reading, so leave pull on"
            )
        return told

    # -- what is asked ----------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """The events since, oldest first, page by page until one is empty."""
        place = Bookmark.resume(cursor, self.clock())
        if place.part >= len(_EVENTS):
            raise ToolUnreadable("the cursor is none of this connector's")
        root = f"{self._root}/events"
        pairs = (
            ("begin", str(place.since // 1000)),
            ("ascending", "yes"),
            ("limit", str(_EVENT_PAGE)),
            *_EVENTS[place.part],
        )
        answer = yield self._asking(root, place.next, pairs)
        items, after = self._read(answer, root, place.next)
        changes: list[Change] = []
        bad = 0
        scopes: dict[str, tuple[str | None, ...]] = {}
        for item in items:
            told = read_event(item)
            if told is None:
                bad += is_lost(item)
                continue
            topics = self._said(told)
            if topics != (None,):
                name = told.contact.canonical
                if name not in scopes:
                    scopes[name] = yield from self._look_up(told.contact, topics)
                topics = scopes[name]
            changes += _changes(told, topics)
        if items and after:
            following, more = place.follow(after), True
        elif place.part + 1 < len(_EVENTS):
            following, more = place.turn(), True
        else:
            following, more = place.close(), False
        return Page(tuple(changes), following.cursor, more, bad)

    def listing(self, cursor: str) -> Exchange[Page]:
        """A page of one of the lists."""
        place = Bookmark.read(cursor)
        if place.part >= len(_NAMES):
            raise ToolUnreadable("the cursor is none of this connector's")
        name = _NAMES[place.part]
        root = f"{self._root}/{name}"
        answer = yield self._asking(root, place.next, (("limit", str(_LIST_PAGE)),))
        items, after = self._read(answer, root, place.next)
        changes: list[Change] = []
        bad = 0
        for item in items:
            contact = email_of(item.get("address"))
            if contact is None:
                bad += 1
                continue
            at, note = mail_ms(item.get("created_at")), noted(name, item)
            entry = Told(_LISTS[name], contact, note, tags_of(item), at, "")
            topics = self._refused(entry.tags) if name == "unsubscribes" else (None,)
            changes += _changes(entry, topics)
        if items and after:
            following = place.follow(after)
        elif place.part + 1 < len(_NAMES):
            following = place.turn()
        else:
            return Page(tuple(changes), "", False, bad)
        return Page(tuple(changes), following.cursor, True, bad)

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """Each list's at once.  To a tag what is refused already is added, not lost."""
        results: dict[int, Put] = {}
        wanted: dict[str, dict[str, list[int]]] = {name: {} for name in _NAMES}
        for number, entry in enumerate(entries):
            if entry.scope is Scope.TOPIC and self._topics.theirs(entry.topic) is None:
                results[number] = Put(False, "this topic has no tag there", final=True)
                continue
            name = "unsubscribes"
            if not entry.reason.legal:
                name = "bounces" if entry.reason is Reason.BOUNCE else "complaints"
            wanted[name].setdefault(entry.contact.canonical, []).append(number)
        for name, by_address in wanted.items():
            items = []
            for canonical, numbers in by_address.items():
                item: dict[str, Any] = {"address": canonical}
                if name == "unsubscribes":
                    item["tags"] = yield from self._tags([entries[one] for one in numbers])
                times = [at for one in numbers if (at := entries[one].at) is not None]
                if times:
                    moment = datetime.fromtimestamp(min(times) / 1000, UTC)
                    item["created_at"] = format_datetime(moment, usegmt=True)[:-3] + "UTC"
                items.append(item)
            found = yield from put_halving(items, partial(self._put, name), _NOT_TAKEN)
            for numbers, put in zip(by_address.values(), found, strict=True):
                results |= dict.fromkeys(numbers, put)
        return [results[number] for number in range(len(entries))]

    def prepare(self, request: Request, now: int) -> Request:
        """The request with the key (Basic, as the user ``api``)."""
        return request.with_headers({"Authorization": basic("api", self.place.secret)})

    def _put(self, name: str, items: Sequence[dict[str, Any]]) -> Exchange[list[Put] | None]:
        answer = yield post(f"{self._root}/{name}", list(items))
        if answer.status in (400, 413):
            return None
        if not text(document(answer, self), "message"):
            raise unreadable(self, "no message")
        return [Put(True)] * len(items)

    def _tags(self, entries: Sequence[Suppression]) -> Exchange[list[str]]:
        """What an address refuses: what is wanted, and what it refuses already.

        Whether Mailgun would keep the old tags beside new ones is not documented.
        """
        if any(entry.scope is not Scope.TOPIC for entry in entries):
            return [_ALL]
        tags = {self._topics.theirs(entry.topic) or _ALL for entry in entries}
        there = yield from self._standing(entries[0].contact)
        tags |= set(there or ())
        return [_ALL] if _ALL in tags else sorted(tags)

    def _look_up(
        self, contact: Contact, topics: tuple[str | None, ...]
    ) -> Exchange[tuple[str | None, ...]]:
        """What a person who has unsubscribed refuses; these topics where nothing stands there."""
        tags = yield from self._standing(contact)
        return topics if tags is None else self._refused(tags)

    def _standing(self, contact: Contact) -> Exchange[list[str] | None]:
        """The tags that stand in the list for an address; None: it is not there."""
        path = f"{self._root}/unsubscribes/{quote(contact.canonical, safe='')}"
        answer = yield Request("GET", path)
        if answer.status == 404:
            return None
        return [*tags_of(object_in(answer, self))] or [_ALL]

    def _asking(self, root: str, after: str, pairs: tuple[tuple[str, str], ...]) -> Request:
        """The request of a page; raises ToolUnreadable for a cursor that leads elsewhere."""
        if not after:
            return Request("GET", root, urlencode(pairs, quote_via=quote))
        path, _, query = after.partition("?")
        if not _below(path, root):
            raise ToolUnreadable("the cursor is none of this connector's")
        return Request("GET", path, query)

    def _read(self, answer: Answer, root: str, asked: str) -> tuple[list[dict[str, Any]], str]:
        """The items of a page, and the path and query of the next; "" where there is none."""
        told = document(answer, self)
        items = objects_at(told, "items", self)
        if not items:
            return [], ""
        try:
            named = urlsplit(text(told.get("paging"), "next"))
        except ValueError:
            raise unreadable(self, "a next page that is no URL") from None
        base = urlsplit(self.place.url)
        path = named.path.removeprefix(base.path)
        here = (named.scheme, named.netloc) == (base.scheme, base.netloc)
        if not here or not named.path.startswith(base.path) or not _below(path, root):
            raise ToolUnreadable(
                f"Mailgun names a next page elsewhere: see that sync.tools {self.place.name}: "
                f"url is the host of the domain's region"
            )
        after = f"{path}?{named.query}" if named.query else path
        if not _is_path(after):
            raise unreadable(self, "a next page that is no URL")
        return items, "" if after == asked else after

    # -- what is told -----------------------------------------------------------------

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """Permanent failures of the address, complaints and unsubscribes.

        The body is not signed, only a time and a token: see :meth:`replays`.
        What cannot be read is refused with 406, by which Mailgun does not try again.
        """
        document = hook_document(request.body, http=406)
        verify(document, self.place, now)
        item = document.get("event-data")
        if not isinstance(item, dict) or not text(item, "event"):
            raise HookRefused("no event", http=406)
        told = read_event(item)
        return () if told is None else tuple(_changes(told, self._said(told)))

    def replays(self, request: Request) -> str:
        """The token, which is used once: whoever has seen a call could send any event by it."""
        document = hook_document(request.body, http=406)
        return text(document.get("signature") if isinstance(document, dict) else None, "token")

    def _said(self, told: Told) -> tuple[str | None, ...]:
        """What an event refuses, as far as it says; (None,): all of the channel."""
        if told.reason is not Reason.OBJECTION or not self._topics.names:
            return (None,)
        return self._refused(told.tags)

    def _refused(self, tags: Sequence[str]) -> tuple[str | None, ...]:
        """The topics of these tags; (None,): all of the channel."""
        if not tags or _ALL in tags:
            return (None,)
        return tuple(dict.fromkeys(topic for tag in tags for topic in self._topics.ours(tag)))


def _changes(told: Told, topics: Sequence[str | None]) -> Iterator[Change]:
    for topic in topics:
        scope = Scope.CHANNEL if topic is None else Scope.TOPIC
        entry = Suppression(
            told.contact, scope, told.reason, Channel.EMAIL, topic, told.at, told.note
        )
        yield Change(Said.ADDED, entry, told.id)


def _below(path: str, root: str) -> bool:
    """Whether a path is a list's own, or leads on below it."""
    inside = path == root or path.startswith(f"{root}/")
    return inside and ".." not in path.split("/")
