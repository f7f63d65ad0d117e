"""Mautic: the "do not contact" entries of its contacts, for e-mail and text messages.

https://devdocs.mautic.org/en/latest/rest_api/contacts.html, /stats.html, /authentication.html
and /webhooks/events/lead_channel_subscription_changed.html.  What these pages leave open was
read in Mautic's ``LeadApiController``, ``Model/DoNotContact`` and ``CommonRepository``:

- the table ``lead_donotcontact`` tells the entries, and their contacts' ids; whose they
  are is asked for by the ids;
- an entry whose reason changes keeps its id and gets a new date, so that new ones are
  found by the date and passed through by the id;
- a question that Mautic cannot answer is answered 200 with ``errors``;
- an empty object comes as an empty list;
- several contacts may have one address, and each has entries of its own;
- an address with an apostrophe or an ampersand is found by ``in`` alone (``InputHelper``);
- a new contact is created together with its entry.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from urllib.parse import urlencode

from gateway.clock import DAY_MS, Clock, now_ms
from gateway.connector.answer import object_in, objects_at, refuse_wrong_settings, whole_at
from gateway.connector.asking import basic, sent
from gateway.connector.connector import (
    Connector,
    Exchange,
    Holds,
    HookRefused,
    Page,
    Place,
    Put,
    Token,
    ToolRefused,
    ToolUnreadable,
)
from gateway.connector.lap import Lap, closed
from gateway.connector.oauth import token_of_client
from gateway.connector.saying import email_of, moment_of, phone_of, text
from gateway.connector.setting import lacking, need, setting
from gateway.connector.suppression import DELIVERY, Change, Reason, Said, Suppression
from gateway.connector.webhook import called, secret_of
from gateway.contacts.contact import Channel, Contact
from gateway.entry.entry import Scope
from gateway.provider.request import Request
from gateway.provider.signature import hmac_base64, same

_ROWS: Final = 100
"""Entries of a page; also the contacts whose ids stand in one URL."""
_TOKEN: Final = "/oauth/v2/token"  # noqa: S105 - a path
_EVENT: Final = "mautic.lead_channel_subscription_changed"

_CHANNELS = {"email": Channel.EMAIL, "sms": Channel.SMS}
_REASONS = {1: Reason.OBJECTION, 2: Reason.BOUNCE, 3: Reason.BLOCKED}
_LEGAL = {str(number) for number, reason in _REASONS.items() if reason.legal}
_STATUSES = {
    "unsubscribed": Reason.OBJECTION,
    "bounced": Reason.BOUNCE,
    "manual": Reason.BLOCKED,
}
_NUMBERS = {
    Reason.OBJECTION: 1,
    Reason.BOUNCE: 2,
    # Mautic knows no complaints; what is no legal ban must not come back as one.
    Reason.COMPLAINT: 2,
    Reason.BLOCKED: 3,
}


class Mautic(Connector):
    """With a client of OAuth 2, or a user by Basic authentication; webhooks are signed with
    their secret."""

    kind: ClassVar[str] = "mautic"
    title: ClassVar[str] = "Mautic"
    url: str = ""
    most: ClassVar[int] = 20

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        super().__init__(place, clock)
        need(place, "url", place.url, "where Mautic is, as https://mautic.example.com")
        if place.client_id and place.username:
            raise lacking(place, "client_id", "write it or username, not both")
        if not place.client_id:
            what = "the name of a user of Mautic's, or write client_id"
            need(place, "username", place.username, what)
        whose = "client's secret" if place.client_id else "user's password"
        need(place, "secret_file", place.secret, f"a file with that {whose}")

    @property
    def holds(self) -> Holds:
        """Channels and no topics: a segment is whom one chooses, not who said no."""
        scopes, channels = frozenset({Scope.ALL, Scope.CHANNEL}), frozenset(_CHANNELS.values())
        return Holds(scopes, channels, delivery=DELIVERY)

    def warnings(self) -> list[str]:
        """What Mautic cannot keep."""
        found = [
            "an address and a number are looked up in Mautic by its URL: its access log has them",
            "numbers are found in Mautic where they are written in international form",
        ]
        if not self.place.webhook_secret:
            found.append(
                f"{setting(self.place, 'webhook_secret_file')} is not set: webhooks are refused"
            )
        return found

    def prepare(self, request: Request, now: int) -> Request:
        """With the user's name and password, where there is no client."""
        if self.place.client_id:
            return request
        value = basic(self.place.username, self.place.secret)
        return request.with_headers({"Authorization": value})

    def signing_in(self) -> Exchange[Token] | None:
        """By the credentials of the client."""
        return token_of_client(self, _TOKEN) if self.place.client_id else None

    # -- reading ----------------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """Entries of a date since the pass before began."""
        now = self.clock()
        at = Lap.read(cursor, now - DAY_MS, now)
        return closed(at, (yield from self._page(at)))

    def listing(self, cursor: str) -> Exchange[Page]:
        """All entries by their ids."""
        return (yield from self._page(Lap.read(cursor, 0, self.clock())))

    def _page(self, at: Lap) -> Exchange[Page]:
        asked: list[tuple[str, object]] = [
            *_where(0, "id", "gt", at.row),
            ("order[0][col]", "id"),
            ("order[0][dir]", "asc"),
            ("start", 0),
            ("limit", _ROWS),
        ]
        if at.since:
            asked += _where(1, "date_added", "gte", _written(at.since))
        answer = yield Request("GET", "/api/stats/lead_donotcontact", urlencode(asked))
        document = object_in(answer, self)
        if document.get("errors"):
            whose = "client_id" if self.place.client_id else "username"
            raise ToolRefused(
                f"{self.title} does not tell lead_donotcontact; give the role of "
                f"{setting(self.place, whose)} the right to view all contacts"
            )
        rows = objects_at(document, "stats", self)
        left = whole_at(document, "total", self) - len(rows)
        if not rows and left > 0:
            raise ToolUnreadable("Mautic: entries are said to be there, and none is told")
        ids = [whole_at(row, "id", self) for row in rows]
        if ids != sorted(set(ids)) or (ids and ids[0] <= at.row):
            raise ToolUnreadable("Mautic: entries are not told by ascending id")
        wanted = {
            whole_at(row, "lead_id", self) for row in rows if text(row, "channel") in _CHANNELS
        }
        contacts = (yield from self._contacts(wanted)) if wanted else {}
        found: list[Change] = []
        bad = 0
        for row in rows:
            channel = _CHANNELS.get(text(row, "channel"))
            if channel is None:
                continue
            contact = contacts.get(whole_at(row, "lead_id", self), {}).get(channel)
            number = whole_at(row, "reason", self)
            reason = _REASONS.get(number)
            if contact is None or reason is None:
                bad += 1
                continue
            entry = Suppression(
                contact,
                Scope.CHANNEL,
                reason,
                channel,
                at=moment_of(row.get("date_added")),
                note=f"reason {number}",
            )
            found.append(Change(Said.ADDED, entry))
        then = at._replace(row=ids[-1]) if ids else at
        return Page(tuple(found), str(then), left > 0, bad)

    def _contacts(self, ids: Iterable[int]) -> Exchange[dict[int, dict[Channel, Contact]]]:
        """The contacts of these ids, by the id and the channel."""
        ordered = sorted(ids)
        value = ",".join(map(str, ordered))
        rows = yield from self._looked_up("id", "in", value, len(ordered))
        return {whole_at(row, "id", self): _reached(row) for row in rows}

    def _looked_up(
        self, column: str, expression: str, value: str, limit: int
    ) -> Exchange[list[dict[str, Any]]]:
        """Mautic's contacts of whom this is so."""
        asked = [*_where(0, column, expression, value), ("start", 0), ("limit", limit)]
        answer = yield Request("GET", "/api/contacts", urlencode(asked))
        document = object_in(answer, self)
        found = document.get("contacts")
        if isinstance(found, dict):
            found = list(found.values())
        return objects_at({"contacts": found}, "contacts", self)

    # -- writing ----------------------------------------------------------------------

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """An entry for every contact of the address or number; where there is none, a new one.

        A ban of all marketing is put into both channels of them.
        """
        results = []
        for entry in entries:
            results.append((yield from self._put(entry)))
        return results

    def _put(self, entry: Suppression) -> Exchange[Put]:
        if entry.scope not in self.holds.scopes:
            return Put(False, "Mautic holds no bans of one topic", final=True)
        channels = [entry.channel or entry.contact.channel]
        if entry.scope is Scope.ALL and entry.reason.legal:
            channels = list(_CHANNELS.values())
        there: list[dict[str, Any]] = []
        wanted = entry.contact.canonical
        for column in _columns(entry.contact.channel):
            there += yield from self._looked_up(column, _expression(wanted), wanted, _ROWS)
        if not there:
            return (yield from self._created(entry, channels))
        held = {whole_at(row, "id", self): _banned(row) for row in there}
        for number in sorted(held):
            for channel in channels:
                if not entry.reason.legal and str(channel) in held[number]:
                    # Mautic would put the bounce in the place of what somebody wrote by hand.
                    continue
                path = f"/api/contacts/{number}/dnc/{channel}/add"
                answer = yield sent("POST", path, _asked(entry))
                if answer.status != 404:
                    # Deleted in between, it is nobody any more.
                    object_in(answer, self)
        return Put(True)

    def _created(self, entry: Suppression, channels: Sequence[Channel]) -> Exchange[Put]:
        """A new contact, which is there with its entries or not at all."""
        [column, *_] = _columns(entry.contact.channel)
        asked = [{"channel": str(channel)} | _asked(entry) for channel in channels]
        contact = {column: entry.contact.canonical, "doNotContact": asked}
        answer = yield sent("POST", "/api/contacts/new", contact)
        refuse_wrong_settings(answer, self)
        if answer.status in (400, 422):
            return Put(False, "Mautic does not take such an address", final=True)
        told = object_in(answer, self).get("contact")
        if not isinstance(told, dict):
            raise ToolUnreadable("Mautic: contact is no object")
        held = {text(one, "channel") for one in objects_at(told, "doNotContact", self)}
        number = whole_at(told, "id", self)
        for channel in channels:
            if str(channel) not in held:
                path = f"/api/contacts/{number}/dnc/{channel}/add"
                answer = yield sent("POST", path, _asked(entry))
                object_in(answer, self)
        return Put(True)

    # -- webhooks ---------------------------------------------------------------------

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """Changed subscriptions, signed over the body: ``Webhook-Signature``, in base 64.

        The times are within what is signed.  Mautic sends what waited for its queue, and
        repeats what was not taken, so that they may be of days before; a repeat says
        nothing that was not so.
        """
        self._signed(request)
        events = called(request).get(_EVENT, [])
        if not isinstance(events, list) or not all(isinstance(one, dict) for one in events):
            raise HookRefused(f"{_EVENT} is no list of objects")
        found = (self._heard(event, now) for event in events)
        return tuple(change for change in found if change is not None)

    def replays(self, request: Request) -> str:
        """The signature: the same body is the same call."""
        return request.header("webhook-signature")

    def _signed(self, request: Request) -> None:
        secret = secret_of(self.place)
        signature = request.header("webhook-signature")
        right = hmac_base64(secret, request.body, "sha256")
        if not signature.isascii() or not same(signature, right):
            raise HookRefused("the signature is not Mautic's", http=401)

    def _heard(self, event: Mapping[str, Any], now: int) -> Change | None:
        channel = _CHANNELS.get(text(event, "channel"))
        if channel is None:
            return None
        row = event.get("contact")
        contact = _reached(row).get(channel) if isinstance(row, dict) else None
        if contact is None:
            # A contact whose address was taken away: nobody that could be written to.
            return None
        new, old = text(event, "new_status"), text(event, "old_status")
        said = Said.REMOVED if new == "contactable" else Said.ADDED
        reason = _STATUSES.get(old if said is Said.REMOVED else new)
        if reason is None:
            if said is Said.REMOVED:
                return None
            raise HookRefused("new_status is none that Mautic's documentation names")
        at = moment_of(event.get("timestamp"))
        if at is not None:
            # Its clock may be ahead; nobody has said anything later than now.
            at = min(at, now)
        entry = Suppression(contact, Scope.CHANNEL, reason, channel, at=at, note=f"{old} -> {new}")
        return Change(said, entry)


def _where(index: int, column: str, expression: str, value: object) -> list[tuple[str, object]]:
    """A condition as Mautic's API takes it."""
    return [
        (f"where[{index}][col]", column),
        (f"where[{index}][expr]", expression),
        (f"where[{index}][val]", value),
    ]


def _expression(value: str) -> str:
    """How a value is asked for.

    Mautic writes all values as HTML before it compares them, and turns them back for ``in``
    alone, where a comma stands between values.
    """
    return "in" if set(value) & set("'&<>") and not set(value) & set(',"') else "eq"


def _written(moment: int) -> str:
    """A time as Mautic's database has it, in UTC."""
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _columns(channel: Channel) -> tuple[str, ...]:
    """The fields by which Mautic reaches people in a channel, the first one first."""
    return ("email",) if channel is Channel.EMAIL else ("mobile", "phone")


def _asked(entry: Suppression) -> dict[str, object]:
    """An entry's reason as Mautic has it."""
    return {"reason": _NUMBERS[entry.reason], "comments": "suppression gateway"}


def _banned(row: Mapping[str, Any]) -> set[str]:
    """The channels that one of Mautic's contacts is banned from, bounces left aside."""
    entries = row.get("doNotContact")
    return {
        text(one, "channel")
        for one in (entries if isinstance(entries, list) else ())
        if isinstance(one, dict) and str(one.get("reason")) in _LEGAL
    }


def _reached(row: Mapping[str, Any]) -> dict[Channel, Contact]:
    """The address and the number of one of Mautic's contacts, where it has them.

    As ``fields.all``, or as ``fields.GROUP.FIELD.value`` where that is left out.
    """
    fields = row.get("fields")
    values: dict[str, Any] = {}
    if isinstance(fields, dict):
        for name, group in fields.items():
            if not isinstance(group, dict):
                continue
            for field, value in group.items():
                if name == "all":
                    values[field] = value
                elif isinstance(value, dict):
                    values.setdefault(field, value.get("value"))
    found: dict[Channel, Contact] = {}
    if (email := email_of(values.get("email"))) is not None:
        found[Channel.EMAIL] = email
    number = phone_of(values.get("mobile")) or phone_of(values.get("phone"))
    if number is not None:
        found[Channel.SMS] = number
    return found
