"""Amazon SES: the suppression list of an account in one region.

The list knows two reasons, BOUNCE and COMPLAINT, no topics and no "unsubscribed": an
objection is put there as COMPLAINT, and comes back by ``changes`` and ``listing`` as an
entry of that reason, with the note ``COMPLAINT``.  Whether it was known already is for
whoever keeps the register to say.

Its events come by SNS.  They are signed with a certificate that is pinned: the webhook's
secret is that certificate (PEM), its source the topic's ARN.
https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_ListSuppressedDestinations.html
https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_PutSuppressedDestination.html
https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-contents.html
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote, urlencode, urlsplit

import orjson

from gateway.clock import Clock, now_ms
from gateway.connector.answer import document, list_at, unreadable
from gateway.connector.bookmark import Bookmark
from gateway.connector.connector import (
    TOLERANCE,
    Connector,
    Exchange,
    Holds,
    HookRefused,
    Page,
    Place,
    Put,
)
from gateway.connector.saying import email_of, moment_of, seconds_ms, text
from gateway.connector.setting import lacking
from gateway.connector.suppression import DELIVERY, Change, Reason, Said, Suppression
from gateway.connector.topics import Topics
from gateway.connector.webhook import hook_document, secret_of
from gateway.contacts.contact import Channel
from gateway.entry.entry import Scope
from gateway.provider.credential import Credential
from gateway.provider.request import JSON, Answer, Request
from gateway.provider.sigv4 import SigV4
from gateway.provider.snssigning import VERSIONS, signed_by

_PATH: Final = "/v2/email/suppression/addresses"
_PAGE: Final = 1000
_LATE: Final = 60 * 60 * 1000
"""SNS repeats a delivery for an hour at the most, and with the time of the first."""

_REASONS: Final = {"BOUNCE": Reason.BOUNCE, "COMPLAINT": Reason.COMPLAINT}
_ON_LIST: Final = "OnAccountSuppressionList"
"""The subtype of an event that tells only that the address is on this list."""
_NO_COMPLAINT: Final = ("not-spam", "auth-failure", "dmarc")
_OPT_OUT: Final = ("opt-out", "opt-out-list")
_OUT: Final = ("OptOut", "OPT_OUT")
"""How a contact is out of a topic, as events and the API write it."""

_is_region = re.compile(r"[a-z]{2}(?:-[a-z]{2,12}){1,3}-[0-9]{1,2}").fullmatch
_is_topic = re.compile(r"arn:aws[a-z-]*:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}").fullmatch
_is_token = re.compile(r"[0-9A-Za-z]{1,512}").fullmatch
_is_certificate = re.compile(
    r"https://sns\.[a-z0-9-]{1,32}\.amazonaws\.com(?:\.cn)?"
    r"/SimpleNotificationService-[0-9a-f]{1,64}\.pem"
).fullmatch


class Ses(Connector):
    """``place`` is the region; ``username`` and ``secret`` an access key of IAM."""

    kind = "ses"
    title = "Amazon SES"
    url = "https://email.{region}.amazonaws.com"
    most = 1

    def __init__(self, place: Place, clock: Clock = now_ms) -> None:
        if not _is_region(place.place):
            raise lacking(place, "place", "write the region of the list, as eu-north-1")
        if not place.username:
            raise lacking(place, "username", "write the id of an access key, as AKIA…")
        if not place.secret:
            raise lacking(place, "secret_file", "name a file with the secret access key")
        if place.webhook_secret and not _is_topic(place.webhook_source):
            # A certificate of SNS's signs for all customers of a region.
            raise lacking(place, "webhook_source", "write the ARN of the SNS topic")
        url = (place.url or self.url).replace("{region}", place.place)
        if place.place.startswith("cn-") and not place.url:
            url += ".cn"
        super().__init__(replace(place, url=url), clock)
        self.url = url

    @property
    def holds(self) -> Holds:
        """The whole address, and nothing narrower."""
        return Holds(
            scopes=frozenset({Scope.ALL, Scope.CHANNEL}),
            channels=frozenset({Channel.EMAIL}),
            delivery=DELIVERY,
        )

    def warnings(self) -> list[str]:
        """What is lost in this list, and what it does beyond marketing."""
        told = [
            "SES sends nothing to an address on its list, contract messages neither",
            "SES knows no objection: one stands there as COMPLAINT",
        ]
        if self.place.accept_wider:
            told.append("a ban of one topic becomes a block of the whole address there")
        return told

    # -- what is asked ----------------------------------------------------------------

    def changes(self, cursor: str) -> Exchange[Page]:
        """What was added since, by ``StartDate``; never with an end, for clocks differ."""
        place = Bookmark.resume(cursor, self.clock())
        since = datetime.fromtimestamp(place.since // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        changes, token, bad = yield from self._page(place.next, (("StartDate", since),))
        after = place.follow(token) if token else place.close()
        return Page(changes, after.cursor, bool(token), bad)

    def listing(self, cursor: str) -> Exchange[Page]:
        """A page of the whole list, by ``NextToken``."""
        place = Bookmark.read(cursor)
        changes, token, bad = yield from self._page(place.next, ())
        after = place.follow(token) if token else Bookmark()
        return Page(changes, after.cursor, bool(token), bad)

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """One request for each; the same again changes nothing but the time."""
        results = []
        for entry in entries:
            reason = "BOUNCE" if entry.reason is Reason.BOUNCE else "COMPLAINT"
            written = {"EmailAddress": entry.contact.canonical, "Reason": reason}
            headers = (("Content-Type", JSON),)
            answer = yield Request("PUT", _PATH, "", headers, orjson.dumps(written))
            if answer.status == 400 and _error(answer) == "BadRequestException":
                results.append(Put(False, "SES does not take this address", final=True))
                continue
            if answer.status != 400:
                document(answer._replace(body=answer.body or b"{}"), self)
            results.append(Put(answer.good, "" if answer.good else "SES answers 400"))
        return results

    def prepare(self, request: Request, now: int) -> Request:
        """The request signed (SigV4) for the region and the host of ``url``."""
        target = urlsplit(self.place.url)
        whole = request._replace(path=target.path + request.path)
        whole = whole.with_headers({"Host": target.netloc})
        signer = SigV4("ses", lambda: now, self.place.place)
        signed = signer.write(whole, Credential(self.place.username, self.place.secret))
        return signed._replace(path=request.path)

    def _page(
        self, token: str, filters: tuple[tuple[str, str], ...]
    ) -> Exchange[tuple[tuple[Change, ...], str, int]]:
        """Changes, the token of the next page ("": none) and how many could not be read."""
        pairs = (*filters, ("PageSize", str(_PAGE)))
        answer = yield _asking(pairs, token)
        if token and answer.status == 400 and _error(answer) == "InvalidNextTokenException":
            # It was kept too long.  From the beginning, for nothing may be left out.
            token = ""
            answer = yield _asking(pairs, token)
        told = document(answer, self)
        if told == {}:
            return (), "", 0
        items = list_at(told, "SuppressedDestinationSummaries", self)
        after = told.get("NextToken") or ""
        if not isinstance(after, str) or (after and after == token):
            raise unreadable(self, "no next page")
        found = [_listed(item) for item in items]
        changes = tuple([one for one in found if one is not None])
        return changes, after, len(found) - len(changes)

    # -- what is told -----------------------------------------------------------------

    def hook(self, request: Request, now: int) -> tuple[Change, ...]:
        """Bounces that are permanent, complaints, and people's own unsubscribes.

        Raises HookRefused with 200 where SNS asks for a confirmation: its text tells the
        operator how to give it.
        """
        message = self._verified(request, now)
        if message["Type"] == "SubscriptionConfirmation":
            token = text(message, "Token")
            raise HookRefused(
                f"SNS asks to confirm the subscription; run: aws sns confirm-subscription"
                f" --topic-arn {self.place.webhook_source}"
                f" --token {token if _is_token(token) else 'TOKEN'}",
                http=200,
            )
        if message["Type"] != "Notification":
            return ()
        try:
            event = orjson.loads(message["Message"])
        except ValueError:
            # "Successfully validated SNS topic for Amazon SES event publishing."
            return ()
        return tuple(_told(event, text(message, "MessageId"), Topics(self.place)))

    def replays(self, request: Request) -> str:
        """The id of SNS's message."""
        return text(hook_document(request.body), "MessageId")

    def _verified(self, request: Request, now: int) -> dict[str, Any]:
        """The message of SNS; raises HookRefused."""
        message = hook_document(request.body)
        if not isinstance(message, dict) or not text(message, "Type"):
            raise HookRefused("no message of SNS (raw delivery is not signed: turn it off)")
        place = self.place
        secret = secret_of(place)
        if message.get("TopicArn") != place.webhook_source:
            raise HookRefused("a message of another SNS topic", http=401)
        try:
            good = signed_by(message, secret, now, VERSIONS)
        except ValueError:
            good = False
        if not good:
            where = text(message, "SigningCertURL")
            hint = f"; it names {where}" if _is_certificate(where) else ""
            raise HookRefused(
                f"not signed by a certificate in sync.tools {place.name}: "
                f"webhook_secret_file{hint}",
                http=401,
            )
        at = moment_of(message.get("Timestamp"))
        if at is None or not -TOLERANCE <= now - at <= _LATE:
            raise HookRefused("a message of SNS that is stale", http=401)
        return message


def _asking(pairs: tuple[tuple[str, str], ...], token: str) -> Request:
    if token:
        pairs = (*pairs, ("NextToken", token))
    # In order and with %20, as it is signed.
    return Request("GET", _PATH, urlencode(sorted(pairs), quote_via=quote))


def _error(answer: Answer) -> str:
    """The name of an error, which stands in a header or in the body."""
    for name, value in answer.headers:
        if name.lower() == "x-amzn-errortype":
            return value.partition(":")[0]
    try:
        return text(answer.json(), "__type").rpartition("#")[2]
    except ValueError:
        return ""


def _listed(item: object) -> Change | None:
    """An entry of the list; None where it cannot be read."""
    contact = email_of(item.get("EmailAddress") if isinstance(item, dict) else None)
    word = text(item, "Reason")
    if contact is None or word not in _REASONS or not isinstance(item, dict):
        return None
    when = item.get("LastUpdateTime")
    at = moment_of(when) if isinstance(when, str) else seconds_ms(when)
    entry = Suppression(contact, Scope.CHANNEL, _REASONS[word], Channel.EMAIL, at=at, note=word)
    return Change(Said.ADDED, entry)


def _told(event: object, message: str, topics: Topics) -> Iterator[Change]:
    """What an event of SES says; raises HookRefused."""
    kind = text(event, "eventType") or text(event, "notificationType")
    if kind == "Bounce":
        yield from _recipients(event, "bounce", "bouncedRecipients", message)
    elif kind == "Complaint":
        yield from _recipients(event, "complaint", "complainedRecipients", message)
    elif kind == "Subscription":
        yield from _preferences(event, message, topics)


def _recipients(event: Any, name: str, listed: str, message: str) -> Iterator[Change]:  # noqa: ANN401
    told = event.get(name)
    reason, note = _bounced(told) if name == "bounce" else _complained(told)
    if reason is None:
        return
    recipients = told.get(listed)
    if not isinstance(recipients, list):
        raise HookRefused(f"an event of SES without {listed}")
    at = moment_of(told.get("timestamp"))
    for one in recipients:
        contact = email_of(one.get("emailAddress") if isinstance(one, dict) else None)
        if contact is not None:
            entry = Suppression(contact, Scope.CHANNEL, reason, Channel.EMAIL, at=at, note=note)
            yield Change(Said.ADDED, entry, message)


def _bounced(told: object) -> tuple[Reason | None, str]:
    """Permanent bounces; that SES did not send, for its own list says so, is none."""
    subtype = text(told, "bounceSubType")
    if text(told, "bounceType") != "Permanent":
        return None, ""
    if subtype in (_ON_LIST, "UnsubscribedRecipient"):
        return None, ""
    return Reason.BOUNCE, f"Bounce {subtype}" if subtype.isalnum() else "Bounce"


def _complained(told: object) -> tuple[Reason | None, str]:
    """Complaints; not "not spam", and not that SES did not send to a complainer."""
    feedback = text(told, "complaintFeedbackType").lower()
    if feedback in _NO_COMPLAINT or text(told, "complaintSubType") == _ON_LIST:
        return None, ""
    if not isinstance(told, dict):
        return None, ""
    known = feedback in ("abuse", "fraud", "virus", "other", *_OPT_OUT)
    note = f"Complaint {feedback}" if known else "Complaint"
    return Reason.OBJECTION if feedback in _OPT_OUT else Reason.COMPLAINT, note


def _preferences(event: Any, message: str, topics: Topics) -> Iterator[Change]:  # noqa: ANN401
    """A person's choice by the unsubscribe link of SES's own contact lists."""
    told = event.get("subscription")
    contact = email_of(_first(event.get("mail")))
    chosen = told.get("newTopicPreferences") if isinstance(told, dict) else None
    if contact is None or not isinstance(chosen, dict):
        raise HookRefused("a subscription event of SES that cannot be read")
    at, note = moment_of(told.get("timestamp")), "Subscription"
    if chosen.get("unsubscribeAll") is True:
        entry = Suppression(
            contact, Scope.CHANNEL, Reason.OBJECTION, Channel.EMAIL, at=at, note=note
        )
        yield Change(Said.ADDED, entry, message)
    # A topic that people are out of by default is none that this person has refused.
    for name in sorted(_refused(chosen) - _refused(told.get("oldTopicPreferences"))):
        for topic in topics.ours(name):
            yield Change(
                Said.ADDED,
                Suppression(contact, Scope.TOPIC, Reason.OBJECTION, Channel.EMAIL, topic, at, note),
                message,
            )


def _refused(preferences: object) -> set[str]:
    """The topics that a contact is out of."""
    states = preferences.get("topicSubscriptionStatus") if isinstance(preferences, dict) else None
    found = {
        text(one, "topicName")
        for one in (states if isinstance(states, list) else [])
        if text(one, "subscriptionStatus") in _OUT
    }
    return found - {""}


def _first(mail: object) -> object:
    """The one recipient of a message: who has a link of their own is alone on it."""
    listed = mail.get("destination") if isinstance(mail, dict) else None
    return listed[0] if isinstance(listed, list) and len(listed) == 1 else None
