"""SendGrid: its lists of unsubscribes, groups, bounces, spam reports and invalid addresses.

Blocks are not read: they are temporary.  Nobody but SendGrid can put a bounce or a spam
report on its lists, so that these are not pushed: on the list of unsubscribes they would
be read back as what the person has said.
https://www.twilio.com/docs/sendgrid/api-reference/suppressions-global-suppressions
https://www.twilio.com/docs/sendgrid/api-reference/suppressions-suppressions
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/event
https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

from gateway.clock import Clock, now_ms
from gateway.connector.answer import document, list_at, objects
from gateway.connector.asking import post
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
from gateway.connector.joint import OVERLAP, joint_of, marks_of
from gateway.connector.saying import email_of, seconds_ms, text
from gateway.connector.setting import lacking
from gateway.connector.suppression import Change, Reason, Said, Suppression
from gateway.connector.topics import Topics
from gateway.connector.webhook import expect_fresh, hook_document, secret_of
from gateway.contacts.contact import Channel
from gateway.entry.entry import Scope
from gateway.provider.request import Answer, Request
from gateway.provider.signature import exact_base64

_PAGE: Final = 500
_STOOD: Final = 5
"""Pages in a row that may tell nothing new: more have moved than anybody adds meanwhile."""
_GROUPS: Final = "/v3/asm/groups"
_GLOBAL: Final = "/v3/asm/suppressions/global"
_NOT_TAKEN: Final = "SendGrid does not take this address"

_is_status = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}").fullmatch
_is_group = re.compile(r"[1-9][0-9]{0,18}").fullmatch
_counted = re.compile(r"([0-9]{1,12})(?: ([0-9]{1,2}))?").fullmatch
_is_account = re.compile(r"[!-~]+(?: [!-~]+)?").fullmatch


class _Part(NamedTuple):
    """One of its lists."""

    path: str
    reason: Reason
    note: str
    counted: bool = True
    """Whether it is read by offset, and can be asked for what is new."""


_PARTS: Final = (
    _Part("/v3/suppression/unsubscribes", Reason.OBJECTION, "unsubscribe"),
    _Part("/v3/asm/suppressions", Reason.OBJECTION, "group unsubscribe", counted=False),
    _Part("/v3/suppression/spam_reports", Reason.COMPLAINT, "spam report"),
    _Part("/v3/suppression/bounces", Reason.BOUNCE, "bounce"),
    _Part("/v3/suppression/invalid_emails", Reason.BOUNCE, "invalid address"),
)


class SendGrid(Connector):
    """``secret`` is an API key; ``place`` a subuser, where the list is a subuser's;
    ``topics`` the numbers of unsubscribe groups."""

    kind = "sendgrid"
    title = "SendGrid"
    url = "https://api.sendgrid.com"
    most = 1000

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        if not place.secret:
            raise lacking(place, "secret_file", "name a file with an API key")
        if place.place and not _is_account(place.place):
            raise lacking(place, "place", "write the subuser's name, or nothing")
        for topic, group in place.topics:
            if not _is_group(group):
                raise lacking(place, f"topics.{topic}", "write a group's number, as 12345")
        self._key: Any = _read_key(place) if place.webhook_secret else None
        super().__init__(replace(place, url=place.url or self.url), clock)
        self._topics = Topics(place)

    @property
    def holds(self) -> Holds:
        """All mail of the account, and the groups that the settings name."""
        return Holds(
            scopes=self._topics.scopes,
            channels=frozenset({Channel.EMAIL}),
            topics=self._topics.names,
        )

    def warnings(self) -> list[str]:
        """What its lists do beyond marketing."""
        return [
            "a global unsubscribe stops contract messages too, unless they are sent with "
            "bypass_list_management or bypass_unsubscribe_management",
            "deleting a group mails its members again",
        ]

    # -- what is asked ----------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """What is new in each of its lists, one after the other."""
        place = Bookmark.resume(cursor, self.clock())
        changes, bad, after = yield from self._page(place, place.since)
        done = after is None
        following = place.close() if after is None else after
        return Page(changes, following.cursor, not done, bad)

    def listing(self, cursor: str) -> Exchange[Page]:
        """A page of one of its lists."""
        changes, bad, after = yield from self._page(Bookmark.read(cursor), 0)
        return Page(changes, (after or Bookmark()).cursor, after is not None, bad)

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """All at once, by list: to the global one, and to each group that exists.

        What is put into a group that does not exist would land in the global list.
        """
        results: dict[int, Put] = {}
        wanted: dict[str, list[int]] = {}
        for number, entry in enumerate(entries):
            group = self._topics.theirs(entry.topic) if entry.scope is Scope.TOPIC else ""
            if not entry.reason.legal:
                results[number] = Put(False, "SendGrid takes no bounce or complaint", final=True)
            elif group is None:
                results[number] = Put(False, "this topic has no group there", final=True)
            else:
                wanted.setdefault(group, []).append(number)
        existing = (yield from self._groups()) if any(wanted) else set()
        for group, numbers in wanted.items():
            if group and group not in existing:
                cause = f"sync.tools {self.place.name}: topics: SendGrid has no group {group}"
                results |= dict.fromkeys(numbers, Put(False, cause))
                continue
            path = f"{_GROUPS}/{group}/suppressions" if group else _GLOBAL
            found = yield from self._put([entries[number] for number in numbers], path)
            results |= dict(zip(numbers, found, strict=True))
        return [results[number] for number in range(len(entries))]

    def prepare(self, request: Request, now: int) -> Request:
        """The request with the key, and with the subuser that it is for."""
        headers: dict[str, str | None] = {"Authorization": f"Bearer {self.place.secret}"}
        if self.place.place:
            headers["On-Behalf-Of"] = self.place.place
        return request.with_headers(headers)

    def _page(
        self, place: Bookmark, since: int
    ) -> Exchange[tuple[tuple[Change, ...], int, Bookmark | None]]:
        """Changes, how many could not be read, and where to go on; None: at the end."""
        if place.part >= len(_PARTS):
            raise ToolUnreadable("the cursor is none of this connector's")
        part = _PARTS[place.part]
        turned = place.turn() if place.part + 1 < len(_PARTS) else None
        if not part.counted:
            # Not by parts, and whole: it is looked through here for what is new.
            answer = yield Request("GET", part.path)
            items = self._items(answer)
            groups = [each for item in items for each in self._grouped(item, since)]
            good = tuple([each for each in groups if each is not None])
            return good, len(groups) - len(good), turned
        counted = _counted(place.next)
        offset, stood = (int(counted[1]), int(counted[2] or 0)) if counted else (0, 0)
        pairs = {"limit": _PAGE, "offset": offset}
        if since:
            pairs["start_time"] = since // 1000
        answer = yield Request("GET", part.path, urlencode(pairs))
        items = self._items(answer)
        keys = [_mark(item) for item in items]
        joint = joint_of(place.tail, keys)
        if joint is None and stood < _STOOD:
            # More has moved than pages overlap: some of it again, that nothing is missed.
            return (), 0, place.follow(f"{max(0, offset - 2 * _PAGE)} {stood + 1}")
        found = [_listed(item, part) for item in items[joint or 0 :]]
        changes = tuple([each for each in found if each is not None])
        bad = len(found) - len(changes)
        # A full page of what was read before: as many came in front, or offsets are not heeded.
        if not found:
            stood += 1
        elif place.tail:
            stood = 0
        if len(items) == _PAGE and stood <= _STOOD:
            further = f"{offset + _PAGE - OVERLAP} {stood}"
            return changes, bad, place.follow(further, marks_of(keys))
        return changes, bad, turned

    def _grouped(self, item: object, since: int) -> Iterator[Change | None]:
        """What an entry of a group says; None where it cannot be read."""
        contact = email_of(text(item, "email"))
        group = item.get("group_id") if isinstance(item, dict) else None
        if contact is None or not isinstance(item, dict) or type(group) is not int:
            yield None
            return
        at = seconds_ms(item.get("created_at"))
        if at is not None and at < since:
            return
        for topic in self._topics.ours(str(group)):
            entry = Suppression(
                contact,
                Scope.TOPIC,
                Reason.OBJECTION,
                Channel.EMAIL,
                topic,
                at,
                "group unsubscribe",
            )
            yield Change(Said.ADDED, entry)

    def _groups(self) -> Exchange[set[str]]:
        """The numbers of the groups that there are."""
        answer = yield Request("GET", _GROUPS)
        items = self._items(answer)
        return {str(item["id"]) for item in items if type(item.get("id")) is int}

    def _items(self, answer: Answer) -> list[dict[str, Any]]:
        """A list of objects; raises ToolRefused and ToolUnreadable."""
        return objects(document(answer, self), self)

    def _put(self, entries: Sequence[Suppression], path: str) -> Exchange[list[Put]]:
        addresses = [entry.contact.canonical for entry in entries]

        def ask(part: Sequence[str]) -> Exchange[list[Put] | None]:
            answer = yield post(path, {"recipient_emails": list(dict.fromkeys(part))})
            if answer.status in (400, 413):
                return None
            taken = list_at(document(answer, self), "recipient_emails", self)
            there = {one.lower() for one in taken if isinstance(one, str)}
            return [
                Put(True) if one.lower() in there else Put(False, "SendGrid does not name it")
                for one in part
            ]

        return (yield from put_halving(addresses, ask, _NOT_TAKEN))

    # -- what is told -----------------------------------------------------------------

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """Bounces, spam reports, unsubscribes and, as taken back, resubscribes.

        That a message was dropped says only that the address is on a list.
        """
        self._verify(request, now)
        events = hook_document(request.body)
        if not isinstance(events, list) or not all(isinstance(one, dict) for one in events):
            raise HookRefused("no list of events")
        return tuple([change for event in events for change in self._told(event)])

    def replays(self, request: Request) -> str:
        """A hash of what is signed."""
        stamp = request.header(_STAMP.lower())
        return hashlib.sha256(stamp.encode(errors="replace") + b"." + request.body).hexdigest()

    def _verify(self, request: Request, now: int) -> None:
        """Raises HookRefused unless SendGrid has signed it, and now."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ec import ECDSA
        from cryptography.hazmat.primitives.hashes import SHA256

        secret_of(self.place)
        stamp, shown = request.header(_STAMP.lower()), request.header(_SIGNATURE.lower())
        if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
            raise HookRefused("no signed time (turn on the signed event webhook)", http=401)
        expect_fresh(int(stamp), now)
        try:
            octets = exact_base64(shown)
            self._key.verify(octets, stamp.encode() + request.body, ECDSA(SHA256()))
        except (ValueError, InvalidSignature):
            raise HookRefused(
                f"not signed by the key in sync.tools {self.place.name}: webhook_secret_file",
                http=401,
            ) from None

    def _told(self, event: dict[str, Any]) -> Iterator[Change]:
        kind = text(event, "event")
        contact = email_of(text(event, "email"))
        if contact is None:
            return
        at, id = seconds_ms(event.get("timestamp")), text(event, "sg_event_id")
        said, scope, reason, note = Said.ADDED, Scope.CHANNEL, Reason.OBJECTION, kind
        named: tuple[str | None, ...] = (None,)
        if kind in ("group_unsubscribe", "group_resubscribe"):
            group = event.get("asm_group_id")
            if type(group) is int or isinstance(group, str):
                scope, named = Scope.TOPIC, self._topics.ours(str(group))
            elif kind == "group_resubscribe":
                return
            if kind == "group_resubscribe":
                said = Said.REMOVED
        elif kind == "spamreport":
            reason = Reason.COMPLAINT
        elif kind == "bounce" and text(event, "type") == "bounce":
            reason = Reason.BOUNCE
            status = text(event, "status")
            note = f"bounce {status}" if _is_status(status) else "bounce"
        elif kind != "unsubscribe":
            return
        for topic in named:
            entry = Suppression(contact, scope, reason, Channel.EMAIL, topic, at, note)
            yield Change(said, entry, id)


_SIGNATURE: Final = "X-Twilio-Email-Event-Webhook-Signature"
_STAMP: Final = "X-Twilio-Email-Event-Webhook-Timestamp"


def _read_key(place: Place) -> Any:  # noqa: ANN401 - cryptography is loaded late
    """The public key by which webhooks are known; raises InputError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key

    lines = [line for line in place.webhook_secret.split("\n") if not line.startswith("-----")]
    try:
        key: Any = load_der_public_key(
            base64.b64decode("".join("".join(lines).split()), validate=True)
        )
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise lacking(
            place, "webhook_secret_file", "it holds no verification key; copy it from Mail Settings"
        )
    return key


def _mark(item: dict[str, Any]) -> str:
    """What tells an entry of a list from the others."""
    return f"{item.get('created')} {item.get('email')}"


def _listed(item: dict[str, Any], part: _Part) -> Change | None:
    """An entry of a list; None where it cannot be read."""
    contact = email_of(item.get("email"))
    if contact is None:
        return None
    at, note = seconds_ms(item.get("created")), part.note
    status = text(item, "status")
    if part.reason is Reason.BOUNCE and _is_status(status):
        note = f"{note} {status}"
    entry = Suppression(contact, Scope.CHANNEL, part.reason, Channel.EMAIL, at=at, note=note)
    return Change(Said.ADDED, entry)
