"""Postmark: each message stream of a server has a suppression list.

https://postmarkapp.com/developer/api/suppressions-api
https://postmarkapp.com/developer/webhooks/subscription-change-webhook
https://postmarkapp.com/developer/webhooks/bounce-webhook
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from gateway.clock import DAY_MS, Clock, now_ms
from gateway.connector.answer import document, list_at, refused
from gateway.connector.area import Areas
from gateway.connector.asking import get, post
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
from gateway.connector.outcome import DONE, FOREIGN, UNANSWERED, unheld
from gateway.connector.reach import Reach
from gateway.connector.saying import canonical, day, email_of, moment_of
from gateway.connector.setting import need
from gateway.connector.suppression import Change, Reason, Said, Suppression
from gateway.connector.webhook import hook_document, hook_list, known, told
from gateway.contacts.contact import Channel
from gateway.provider.request import Answer, Request

_TOKEN: Final = "X-Postmark-Server-Token"  # noqa: S105 - a header's name
_MAIN: Final = "broadcast"
"""The stream that Postmark makes for marketing mail."""
_CONTRACTS: Final = "outbound"
"""The stream that Postmark makes for transactional mail."""
_BAD_ADDRESS: Final = (300, 406)
"""Error codes: the address is none, or the recipient is inactive already."""
_FIRST_YEAR: Final = 2019
"""The year before suppression lists came; what is older is listed with it."""
_FAILED: Final = Put(done=False, cause="Postmark does not take this address", final=True)


class Postmark(Connector):
    """``place`` is the stream for all marketing mail, ``topics`` name streams of their own."""

    kind = "postmark"
    title = "Postmark"
    url = "https://api.postmarkapp.com"
    most = 50

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        super().__init__(place, clock)
        need(place, "secret_file", place.secret, "a file that holds the server's API token")
        self._areas = Areas(place, place.place or _MAIN)

    @property
    def holds(self) -> Holds:
        """Bans of e-mail, of all of it or of topics with a stream."""
        channels = frozenset({Channel.EMAIL})
        topics = self._areas.topics
        return Holds(self._areas.scopes(), channels, topics, apart=bool(topics))

    def warnings(self) -> list[str]:
        """The transactional stream is none for bans of marketing."""
        if _CONTRACTS not in self._areas.names:
            return []
        return [
            f"{_CONTRACTS} is the stream of transactional mail: an address that is put there "
            "gets no receipts either; send marketing by a broadcast stream"
        ]

    def prepare(self, request: Request, now: int) -> Request:
        """The token goes into a header."""
        return request.with_headers({_TOKEN: self.place.secret})

    # -- reading ----------------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """One stream, from the day before the one that is due: Postmark counts in days.

        Of which time zone its days are, it does not say.
        """
        now = self.clock()
        reach = Reach.read(cursor, self._areas.names, now - DAY_MS)
        query = f"fromdate={day(reach.asked - DAY_MS)}"
        entries, bad = self._entries((yield self._dump(reach.name, query)))
        on = reach.done(now, max((at or 0 for _, at in entries), default=0))
        changes, unread = self._listed(entries, reach.name)
        return Page(changes, on.text, more=on.index > 0, bad=bad + unread)

    def listing(self, cursor: str) -> Exchange[Page]:
        """One year of one stream, for Postmark knows no pages."""
        names = self._areas.names
        name, _, year_text = cursor.rpartition(":")
        if name not in names or not year_text.isdecimal():
            name, year_text = names[0], str(_FIRST_YEAR)
        year, last = int(year_text), datetime.fromtimestamp(self.clock() // 1000, UTC).year
        # A day more at both ends, whatever the time zone; each entry is told in its own year.
        bounds = [f"fromdate={year - 1}-12-31"] if year > _FIRST_YEAR else []
        bounds += [f"todate={year + 1}-01-01"] if year < last else []
        entries, bad = self._entries((yield self._dump(name, "&".join(bounds))))
        due = [each for each in entries if year == _year(each[1], last)]
        changes, unread = self._listed(due, name)
        later = names[names.index(name) + 1 :]
        on = f"{name}:{year + 1}" if year < last else f"{later[0]}:{_FIRST_YEAR}" if later else ""
        return Page(changes, on, more=bool(on), bad=bad + unread)

    def _dump(self, stream: str, query: str) -> Request:
        return get(f"{_path(stream)}/dump", query)

    def _entries(self, answer: Answer) -> tuple[list[tuple[dict[str, Any], int | None]], int]:
        """The entries of a dump, with the time of each, and how many are none."""
        if answer.status == 422:
            raise self._stream_refused(answer)
        found = list_at(document(answer, self), "Suppressions", self)
        entries = [(one, moment_of(one.get("CreatedAt"))) for one in found if isinstance(one, dict)]
        return entries, len(found) - len(entries)

    def _listed(
        self, entries: Sequence[tuple[dict[str, Any], int | None]], stream: str
    ) -> tuple[tuple[Change, ...], int]:
        """What entries of a stream tell, and how many tell nothing that can be read."""
        changes: list[Change] = []
        bad = 0
        for one, at in entries:
            said = list(self._said(one, "EmailAddress", stream, at))
            bad += not said
            changes += said
        return tuple(changes), bad

    def _said(
        self,
        one: dict[str, Any],
        name: str,
        stream: str,
        at: int | None,
        said: Said = Said.ADDED,
        told_by: str = "",
    ) -> Iterator[Change]:
        """The changes that one entry of a stream tells; none where it cannot be read."""
        contact = email_of(one.get(name))
        reason = _reason(one) if said is Said.ADDED else Reason.OBJECTION
        if contact is None or reason is None:
            return
        note = " ".join(str(one.get(word) or "") for word in ("SuppressionReason", "Origin"))
        note = note.strip()[:80] if said is Said.ADDED else ""
        for scope, topic in self._areas.meanings(stream):
            entry = Suppression(contact, scope, reason, Channel.EMAIL, topic, at, note)
            yield Change(said, entry, told_by)

    # -- writing ----------------------------------------------------------------------

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """One request for each stream, of all its entries.

        Postmark makes manual suppressions of them, so that a bounce or a complaint, which
        would be read back as a ban, is not taken as what it is.
        """
        results = [unheld(one) or (DONE if self._areas.of(one) else FOREIGN) for one in entries]
        for stream in self._areas.names:
            due = [
                place
                for place, one in enumerate(entries)
                if results[place].done and stream in self._areas.of(one)
            ]
            for place, result in (yield from self._sent(stream, entries, due)).items():
                results[place] = result
        return results

    def _sent(
        self, stream: str, entries: Sequence[Suppression], due: Sequence[int]
    ) -> Exchange[dict[int, Put]]:
        """What became of these entries in a stream."""
        if not due:
            return {}
        texts = list(dict.fromkeys(entries[place].contact.canonical for place in due))
        asked = {"Suppressions": [{"EmailAddress": text} for text in texts]}
        answer = yield post(_path(stream), asked)
        if answer.status == 422 and len(due) > 1:
            # One address spoils them all: each for itself.
            alone: dict[int, Put] = {}
            for place in due:
                alone |= yield from self._sent(stream, entries, [place])
            return alone
        if answer.status == 422:
            if _error(answer) not in _BAD_ADDRESS:
                raise self._stream_refused(answer)
            return dict.fromkeys(due, _FAILED)
        found = list_at(document(answer, self), "Suppressions", self)
        status = {
            canonical(one.get("EmailAddress")): str(one.get("Status"))
            for one in found
            if isinstance(one, dict)
        }
        words = {"Suppressed": DONE, "Failed": _FAILED}
        return {
            place: words.get(status.get(entries[place].contact.canonical, ""), UNANSWERED)
            for place in due
        }

    def _stream_refused(self, answer: Answer) -> Exception:
        """A request that Postmark understands and does not carry out: mostly the stream."""
        code = _error(answer)
        if code is None:
            return refused(answer, self)
        return ToolRefused(
            f"Postmark refuses the request (error {code}): "
            f"check the streams in sync.tools {self.place.name}: place and topics"
        )

    # -- webhooks ---------------------------------------------------------------------

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """``SubscriptionChange``, ``Bounce`` (hard ones) and ``SpamComplaint``.

        Postmark signs nothing: it is known by the secret, as a password in the URL or a
        header.  It calls again for hours, so that no time is too old.
        """
        known(request, self.place)
        if request.method in ("GET", "HEAD"):
            return ()
        changes: list[Change] = []
        for record in hook_list(hook_document(request.body)):
            if not isinstance(record, dict):
                raise HookRefused("the body is not a record of Postmark's")
            changes += self._heard(record)
        return tuple(changes)

    def _heard(self, record: dict[str, Any]) -> list[Change]:
        kind, stream = record.get("RecordType"), record.get("MessageStream")
        named = {"SubscriptionChange": ("Recipient", "ChangedAt")}.get(
            str(kind), ("Email", "BouncedAt")
        )
        address_name, time_name = named
        said = Said.ADDED
        if kind == "Bounce":
            if record.get("TypeCode") != 1 and record.get("Type") != "HardBounce":
                return []
            record = record | {"SuppressionReason": "HardBounce", "Origin": "Recipient"}
        elif kind == "SpamComplaint":
            record = record | {"SuppressionReason": "SpamComplaint", "Origin": "Recipient"}
        elif kind == "SubscriptionChange":
            if not isinstance(record.get("SuppressSending"), bool):
                raise HookRefused("SuppressSending is not true or false")
            said = Said.ADDED if record["SuppressSending"] else Said.REMOVED
        else:
            return []
        if not isinstance(stream, str) or stream not in self._areas.names:
            return []
        at = moment_of(record.get(time_name))
        parts = (kind, record.get("MessageID"), record.get(address_name), said)
        mark = told(self.place.webhook_secret, at, *parts)
        changes = list(self._said(record, address_name, stream, at, said, mark))
        if not changes:
            raise HookRefused("the record has no address, or a reason that is not known")
        return changes


def _year(at: int | None, last: int) -> int:
    """The year in which an entry is listed."""
    year = _FIRST_YEAR if at is None else datetime.fromtimestamp(at // 1000, UTC).year
    return max(_FIRST_YEAR, min(year, last))


def _path(stream: str) -> str:
    return f"/message-streams/{quote(stream, safe='')}/suppressions"


def _error(answer: Answer) -> int | None:
    """Postmark's own code of an error."""
    try:
        code = answer.json().get("ErrorCode")
    except (ValueError, AttributeError):
        return None
    return code if isinstance(code, int) else None


def _reason(one: dict[str, Any]) -> Reason | None:
    """An unsubscribe is a manual suppression that the recipient made."""
    kind = one.get("SuppressionReason")
    if kind == "ManualSuppression":
        return Reason.OBJECTION if one.get("Origin") == "Recipient" else Reason.BLOCKED
    return {"HardBounce": Reason.BOUNCE, "SpamComplaint": Reason.COMPLAINT}.get(str(kind))
