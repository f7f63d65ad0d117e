"""Brevo: contacts carry a flag for e-mail and one for text messages; blocked contacts a reason.

https://developers.brevo.com/reference/get-contacts
https://developers.brevo.com/reference/create-contact
https://developers.brevo.com/reference/get-transac-blocked-contacts
https://developers.brevo.com/docs/marketing-webhooks
https://developers.brevo.com/docs/transactional-webhooks
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from gateway.clock import DAY_MS, Clock, now_ms
from gateway.connector.answer import document, objects_at, refused
from gateway.connector.asking import get, post
from gateway.connector.connector import Connector, Exchange, Holds, HookRefused, Page, Place, Put
from gateway.connector.outcome import DONE, FOREIGN, unheld
from gateway.connector.reach import OVERLAP, Reach
from gateway.connector.saying import day, email_of, moment_of, stamp
from gateway.connector.setting import need
from gateway.connector.suppression import Change, Reason, Said, Suppression
from gateway.connector.webhook import hook_document, hook_list, known, told
from gateway.contacts.contact import Channel, Contact, ContactError
from gateway.contacts.phone import parse_phone
from gateway.entry.entry import Scope, normal_name
from gateway.provider.request import Answer, Request

_CONTACTS: Final = "contacts"
_BLOCKED: Final = "blocked"
_LISTS: Final = (_CONTACTS, _BLOCKED)
_COUNTS: Final = {_CONTACTS: 1000, _BLOCKED: 100}
"""Entries of a page."""
_REASONS: Final = {
    "unsubscribedViaMA": Reason.OBJECTION,
    "unsubscribedViaEmail": Reason.OBJECTION,
    "unsubscribedViaApi": Reason.OBJECTION,
    "adminBlocked": Reason.BLOCKED,
    "hardBounce": Reason.BOUNCE,
    "contactFlaggedAsSpam": Reason.COMPLAINT,
}
_EVENTS: Final = {
    "unsubscribe": Reason.OBJECTION,
    "unsubscribed": Reason.OBJECTION,
    "hard_bounce": Reason.BOUNCE,
    "invalid_email": Reason.BOUNCE,
    "spam": Reason.COMPLAINT,
    "complaint": Reason.COMPLAINT,
}
"""Events, in the spellings of campaigns and of transactional mail.  ``blocked`` is none: the
entry stood there before, with its reason."""
_SMS_EVENTS: Final = ("unsubscribe", "unsubscribed", "blacklisted")
_UNCHANGED: Final = Put(done=False, cause="Brevo did not change this contact")
_REFUSED: Final = Put(done=False, cause="Brevo does not take this contact", final=True)


class Brevo(Connector):
    """``topics`` name lists by their numbers and senders by their addresses, to be read alone."""

    kind = "brevo"
    title = "Brevo"
    url = "https://api.brevo.com/v3"

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        super().__init__(place, clock)
        need(place, "secret_file", place.secret, "a file that holds an API key (xkeysib-…)")
        self._topics = {area.lower(): normal_name(topic) for topic, area in place.topics}

    @property
    def holds(self) -> Holds:
        """Bans of a whole channel: taking a contact off a list bans nothing there.

        The flags have no date of their own.
        """
        scopes = frozenset({Scope.ALL, Scope.CHANNEL})
        return Holds(scopes, frozenset({Channel.EMAIL, Channel.SMS}), dated=False)

    def warnings(self) -> list[str]:
        """What is read wider than it may be, and what an unknown contact becomes."""
        found = [
            "a contact's flag has no reason: a bounce of a campaign is read as a ban "
            "unless its webhook tells of it",
            "a contact that Brevo does not know is made there, with its flag",
        ]
        if self.place.place:
            found.append("place is not used: Brevo has one list of contacts")
        return found

    def prepare(self, request: Request, now: int) -> Request:
        """The key goes into a header."""
        return request.with_headers({"api-key": self.place.secret})

    # -- reading ----------------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """A page of the contacts that were changed, then of those that were blocked."""
        now = self.clock()
        reach = Reach.read(cursor, _LISTS, now - DAY_MS)
        query = {"limit": str(_COUNTS[reach.name]), "offset": str(reach.offset), "sort": "asc"}
        if reach.name == _CONTACTS:
            query["modifiedSince"] = _stamp(reach.asked)
        else:
            # Days, and none that has not begun yet by Brevo's clock; the first is wider.
            last = now - OVERLAP
            query["startDate"] = day(min(reach.asked - DAY_MS, last))
            query["endDate"] = day(last)
        entries = self._entries((yield _asked(reach.name, query)))
        name = {_CONTACTS: "modifiedAt", _BLOCKED: "blockedAt"}[reach.name]
        newest = max((moment_of(one.get(name)) or 0 for one in entries), default=0)
        return self._page(reach, entries, now, newest)

    def listing(self, cursor: str) -> Exchange[Page]:
        """A page of all contacts by when they were made, then of the blocked ones.

        When a contact was made never changes, so that the next page is asked for by the
        time of the last contact, and not by a count that those who go would move.
        """
        now = self.clock()
        reach = Reach.read(cursor, _LISTS, 0)
        query = {"limit": str(_COUNTS[reach.name]), "offset": str(reach.offset), "sort": "asc"}
        if reach.name == _CONTACTS and reach.asked:
            query["createdSince"] = _stamp(reach.asked)
        entries = self._entries((yield _asked(reach.name, query)))
        made = [moment_of(one.get("createdAt")) or 0 for one in entries]
        newest = max(made, default=0) // 1000 * 1000
        if (
            reach.name == _CONTACTS
            and len(entries) >= _COUNTS[_CONTACTS]
            and newest - 1 > reach.asked
            and made == sorted(made)
            and made[0]
        ):
            # Those of the last second come again with the next page.
            due = [one for one, at in zip(entries, made, strict=True) if at < newest]
            on = reach.on(now, newest, newest - 1)
            changes, bad = self._read(reach.name, due)
            return Page(changes, on.text, more=True, bad=bad)
        return self._page(reach, entries, now, 0)

    def _page(self, reach: Reach, entries: Sequence[dict[str, Any]], now: int, newest: int) -> Page:
        """The page, of a list whose entries are counted, and where the next one begins."""
        keys = [_key(one) for one in entries]
        further, before = reach.counted(now, newest, keys, _COUNTS[reach.name])
        changes, bad = self._read(reach.name, entries[before:])
        on = further or reach.done(now, newest)
        return Page(changes, on.text, more=further is not None or on.index > 0, bad=bad)

    def _entries(self, answer: Answer) -> list[dict[str, Any]]:
        told = document(answer, self)
        if isinstance(told, dict) and told.get("count") == 0 and "contacts" not in told:
            return []
        return objects_at(told, "contacts", self)

    def _read(self, name: str, entries: Sequence[dict[str, Any]]) -> tuple[tuple[Change, ...], int]:
        """What entries tell, and how many cannot be read."""
        changes: list[Change] = []
        bad = 0
        for one in entries:
            said = list(self._flagged(one) if name == _CONTACTS else self._blocked(one))
            bad += None in said
            changes += [each for each in said if each is not None]
        return tuple(changes), bad

    def _flagged(self, one: Mapping[str, Any]) -> Iterator[Change | None]:
        """What a contact's flags tell; None: one is set and has no address."""
        if one.get("emailBlacklisted") is True:
            yield self._said(email_of(one.get("email")), Reason.BLOCKED, None, "emailBlacklisted")
        lists = one.get("listUnsubscribed")
        for number in lists if isinstance(lists, list) else ():
            if topic := self._topics.get(str(number)):
                contact, note = email_of(one.get("email")), "listUnsubscribed"
                yield self._said(contact, Reason.OBJECTION, None, note, topic)
        if one.get("smsBlacklisted") is True:
            attributes = one.get("attributes")
            text = attributes.get("SMS") if isinstance(attributes, dict) else None
            yield self._said(_number(text), Reason.BLOCKED, None, "smsBlacklisted")

    def _blocked(self, one: Mapping[str, Any]) -> Iterator[Change | None]:
        """What a blocked contact tells; of one sender's, if the sender is a topic's."""
        why = one.get("reason")
        code = why.get("code") if isinstance(why, dict) else None
        topic = self._topics.get(str(one.get("senderEmail") or "").lower())
        reason, at = _REASONS.get(str(code)), moment_of(one.get("blockedAt"))
        if reason is None:
            yield None
        else:
            yield self._said(email_of(one.get("email")), reason, at, str(code), topic)

    def _said(
        self,
        contact: Contact | None,
        reason: Reason,
        at: int | None,
        note: str,
        topic: str | None = None,
        mark: str = "",
    ) -> Change | None:
        if contact is None:
            return None
        scope = Scope.TOPIC if topic else Scope.CHANNEL
        entry = Suppression(contact, scope, reason, contact.channel, topic, at, note)
        return Change(Said.ADDED, entry, mark)

    # -- writing ----------------------------------------------------------------------

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """A contact made or changed, one at a time; addresses never stand in a path.

        Brevo's batch changes only contacts that it knows, and is said to go.  A bounce or a
        complaint, which would be read back as a ban, is not taken as what it is.
        """
        results: list[Put] = []
        for entry in entries:
            channel = entry.contact.channel
            if entry.channel not in (None, channel) or entry.scope is Scope.TOPIC:
                results.append(FOREIGN)
            else:
                results.append(unheld(entry) or (yield from self._sent(entry.contact)))
        return results

    def _sent(self, contact: Contact) -> Exchange[Put]:
        text = contact.canonical
        if contact.channel is Channel.EMAIL:
            flag: dict[str, object] = {"email": text, "emailBlacklisted": True}
        else:
            flag = {"attributes": {"SMS": text}, "smsBlacklisted": True}
        answer = yield post("/contacts", flag | {"updateEnabled": True})
        if _code(answer) == "duplicate_parameter" and contact.channel is Channel.SMS:
            # The number belongs to a contact that goes by its address.
            changed = {"contacts": [{"sms": text, "smsBlacklisted": True}]}
            answer = yield post("/contacts/batch", changed)
        if answer.good and answer.status != 207:
            return DONE
        code = _code(answer)
        if answer.status == 400 and code in ("invalid_parameter", "out_of_range"):
            return _REFUSED
        if answer.status == 207 or (answer.status == 400 and code):
            return _UNCHANGED
        raise refused(answer, self)

    # -- webhooks ---------------------------------------------------------------------

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """Events of campaigns, of transactional mail and of text messages, alone or many.

        Brevo signs nothing: it is known by the secret, as a password, token or header.
        """
        known(request, self.place)
        if request.method in ("GET", "HEAD"):
            return ()
        changes: list[Change] = []
        bad = 0
        for event in hook_list(hook_document(request.body)):
            if not isinstance(event, dict):
                raise HookRefused("an event that is no object")
            for change in self._heard(event):
                bad += change is None
                changes += [] if change is None else [change]
        if bad and not changes:
            raise HookRefused("no event has an address")
        return tuple(changes)

    def _heard(self, event: Mapping[str, Any]) -> Iterator[Change | None]:
        at = _time(event)
        parts = [event.get(name) for name in ("event", "msg_status", "email", "to", "message-id")]
        mark = told(self.place.webhook_secret, at, *parts, event.get("messageId"))
        kind = event.get("event")
        if isinstance(kind, str) and kind in _EVENTS:
            contact = email_of(event.get("email"))
            yield self._said(contact, _EVENTS[kind], at, kind, mark=mark)
        status = event.get("msg_status")
        if isinstance(status, str) and status.lower() in _SMS_EVENTS:
            reason = Reason.BLOCKED if status.lower() == "blacklisted" else Reason.OBJECTION
            contact = _number(event.get("to"))
            yield self._said(contact, reason, at, status.lower(), mark=mark)


def _asked(name: str, query: Mapping[str, str]) -> Request:
    path = {_CONTACTS: "/contacts", _BLOCKED: "/smtp/blockedContacts"}[name]
    return get(path, urlencode(query))


def _key(one: Mapping[str, Any]) -> str:
    """What tells a contact from others, and a block from others."""
    return str(one.get("id") or [one.get(name) for name in ("email", "senderEmail", "blockedAt")])


def _stamp(at: int) -> str:
    """A time as Brevo writes it, in milliseconds."""
    return stamp(at).replace("+00:00", f".{at % 1000:03d}Z")


def _number(value: object) -> Contact | None:
    """The contact of a number, which Brevo writes without a plus; None: it is none."""
    text = str(value) if type(value) in (str, int) else ""
    digits = text.strip().removeprefix("+").removeprefix("00")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    try:
        return parse_phone("+" + digits)
    except ContactError:
        return None


def _time(event: Mapping[str, Any]) -> int | None:
    """When it happened, by the members that are UTC; Brevo's examples have seconds in both."""
    for name in ("ts_epoch", "ts_event"):
        at = event.get(name)
        if type(at) is int and 0 < at < 10**14:
            return at * 1000 if at < 10**11 else at
    return None


def _code(answer: Answer) -> str:
    """Brevo's name for an error; "" where the answer is none of its own."""
    try:
        code = answer.json().get("code")
    except (ValueError, AttributeError):
        return ""
    return code if isinstance(code, str) else ""
