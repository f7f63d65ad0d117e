"""Mandrill (Mailchimp Transactional): the account and each subaccount have a rejection list.

https://mailchimp.com/developer/transactional/api/rejects/
https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from gateway.clock import Clock, now_ms
from gateway.connector.answer import document, objects, refused, unreadable
from gateway.connector.area import Areas
from gateway.connector.asking import post
from gateway.connector.connector import (
    Connector,
    Exchange,
    Holds,
    HookRefused,
    Page,
    Place,
    Put,
    ToolRefused,
)
from gateway.connector.outcome import DONE, FOREIGN
from gateway.connector.reach import Reach
from gateway.connector.saying import canonical, email_of, moment_of
from gateway.connector.setting import need
from gateway.connector.suppression import DELIVERY, Change, Reason, Said, Suppression
from gateway.connector.webhook import hook_list, told
from gateway.contacts.contact import Channel
from gateway.provider.problem import Refusal
from gateway.provider.request import Answer, Pairs, Request, only_field, read_form
from gateway.provider.signature import hmac_base64, same

_SIGNATURE: Final = "x-mandrill-signature"
_MOST: Final = 1000
"""Entries that Mandrill shows of a list, however many there are."""
_REST: Final = "rest:"
"""The cursor behind the entries that Mandrill shows of a list that has more."""
_REASONS: Final = {
    "hard-bounce": Reason.BOUNCE,
    "spam": Reason.COMPLAINT,
    "unsub": Reason.OBJECTION,
    "custom": Reason.BLOCKED,
}
_EVENTS: Final = {"hard_bounce": "hard-bounce", "spam": "spam", "unsub": "unsub"}
"""Events of messages, and the reasons that they become."""
_SILENT: Final = ("soft-bounce",)
"""Reasons that tell nothing: it may be over tomorrow."""
_COMMENT: Final = "suppression gateway: "
_is_ours = re.compile(_COMMENT + r"(objection|complaint|bounce|blocked)").fullmatch
_DENIED: Final = ("blacklist", "denylist")
_ALLOWED: Final = ("whitelist", "safelist", "allowlist")
"""What Mandrill calls its lists in events; it has renamed them."""
_TEST_KEY: Final = "test-webhook"
"""With this Mandrill signs what it sends to see whether a URL answers."""
_NEVER: Final = Put(
    done=False, cause="Mandrill does not add it: is the address on its allowlist?", final=True
)
_NO_ADDRESS: Final = Put(done=False, cause="Mandrill takes this for no address", final=True)


class Mandrill(Connector):
    """``place`` is a subaccount, "" the account; ``topics`` name subaccounts of their own."""

    kind = "mandrill"
    title = "Mandrill"
    url = "https://mandrillapp.com/api/1.3"
    speaks = frozenset({500})

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        super().__init__(place, clock)
        need(place, "secret_file", place.secret, "a file that holds an API key")
        self._areas = Areas(place, place.place)

    @property
    def holds(self) -> Holds:
        """Bans of e-mail, of all of it or of topics with a subaccount; no whole list."""
        return Holds(
            self._areas.scopes(),
            frozenset({Channel.EMAIL}),
            self._areas.topics,
            lists=False,
            apart=bool(self._areas.topics),
            delivery=DELIVERY,
        )

    def warnings(self) -> list[str]:
        """Its lists know no marketing, and no pages."""
        found = [
            f"Mandrill shows {_MOST} entries of a list and no more: what a longer list holds "
            "is learned by webhook, or by importing its export"
        ]
        if not self.place.place:
            found.append(
                "a rejection of the account stops receipts too: send marketing by a subaccount "
                "and write it as place"
            )
        if self.place.webhook_secret and not self.place.webhook_source:
            found.append(
                "webhook_source is not set, so no webhook is believed: write the URL exactly "
                "as Mandrill has it"
            )
        return found

    def prepare(self, request: Request, now: int) -> Request:
        """The key goes into the document."""
        return request.with_body(
            orjson.dumps(orjson.loads(request.body) | {"key": self.place.secret})
        )

    # -- reading ----------------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """What one list shows of what is new, and all that it shows where "" is asked for.

        A list of more entries than Mandrill shows has others, which webhooks tell of.
        """
        now = self.clock()
        reach = Reach.read(cursor, self._areas.names, 0)
        entries = yield from self._entries(reach.name)
        times = [_newest(one) for one in entries]
        on = reach.done(now, max(times, default=0))
        recent = [
            one for one, at in zip(entries, times, strict=True) if not at or at >= reach.asked
        ]
        changes, bad = self._read(recent, reach.name)
        return Page(changes, on.text, more=on.index > 0, bad=bad)

    def listing(self, cursor: str) -> Exchange[Page]:
        """One list, that may have fewer entries than Mandrill shows at the most.

        Of a longer one, what is shown is told, and then ToolUnreadable raised, so that
        nobody takes what is not shown for gone.
        """
        names = self._areas.names
        told_before, name = cursor.startswith(_REST), cursor.removeprefix(_REST)
        name = name if name in names else names[0]
        entries = yield from self._entries(name)
        changes, bad = self._read(entries, name)
        if len(entries) >= _MOST and told_before:
            raise unreadable(
                self,
                f"{_MOST} entries, which is all it shows of a list: import its export, "
                "and let webhooks tell what is new",
            )
        if len(entries) >= _MOST:
            return Page(changes, _REST + name, more=True, bad=bad)
        later = names[names.index(name) + 1 :]
        return Page(changes, later[0] if later else "", more=bool(later), bad=bad)

    def _entries(self, area: str) -> Exchange[list[dict[str, Any]]]:
        asked = {"include_expired": False} | ({"subaccount": area} if area else {})
        return objects(self._document((yield post("/rejects/list.json", asked))), self)

    def _document(self, answer: Answer) -> Any:  # noqa: ANN401 - JSON is of any type
        """The JSON of an answer; raises ToolRefused and ToolUnreadable.

        Mandrill tells of every error by 500 and a document with its name.
        """
        if answer.good:
            return document(answer, self)
        settings = f"sync.tools {self.place.name}"
        name = _error(answer)
        if name == "Invalid_Key":
            raise ToolRefused(f"Mandrill refuses the key (Invalid_Key): {settings}: secret_file")
        if name == "Unknown_Subaccount":
            raise ToolRefused(
                f"Mandrill knows no such subaccount: check {settings}: place and topics"
            )
        if name:
            raise unreadable(self, f"the error {name}")
        raise refused(answer, self)

    def _read(self, entries: Sequence[dict[str, Any]], area: str) -> tuple[tuple[Change, ...], int]:
        """What entries tell, and how many cannot be read."""
        changes: list[Change] = []
        bad = 0
        for one in entries:
            if one.get("reason") in _SILENT or one.get("expired") is True:
                continue
            # Without a subaccount asked for, Mandrill shows those of all.
            of = one.get("subaccount") or area
            said = list(self._said(one, str(of)))
            bad += not said and str(of) in self._areas.names
            changes += said
        return tuple(changes), bad

    def _said(
        self,
        one: Mapping[str, Any],
        area: str,
        said: Said = Said.ADDED,
        at: int | None = None,
        mark: str = "",
    ) -> Iterator[Change]:
        """What an entry of a list tells; none where it cannot be read."""
        contact = email_of(one.get("email"))
        ours = _is_ours(str(one.get("detail") or ""))
        reason = Reason(ours[1]) if ours else _REASONS.get(str(one.get("reason")))
        if said is Said.REMOVED:
            reason = Reason.OBJECTION
        if contact is None or reason is None:
            return
        note = str(one.get("reason") or "")[:40] if said is Said.ADDED else ""
        began = moment_of(one.get("created_at")) if at is None else at
        for scope, topic in self._areas.meanings(area):
            entry = Suppression(contact, scope, reason, Channel.EMAIL, topic, began, note)
            yield Change(said, entry, mark)

    # -- writing ----------------------------------------------------------------------

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """One request for each entry and list; the comment keeps the reason."""
        results: list[Put] = []
        for entry in entries:
            areas = self._areas.of(entry)
            result = DONE if areas else FOREIGN
            for area in areas:
                if result.done:
                    result = yield from self._added(entry, area)
            results.append(result)
        return results

    def _added(self, entry: Suppression, area: str) -> Exchange[Put]:
        text = entry.contact.canonical
        place = {"subaccount": area} if area else {}
        asked = {"email": text, "comment": f"{_COMMENT}{entry.reason}"} | place
        answer = yield post("/rejects/add.json", asked)
        if not answer.good and _error(answer) == "ValidationError":
            return _NO_ADDRESS
        found = self._document(answer)
        if not isinstance(found, dict) or not isinstance(found.get("added"), bool):
            raise unreadable(self, "no word of what was added")
        if found["added"]:
            return DONE
        # It may stand there already.
        listed = self._document((yield post("/rejects/list.json", {"email": text} | place)))
        there = any(canonical(one.get("email")) == text for one in objects(listed, self))
        return DONE if there else _NEVER

    # -- webhooks ---------------------------------------------------------------------

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """Message events ``hard_bounce``, ``spam``, ``unsub`` and ``reject``, and the list's own.

        The signature covers the URL as Mandrill has it and the fields, and no time.  To see
        whether the URL answers, Mandrill sends HEAD, or no events with a key of its own.
        """
        if request.method in ("GET", "HEAD"):
            return ()
        try:
            pairs = read_form(request)
            text = only_field(pairs, "mandrill_events", needed=True)
        except Refusal as refusal:
            raise HookRefused(str(refusal)) from None
        if text.strip() == "[]" and self._signed(request, pairs, _TEST_KEY):
            return ()
        if not self.place.webhook_secret or not self.place.webhook_source:
            raise HookRefused("webhook_secret_file and webhook_source are not both set", http=401)
        if not self._signed(request, pairs, self.place.webhook_secret):
            raise HookRefused("the signature is not Mandrill's", http=401)
        try:
            events = orjson.loads(text)
        except orjson.JSONDecodeError:
            raise HookRefused("mandrill_events is not JSON") from None
        changes: list[Change] = []
        bad = 0
        for event in hook_list(events):
            if not isinstance(event, dict):
                raise HookRefused("an event that is no object")
            heard = self._heard(event)
            said = [] if heard is None else list(heard)
            bad += heard is not None and not said
            changes += said
        if bad and not changes:
            raise HookRefused("no event has an address and a reason that is known")
        return tuple(changes)

    def replays(self, request: Request) -> str:
        """The signature, which is the same when the same is sent again.

        "" where it is not made with the tool's own key: whoever asks whether the URL answers
        may sign what he likes, and nothing is told.
        """
        try:
            pairs = read_form(request)
        except Refusal:
            return ""
        key = self.place.webhook_secret
        return request.header(_SIGNATURE) if key and self._signed(request, pairs, key) else ""

    def _signed(self, request: Request, pairs: Pairs, key: str) -> bool:
        shown = request.header(_SIGNATURE)
        return shown.isascii() and same(shown, signature(key, self.place.webhook_source, pairs))

    def _heard(self, event: Mapping[str, Any]) -> Iterator[Change] | None:
        """What an event tells; None: it is of something else, or of a list that is not ours."""
        at = event.get("ts")
        at = at * 1000 if type(at) is int and 0 < at < 10**11 else None
        entry, action = event.get("reject") or event.get("entry"), event.get("action")
        if event.get("type") in _DENIED and isinstance(entry, dict):
            area = str(entry.get("subaccount") or "")
            if area not in self._areas.names or entry.get("reason") in _SILENT:
                return None
            return self._said(entry, area, Said.REMOVED if action == "remove" else Said.ADDED, at)
        if event.get("type") in _ALLOWED and isinstance(entry, dict):
            # What is put on the allowlist is taken off the rejection list.
            return (
                self._said(entry, self._areas.main, Said.REMOVED, at) if action == "add" else None
            )
        message, kind = event.get("msg"), str(event.get("event"))
        if not isinstance(message, dict):
            return None
        why = _EVENTS.get(kind)
        if kind == "reject":
            rejected = message.get("reject")
            why = rejected.get("reason") if isinstance(rejected, dict) else None
        area = str(message.get("subaccount") or "")
        if not self._areas.main and area not in self._areas.names:
            area = ""
        if why not in _REASONS or area not in self._areas.names:
            return None
        email = message.get("email")
        mark = told(self.place.webhook_secret, at, kind, event.get("_id"), email, area)
        return self._said({"email": email, "reason": why}, area, at=at, mark=mark)


def signature(key: str, url: str, pairs: Pairs) -> str:
    """``X-Mandrill-Signature``: the URL and the fields in order of their names, joined.

    https://mailchimp.com/developer/transactional/guides/track-respond-activity-webhooks/
    """
    text = url + "".join(name + value for name, value in sorted(pairs))
    return hmac_base64(key, text.encode(), "sha1")


def _newest(one: Mapping[str, Any]) -> int:
    """When an entry was made or renewed; 0: it does not say."""
    return max(moment_of(one.get(name)) or 0 for name in ("created_at", "last_event_at"))


def _error(answer: Answer) -> str:
    """The name of Mandrill's error; "" where the answer is none of its own."""
    try:
        name = answer.json().get("name")
    except (ValueError, AttributeError):
        return ""
    return name if isinstance(name, str) and re.fullmatch("[A-Za-z_]{1,40}", name) else ""
