"""Mailchimp: each audience has members, some of them unsubscribed or cleaned.

https://mailchimp.com/developer/marketing/api/list-members/
https://mailchimp.com/developer/marketing/api/lists/ (batch)
https://mailchimp.com/developer/marketing/guides/sync-audience-data-webhooks/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from gateway.clock import DAY_MS, Clock, now_ms
from gateway.connector.answer import document, list_at, objects_at, refused, unreadable
from gateway.connector.area import Areas
from gateway.connector.asking import basic, get, post
from gateway.connector.connector import Connector, Exchange, Holds, HookRefused, Page, Place, Put
from gateway.connector.outcome import DONE, FOREIGN, unheld
from gateway.connector.reach import Reach
from gateway.connector.saying import canonical, email_of, moment_of, stamp
from gateway.connector.setting import need
from gateway.connector.suppression import Change, Reason, Said, Suppression
from gateway.connector.webhook import known, told
from gateway.contacts.contact import Channel, Contact
from gateway.failure import InputError
from gateway.provider.problem import Refusal
from gateway.provider.request import Answer, Pairs, Request, only_field, read_form

_COUNT: Final = 1000
_SECOND: Final = 1000
_STATUSES: Final = {"unsubscribed": Reason.OBJECTION, "cleaned": Reason.BOUNCE}
_FIELDS: Final = "members.email_address,members.status,members.last_changed,total_items"
_is_centre = re.compile(r"[a-z]{2,4}[0-9]{1,4}").fullmatch
_SAID_NO: Final = ("compliance state", "permanently deleted", "forgotten")
"""Mailchimp keeps these members from mail itself: they said no there, or were erased."""
_NO_ADDRESS: Final = ("valid email", "fake or invalid", "invalid email")
_INVALID: Final = Put(done=False, cause="Mailchimp takes this for no real address", final=True)
_LATER: Final = Put(done=False, cause="Mailchimp did not take this member")


class Mailchimp(Connector):
    """``place`` is the audience's id, ``topics`` name audiences of their own."""

    kind = "mailchimp"
    title = "Mailchimp"
    most = 500

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        super().__init__(place, clock)
        need(place, "secret_file", place.secret, "a file that holds an API key, as 0123…cdef-us19")
        if not place.place:
            raise InputError(
                f"sync.tools {place.name}: place: write the audience's id, as a6b5da1054"
            )
        centre = place.secret.rpartition("-")[2]
        if not place.url and not _is_centre(centre):
            raise InputError(
                f"sync.tools {place.name}: secret_file: the key ends in the data centre, as -us19; "
                "or set url to https://us19.api.mailchimp.com/3.0"
            )
        self.url = place.url or f"https://{centre}.api.mailchimp.com/3.0"
        self._areas = Areas(place, place.place)
        self._lists = [f"{area}/{status}" for area in self._areas.names for status in _STATUSES]

    @property
    def holds(self) -> Holds:
        """Bans of e-mail, of all of it or of topics with an audience."""
        channels = frozenset({Channel.EMAIL})
        topics = self._areas.topics
        return Holds(self._areas.scopes(), channels, topics, apart=bool(topics))

    def warnings(self) -> list[str]:
        """What an unknown address costs."""
        return [
            "an address that the audience does not know is added to it as unsubscribed; "
            "Mailchimp counts unsubscribed contacts in its price"
        ]

    def prepare(self, request: Request, now: int) -> Request:
        """Basic, with any name."""
        return request.with_headers({"Authorization": basic("gateway", self.place.secret)})

    # -- reading ----------------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """A page of one audience and status, the longest unchanged first."""
        now = self.clock()
        return (yield from self._page(Reach.read(cursor, self._lists, now - DAY_MS), now))

    def listing(self, cursor: str) -> Exchange[Page]:
        """The same from the beginning of time."""
        return (yield from self._page(Reach.read(cursor, self._lists, 0), self.clock()))

    def _page(self, reach: Reach, now: int) -> Exchange[Page]:
        """One page: of the members that changed since a second, so many passed over.

        A member that changes while pages are read becomes the last one, which would move
        the pages of those behind it.  So the next page is asked for by the time of the
        last member, not by a count; only members of one and the same second are counted.
        """
        area, _, status = reach.name.partition("/")
        dated, total = self._members((yield self._asked(reach, area, status)))
        times = [at or 0 for _, at in dated]
        newest = max(times, default=0)
        full = bool(dated) and (len(dated) >= _COUNT or reach.offset + len(dated) < total)
        further: Reach | None = None
        if full and newest - _SECOND > reach.asked and times == sorted(times) and times[0]:
            # Those of the last second come again with the next page.
            dated = [each for each in dated if each[1] != newest]
            further = reach.on(now, newest, newest - _SECOND)
        else:
            keys = [str(one.get("email_address")) for one, _ in dated]
            further, before = reach.counted(now, newest, keys, len(keys) if full else _COUNT)
            dated = dated[before:]
        on = further or reach.done(now, newest)
        changes: list[Change] = []
        bad = 0
        for one, at in dated:
            contact = email_of(one.get("email_address"))
            if contact is None or one.get("status") != status:
                bad += 1
            else:
                changes += self._told(contact, area, _STATUSES[status], at, status)
        return Page(tuple(changes), on.text, more=further is not None or on.index > 0, bad=bad)

    def _asked(self, reach: Reach, area: str, status: str) -> Request:
        query = {"status": status, "count": str(_COUNT), "fields": _FIELDS}
        query |= {"sort_field": "last_changed", "sort_dir": "ASC"}
        if reach.asked:
            query["since_last_changed"] = stamp(reach.asked)
        if reach.offset:
            query["offset"] = str(reach.offset)
        return get(f"/lists/{quote(area, safe='')}/members", urlencode(query))

    def _members(self, answer: Answer) -> tuple[list[tuple[dict[str, Any], int | None]], int]:
        """The members of a page, when each last changed, and how many there are in all."""
        told = document(answer, self)
        dated: list[tuple[dict[str, Any], int | None]] = []
        for one in objects_at(told, "members", self):
            dated.append((one, moment_of(one.get("last_changed"))))
        total = told.get("total_items")
        return dated, total if isinstance(total, int) else 0

    def _told(
        self,
        contact: Contact,
        area: str,
        reason: Reason,
        at: int | None,
        note: str,
        said: Said = Said.ADDED,
        mark: str = "",
    ) -> Iterator[Change]:
        for scope, topic in self._areas.meanings(area):
            entry = Suppression(contact, scope, reason, Channel.EMAIL, topic, at, note)
            yield Change(said, entry, mark)

    # -- writing ----------------------------------------------------------------------

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """One request for each audience, of all its entries, which become unsubscribed.

        A bounce or a complaint, which would be read back as a ban, is not taken as what
        it is.
        """
        results = [unheld(one) or (DONE if self._areas.of(one) else FOREIGN) for one in entries]
        for area in self._areas.names:
            due = {
                one.contact.canonical
                for one, result in zip(entries, results, strict=True)
                if result.done and area in self._areas.of(one)
            }
            put = yield from self._sent(area, sorted(due))
            for place, one in enumerate(entries):
                if results[place].done and area in self._areas.of(one):
                    results[place] = put[one.contact.canonical]
        return results

    def _sent(self, area: str, texts: Sequence[str]) -> Exchange[dict[str, Put]]:
        """What became of these addresses in an audience."""
        if not texts:
            return {}
        asked = {
            "members": [{"email_address": text, "status": "unsubscribed"} for text in texts],
            "update_existing": True,
        }
        flags = "skip_merge_validation=true&skip_duplicate_check=true"
        answer = yield post(f"/lists/{quote(area, safe='')}", asked, flags)
        if answer.status == 400 and len(texts) > 1:
            # One of them spoils them all: in halves, until it is alone.
            half = len(texts) // 2
            first = yield from self._sent(area, texts[:half])
            return first | (yield from self._sent(area, texts[half:]))
        if answer.status == 400:
            return {texts[0]: self._alone(answer)}
        told = document(answer, self)
        wrong: dict[str, Put] = {}
        for error in list_at(told, "errors", self):
            if not isinstance(error, dict) or not isinstance(error.get("email_address"), str):
                raise unreadable(self, "an error of no member")
            named = canonical(error["email_address"]) or error["email_address"].lower()
            wrong[named] = _meaning(str(error.get("error")))
        return {text: wrong.get(text, DONE) for text in texts}

    def _alone(self, answer: Answer) -> Put:
        """What a refusal of one member alone means; raises ToolUnreadable."""
        try:
            told = answer.json()
            text = f"{told['title']} {told.get('detail')} {told.get('errors')}"
        except (ValueError, TypeError, KeyError, AttributeError):
            raise refused(answer, self) from None
        return _meaning(text)

    # -- webhooks ---------------------------------------------------------------------

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """``unsubscribe``, ``cleaned``, ``subscribe`` and ``upemail``; a GET tells nothing.

        Mailchimp signs nothing: the secret is in the URL's query.  It asks by GET whether
        the URL answers.  Times are taken for UTC.
        """
        known(request, self.place, query=True)
        if request.method in ("GET", "HEAD") or not request.body:
            return ()
        try:
            pairs = read_form(request)
            kind = only_field(pairs, "type", needed=True)
            area = _field(pairs, "list_id")
            heard = self._heard(kind, pairs)
        except Refusal as refusal:
            raise HookRefused(str(refusal)) from None
        if heard is None or area not in self._areas.names:
            return ()
        said, reason, text, note = heard
        contact = email_of(text)
        if contact is None:
            raise HookRefused("the member has no address")
        at = moment_of(only_field(pairs, "fired_at"))
        mark = told(self.place.webhook_secret, at, kind, area, contact.canonical)
        return tuple(self._told(contact, area, reason, at, note, said, mark))

    def _heard(self, kind: str, pairs: Pairs) -> tuple[Said, Reason, str, str] | None:
        """What happened, why, to which address, in Mailchimp's words; raises Refusal."""
        why = _field(pairs, "reason")
        reason = Reason.COMPLAINT if why == "abuse" else None
        if kind == "unsubscribe":
            if _field(pairs, "action") == "delete":
                # Somebody took the contact out of the audience: the entry is gone.
                return Said.REMOVED, Reason.OBJECTION, _field(pairs, "email"), "deleted"
            note = f"unsubscribe {why}".strip()
            return Said.ADDED, reason or Reason.OBJECTION, _field(pairs, "email"), note[:80]
        if kind == "cleaned":
            note = f"cleaned {why}".strip()
            return Said.ADDED, reason or Reason.BOUNCE, _field(pairs, "email"), note[:80]
        if kind == "subscribe":
            return Said.REMOVED, Reason.OBJECTION, _field(pairs, "email"), "subscribe"
        if kind == "upemail":
            # The member goes on under another address.  Whether a ban follows is for a
            # person to say; a member that is unsubscribed stays so, and is read as new.
            return Said.REMOVED, Reason.OBJECTION, _field(pairs, "old_email"), "address changed"
        return None


def _field(pairs: Pairs, name: str) -> str:
    """``data[name]``, once; raises Refusal."""
    return only_field(pairs, f"data[{name}]")


def _meaning(text: str) -> Put:
    """What Mailchimp's words for an error mean."""
    lower = text.lower()
    if any(words in lower for words in _SAID_NO):
        return DONE
    return _INVALID if any(words in lower for words in _NO_ADDRESS) else _LATER
