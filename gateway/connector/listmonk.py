"""listmonk: subscribers that are blocklisted, unsubscribed from a list, or bounced.

https://listmonk.app/docs/apis/subscribers/, /apis/bounces/ and
/querying-and-segmentation/.  What these pages leave open was read in listmonk's
``queries/subscribers.sql``, ``queries/bounces.sql`` and ``cmd/subscribers.go``:

- pages are told by the id, not by their number, for rows that change their place are
  skipped otherwise; without a known order the newest id comes first, so that is asked;
- who unsubscribes by a campaign's link, or is blocklisted by a bounce, keeps the
  ``updated_at`` of the subscriber: the lists' and the bounces' times count too;
- by a query, ``unsubscribe`` changes only who is on the list already, and ``add`` only who is
  not: a person is added as unsubscribed, so that an import cannot subscribe them as new,
  and then unsubscribed;
- creating somebody who is there already is answered 409.

Addresses stand in bodies only, and within SQL as hexadecimal digits.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import ClassVar, Final
from urllib.parse import urlencode

import idna

from gateway.clock import DAY_MS, Clock, now_ms
from gateway.connector.answer import (
    object_at,
    object_in,
    objects_at,
    refuse_wrong_settings,
    whole_at,
)
from gateway.connector.asking import basic, sent
from gateway.connector.connector import Connector, Exchange, Holds, Page, Place, Put, ToolUnreadable
from gateway.connector.lap import Lap, closed
from gateway.connector.saying import email_of, moment_of, text
from gateway.connector.setting import lacking, need
from gateway.connector.suppression import Change, Reason, Said, Suppression
from gateway.connector.topics import Topics
from gateway.contacts.contact import Channel, Contact
from gateway.entry.entry import Scope, normal_name
from gateway.provider.request import Request

_ROWS: Final = 500
"""Asked for at once; what comes may be fewer, as the server bounds it."""
_NAME: Final = "(suppressed)"
"""Whom the gateway creates in listmonk is named so: listmonk wants a name."""

_BOUNCES = {"hard": Reason.BOUNCE, "complaint": Reason.COMPLAINT}
_is_list_id = re.compile(r"[1-9][0-9]{0,8}").fullmatch


class Listmonk(Connector):
    """Basic authentication with an API user and its token."""

    kind: ClassVar[str] = "listmonk"
    title: ClassVar[str] = "listmonk"
    url: str = ""
    most: ClassVar[int] = 50

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        super().__init__(place, clock)
        need(place, "url", place.url, "where listmonk is, as https://lists.example.com")
        need(place, "username", place.username, "the API user's name")
        need(place, "secret_file", place.secret, "a file with the API user's token")
        for topic, name in place.topics:
            if not _is_list_id(name):
                what = "write the list's id, the number in its address in listmonk"
                raise lacking(place, f"topics.{topic}", what)
        self._topics = Topics(place)
        self._lists = {normal_name(topic): int(name) for topic, name in place.topics}

    @property
    def holds(self) -> Holds:
        """E-mail only; a topic for each list that is named."""
        return Holds(
            self._topics.scopes,
            frozenset({Channel.EMAIL}),
            self._topics.names,
            dated=False,
            hooks=False,
        )

    def warnings(self) -> list[str]:
        """What listmonk's own imports undo."""
        found = [
            "an import into listmonk that overwrites subscription statuses subscribes again who "
            "is unsubscribed from a list; the full listing finds it (sync.full_every)",
            "listmonk does not say why somebody is blocklisted: it is taken for an objection",
        ]
        if not self._lists:
            found.append(
                "no topics are set: who unsubscribes from one list of listmonk's is not heard of"
            )
        return found

    def prepare(self, request: Request, now: int) -> Request:
        """With the API user's name and token."""
        value = basic(self.place.username, self.place.secret)
        return request.with_headers({"Authorization": value})

    # -- reading ----------------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """Subscribers, then bounces, that changed since the pass before began."""
        now = self.clock()
        at = Lap.read(cursor, now - DAY_MS, now)
        return closed(at, (yield from self._page(at)))

    def listing(self, cursor: str) -> Exchange[Page]:
        """All that are blocklisted or unsubscribed, then all bounces."""
        return (yield from self._page(Lap.read(cursor, 0, self.clock())))

    def _page(self, at: Lap) -> Exchange[Page]:
        if at.page:
            return (yield from self._bounced(at))
        return (yield from self._subscribers(at))

    def _subscribers(self, at: Lap) -> Exchange[Page]:
        asked = [
            ("query", self._condition(at)),
            ("order", "desc"),
            ("page", "1"),
            ("per_page", str(_ROWS)),
        ]
        answer = yield Request("GET", "/api/subscribers", urlencode(asked))
        data = object_at(object_in(answer, self), "data", self)
        rows = objects_at(data, "results", self)
        left = whole_at(data, "total", self) - len(rows)
        if not rows:
            if left > 0:
                raise ToolUnreadable("listmonk: subscribers are said to be there, and none is told")
            return Page((), str(at._replace(page=1, row=0)), more=True)
        below = at.row
        found: list[Change] = []
        bad = 0
        for row in rows:
            number = whole_at(row, "id", self)
            if below and number >= below:
                raise ToolUnreadable("listmonk: subscribers are not told by descending id")
            below = number
            contact = email_of(row.get("email"))
            if contact is None:
                bad += 1
            else:
                found += self._said(contact, row)
        # What began while this pass went on has a higher id, or a later time.
        then = at._replace(row=below) if left > 0 else at._replace(page=1, row=0)
        return Page(tuple(found), str(then), more=True, bad=bad)

    def _condition(self, at: Lap) -> str:
        """The SQL expression; made of numbers alone."""
        within = "subscribers.status = 'blocklisted'"
        if self._lists:
            named = ", ".join(str(number) for number in sorted(set(self._lists.values())))
            within = (
                f"({within} OR EXISTS (SELECT 1 FROM subscriber_lists u "  # noqa: S608 - numbers
                "WHERE u.subscriber_id = subscribers.id AND u.status = 'unsubscribed' "
                f"AND u.list_id IN ({named})))"
            )
        if at.since:
            moment = f"to_timestamp({at.since // 1000})"
            within += (
                f" AND (subscribers.updated_at >= {moment}"  # noqa: S608 - a number
                " OR EXISTS (SELECT 1 FROM subscriber_lists c"
                f" WHERE c.subscriber_id = subscribers.id AND c.updated_at >= {moment})"
                " OR EXISTS (SELECT 1 FROM bounces b"
                f" WHERE b.subscriber_id = subscribers.id AND b.created_at >= {moment}))"
            )
        if at.row:
            within += f" AND subscribers.id < {at.row}"
        return f"({within})"

    def _said(self, contact: Contact, row: dict[str, object]) -> list[Change]:
        if row.get("status") == "blocklisted":
            note = "blocklisted"
            entry = Suppression(contact, Scope.CHANNEL, Reason.BLOCKED, Channel.EMAIL, note=note)
            return [Change(Said.ADDED, entry)]
        gone = {
            whole_at(one, "id", self)
            for one in objects_at(row, "lists", self)
            if one.get("subscription_status") == "unsubscribed"
        }
        return [
            Change(
                Said.ADDED,
                Suppression(
                    contact,
                    Scope.TOPIC,
                    Reason.OBJECTION,
                    Channel.EMAIL,
                    topic,
                    note=f"unsubscribed from list {number}",
                ),
            )
            for topic, number in self._lists.items()
            if number in gone
        ]

    def _bounced(self, at: Lap) -> Exchange[Page]:
        """A page of bounces, the newest first; the last where they are older than the pass's time.

        A bounce that comes meanwhile moves the others down, so that some are told twice.
        The answer says which page it is, so that one page is not told for ever.
        """
        asked = [
            ("order_by", "created_at"),
            ("order", "desc"),
            ("page", str(at.page)),
            ("per_page", str(_ROWS)),
        ]
        answer = yield Request("GET", "/api/bounces", urlencode(asked))
        data = object_at(object_in(answer, self), "data", self)
        rows = objects_at(data, "results", self)
        if rows and data.get("page", at.page) != at.page:
            raise ToolUnreadable("listmonk: a page of bounces comes that was not asked for")
        found: list[Change] = []
        bad = 0
        old = False
        for row in rows:
            moment = moment_of(row.get("created_at"))
            old = old or (moment is not None and moment < at.since)
            reason = _BOUNCES.get(text(row, "type"))
            if reason is None:
                continue
            contact = email_of(row.get("email"))
            if contact is None:
                bad += 1
                continue
            note = f"bounce {text(row, 'type')}"
            entry = Suppression(contact, Scope.CHANNEL, reason, Channel.EMAIL, at=moment, note=note)
            found.append(Change(Said.ADDED, entry))
        more = bool(rows) and not old
        return Page(tuple(found), str(at._replace(page=at.page + 1)), more, bad)

    # -- writing ----------------------------------------------------------------------

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """Create who is unknown, then blocklist or unsubscribe all of them at once.

        Nobody is created so that a campaign could reach them in between: blocklisted for
        a ban of the channel, on no list for one of a topic.
        """
        results: list[Put] = []
        blocked: list[Contact] = []
        unlisted: dict[int, list[Contact]] = {}
        for entry in entries:
            result, there = yield from self._create(entry)
            results.append(result)
            if not there:
                continue
            if entry.scope is Scope.TOPIC:
                unlisted.setdefault(self._lists[entry.topic or ""], []).append(entry.contact)
            else:
                blocked.append(entry.contact)
        if blocked:
            asked: dict[str, object] = {"query": _these(blocked)}
            yield from self._confirmed(sent("PUT", "/api/subscribers/query/blocklist", asked))
        for number, contacts in unlisted.items():
            asked = {"query": _these(contacts), "target_list_ids": [number]}
            added = {"action": "add", "status": "unsubscribed"}
            for how in (added, {"action": "unsubscribe"}):
                yield from self._confirmed(sent("PUT", "/api/subscribers/query/lists", asked | how))
        return results

    def _create(self, entry: Suppression) -> Exchange[tuple[Put, bool]]:
        """What becomes of the entry, and whether its subscriber is there."""
        if not entry.reason.legal:
            return Put(False, "listmonk counts bounces and complaints by itself", final=True), False
        if entry.contact.channel is not Channel.EMAIL:
            return Put(False, "listmonk knows e-mail addresses only", final=True), False
        if entry.scope is Scope.TOPIC and entry.topic not in self._lists:
            return Put(False, "no list of listmonk's is named for this topic", final=True), False
        status = "enabled" if entry.scope is Scope.TOPIC else "blocklisted"
        subscriber = {
            "email": entry.contact.canonical,
            "name": _NAME,
            "status": status,
            "lists": [],
        }
        answer = yield sent("POST", "/api/subscribers", subscriber)
        if 200 <= answer.status < 300 or answer.status == 409:
            return Put(True), True
        refuse_wrong_settings(answer, self)
        if answer.status == 400:
            # Older ones say so of whom they know, too, and these are blocklisted.
            return Put(False, "listmonk does not take such an address", final=True), True
        return Put(False, f"listmonk answers {answer.status}"), False

    def _confirmed(self, request: Request) -> Exchange[None]:
        answer = yield request
        if object_in(answer, self).get("data") is not True:
            raise ToolUnreadable("listmonk does not say that it did it")


def _these(contacts: Sequence[Contact]) -> str:
    """The SQL expression for these subscribers, however their domains are written.

    Hexadecimal digits between the quotes and nothing else, whatever the address.
    """
    spelled = {spelling for contact in contacts for spelling in _spellings(contact.canonical)}
    texts = (f"convert_from(decode('{one.encode().hex()}', 'hex'), 'UTF8')" for one in spelled)
    return f"(LOWER(subscribers.email) IN ({', '.join(sorted(texts))}))"


def _spellings(canonical: str) -> set[str]:
    """The address, and with its domain in letters where that has others than ASCII."""
    local, _, domain = canonical.rpartition("@")
    if "xn--" not in domain:
        return {canonical}
    try:
        return {canonical, f"{local}@{idna.decode(domain)}"}
    except idna.IDNAError:
        return {canonical}
