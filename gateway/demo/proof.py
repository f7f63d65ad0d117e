"""Whether the world looks as the expectation says: nothing more, nothing less.

The proof reads what a real gateway left in the demo's folder (the Maildir, the
archive, the held messages) and what the sending tools heard, and compares all of it
with the hand-written expectation.  It never asks the rules.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.decision.facts import Outcome
from gateway.demo.expectation import Expected, Fate
from gateway.demo.mailing import AFTER_THE_CLICK, WITHOUT_LINK
from gateway.demo.observation import Digests, Observation, Record, message_id_of, observe
from gateway.demo.person import BANS_DURING_DEMO, CLICKS_DURING_DEMO
from gateway.demo.site import DemoSite
from gateway.demo.texter import read_texts
from gateway.demo.textproof import TextCase
from gateway.demo.tool import Entry, read_tool
from gateway.demo.transcript import Sent, read_transcript, record_in, rule_in
from gateway.entry.entry import Scope
from gateway.records.record import Result

_OUTCOMES = {
    Fate.ARRIVES: (Outcome.FORWARD, Result.FORWARDED),
    Fate.SUPPRESSED: (Outcome.SUPPRESS, Result.SUPPRESSED),
    Fate.REJECTED: (Outcome.SUPPRESS, Result.REJECTED),
    Fate.HELD: (Outcome.HOLD, Result.HELD),
}
_CONTROL = b"x-gateway-"
_ADDED = re.compile(
    rb"List-Unsubscribe: <https://[^ >]+>\r\n"
    rb"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One claim, what it was tested on, and every case against it."""

    claim: str
    about: str
    faults: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether nothing speaks against it."""
        return not self.faults


@dataclass(frozen=True, slots=True)
class Proof:
    """The checks, and what they looked at."""

    checks: tuple[Check, ...]
    observation: Observation

    @property
    def holds(self) -> bool:
        """Whether every claim holds."""
        return all(check.holds for check in self.checks)


def prove(folder: Path, expectation: Sequence[Expected], texts: Sequence[Expected]) -> Proof:
    """Compare what lies in a demo's folder with the expectation of mail and of texts; blocks.

    The gateway must have ended (or have archived all it recorded).

    Raises:
        GatewayError: the folder's configuration, keys or archive cannot be read.

    """
    site = DemoSite(folder)
    case = _Case(site, expectation, read_transcript(site), observe(site))
    text = TextCase(texts, read_texts(site), case.seen)
    arriving = sum(one.fate is Fate.ARRIVES for one in expectation)
    texting = sum(one.fate is Fate.ARRIVES for one in texts)
    holding = sum(one.fate is Fate.HELD for one in expectation)
    checks = (
        Check(
            "Every sample message was sent to everybody it should be tried on",
            f"{len(expectation)} recipients in {len(case.sent)} SMTP transactions",
            tuple(case.unsent()),
        ),
        Check(
            "Exactly the expected mail arrived: no more, no fewer",
            f"{arriving} of {len(expectation)} in the sandbox's Maildir",
            tuple(case.arrivals()),
        ),
        Check(
            "What arrived is what was sent, byte for byte",
            f"{len(case.seen.arrivals)} messages, less our Received, X-Gateway-* and link lines",
            tuple(case.octets()),
        ),
        Check(
            "Every tool heard the truth: 250, or 550 with the expected rule",
            f"{len(expectation)} replies",
            tuple(case.replies()),
        ),
        Check(
            "Every recipient of mail has one record, by the expected rule",
            f"{len(case.seen.records)} records in the archive",
            tuple(case.records()),
        ),
        Check(
            "What needs a person is held, whole",
            f"{holding} recipients in {len(case.seen.held)} held messages",
            tuple(case.held()),
        ),
        Check(
            "Nobody changed the archive",
            f"hash chain of {case.seen.chain.links} links",
            case.seen.chain.faults,
        ),
        Check(
            "Exactly the expected text messages arrived: each once, unchanged",
            f"{texting} of {len(texts)} in the sandbox's file",
            tuple(text.arrivals()),
        ),
        Check(
            "Every tool heard of its text messages what its provider would have said",
            f"{len(texts)} answers",
            tuple(text.replies()),
        ),
        Check(
            "Every number has one record for each text, by the expected rule",
            f"{len(case.seen.text_records)} records in the archive",
            tuple(text.records()),
        ),
    )
    entries = read_tool(site)
    connected = Check(
        "The click and the telephone call are in the connected tool's list as well",
        f"{len(entries)} entries, none of somebody who may still be written to",
        tuple(_in_tool(entries, expectation)),
    )
    return Proof((*checks, connected), case.seen)


def _in_tool(entries: Sequence[Entry], expectation: Sequence[Expected]) -> Iterator[str]:
    """What the connected tool's list lacks, and what it should not hold."""
    held = {(one.contact, one.scope, one.topic) for one in entries}
    if (CLICKS_DURING_DEMO, Scope.TOPIC, "newsletter") not in held:
        yield f"{CLICKS_DURING_DEMO}: the click is not there"
    if (BANS_DURING_DEMO, Scope.ALL, "") not in held:
        yield f"{BANS_DURING_DEMO}: the ban of all marketing is not there"
    last = [one for one in expectation if one.mailing == AFTER_THE_CLICK.name]
    for one in last:
        if one.fate is Fate.ARRIVES and any(one.address == contact for contact, *_ in held):
            yield f"{one.address}: is there, but may be written to"


class _Case:
    """The expectation, what was sent and what was seen, brought together."""

    def __init__(
        self,
        site: DemoSite,
        expectation: Sequence[Expected],
        sent: Sequence[Sent],
        seen: Observation,
    ) -> None:
        self.sent = sent
        self.seen = seen
        self._wanted = {(one.mailing, one.address): one for one in expectation}
        self._octets = {one.file: (site.sent / one.file).read_bytes() for one in sent}
        self._by_message_id = {message_id_of(self._octets[one.file]): one for one in sent}
        self._digests = Digests(site)

    def _each(self) -> Iterator[tuple[Sent, int, Expected]]:
        """Every recipient that was tried, with what is expected of it."""
        for sent in self.sent:
            for place, heard in enumerate(sent.recipients):
                wanted = self._wanted.get((sent.mailing, heard.address))
                if wanted is not None:
                    yield sent, place, wanted

    def unsent(self) -> Iterator[str]:
        """Recipients that were not tried once, or are not in the expectation."""
        tried = Counter(
            (one.mailing, heard.address) for one in self.sent for heard in one.recipients
        )
        for mailing, address in _difference(tried, Counter(self._wanted.keys())):
            yield f"{mailing}: {address} was sent to, but is not expected so often"
        for mailing, address in _difference(Counter(self._wanted.keys()), tried):
            yield f"{mailing}: {address} was not tried"

    def arrivals(self) -> Iterator[str]:
        """Mail that is missing, and mail that should not have arrived."""
        arrived: Counter[tuple[str, str]] = Counter()
        for arrival in self.seen.arrivals:
            sent = self._by_message_id.get(arrival.message_id)
            if sent is None:
                yield f"a message that was never sent arrived ({arrival.message_id or 'no id'})"
                continue
            arrived.update((sent.mailing, address) for address in arrival.recipients)
        right = Counter(key for key, one in self._wanted.items() if one.fate is Fate.ARRIVES)
        for mailing, address in _difference(right, arrived):
            yield f"{mailing}: {address}: expected to arrive, did not"
        for mailing, address in _difference(arrived, right):
            wanted = self._wanted.get((mailing, address))
            why = f"{wanted.fate} by {wanted.rule}" if wanted else "nobody sent it there"
            yield f"{mailing}: {address}: arrived too often; expected: {why}"

    def octets(self) -> Iterator[str]:
        """Messages that arrived with other octets than they were sent with."""
        for arrival in self.seen.arrivals:
            sent = self._by_message_id.get(arrival.message_id)
            if sent is None:
                continue
            trace, rest = _without_first_field(arrival.content)
            if not trace.lower().startswith(b"received:"):
                yield f"{sent.file}: our Received field does not stand first"
            if sent.mailing == WITHOUT_LINK.name:
                added, rest = _without_link(rest)
                if not added:
                    yield f"{sent.file}: no one-click link was added"
            if rest != _without_control(self._octets[sent.file]):
                yield f"{sent.file}: differs from what was sent"

    def replies(self) -> Iterator[str]:
        """Recipients for whom the tool heard something else than is true."""
        for sent, place, wanted in self._each():
            heard = sent.recipients[place]
            refusal = sent.refusal(heard)
            if wanted.fate is not Fate.REJECTED:
                if refusal:
                    yield f"{wanted.mailing}: {wanted.address}: the tool heard {refusal!r}"
            elif rule_in(refusal) != wanted.rule:
                told = refusal or heard.reply
                yield (
                    f"{wanted.mailing}: {wanted.address}: the tool heard {told!r}, "
                    f"expected a 550 that names {wanted.rule}"
                )

    def records(self) -> Iterator[str]:
        """Recipients whose record is missing or says something else, and surplus records."""
        by_id = {one.found.record_id: one for one in self.seen.records}
        by_message = {(one.found.message_id, one.found.digest): one for one in self.seen.records}
        used = set()
        for sent, place, wanted in self._each():
            message_id = sent.message_id
            refusal = sent.refusal(sent.recipients[place])
            if refusal:
                # A refusal names a record of its message: where several are refused at
                # the final dot, the first one's.
                named = by_id.get(record_in(refusal))
                message_id = named.found.message_id if named else ""
            record = by_message.get((message_id, self._digests.of(wanted.address)))
            if record is None:
                yield f"{wanted.mailing}: {wanted.address}: no record"
                continue
            used.add(record.found.record_id)
            yield from _wrong(record, wanted)
        for record in self.seen.records:
            if record.found.record_id not in used:
                yield f"a record too many: {record.address} by {record.found.rule}"

    def held(self) -> Iterator[str]:
        """Held messages that are missing, too many or not what was sent."""
        right = Counter(key for key, one in self._wanted.items() if one.fate is Fate.HELD)
        waiting: Counter[tuple[str, str]] = Counter()
        for copy in self.seen.held:
            sent = self._by_message_id.get(message_id_of(copy.content))
            if sent is None:
                yield f"a message is held that was never sent ({copy.held.id})"
                continue
            if copy.content != self._octets[sent.file]:
                yield f"{sent.file}: the held copy differs from what was sent"
            for recipient in copy.held.message.recipients:
                waiting[sent.mailing, recipient.address] += 1
                wanted = self._wanted.get((sent.mailing, recipient.address))
                if wanted is not None and wanted.rule != recipient.rule:
                    yield (
                        f"{sent.mailing}: {recipient.address}: held by {recipient.rule}, "
                        f"expected {wanted.rule}"
                    )
        for mailing, address in _difference(right, waiting):
            yield f"{mailing}: {address}: expected to be held, is not"
        for mailing, address in _difference(waiting, right):
            yield f"{mailing}: {address}: is held, not expected to be"


def _wrong(record: Record, wanted: Expected) -> Iterator[str]:
    outcome, result = _OUTCOMES[wanted.fate]
    found = record.found
    if (found.rule, found.outcome, found.result) != (wanted.rule, outcome, result):
        yield (
            f"{wanted.mailing}: {wanted.address}: recorded {found.outcome} by {found.rule}, "
            f"then {found.result}; expected {outcome} by {wanted.rule}, then {result}"
        )
    if record.address != wanted.address:
        yield f"{wanted.mailing}: {wanted.address}: the record's address does not open to it"


def _difference(
    of: Counter[tuple[str, str]], less: Counter[tuple[str, str]]
) -> list[tuple[str, str]]:
    return sorted((of - less).elements())


def _without_first_field(content: bytes) -> tuple[bytes, bytes]:
    """The first header field with its folded lines, and the rest."""
    end = content.find(b"\r\n") + 2
    while content[end : end + 1] in (b" ", b"\t"):
        end = content.find(b"\r\n", end) + 2
    return content[:end], content[end:]


def _without_link(content: bytes) -> tuple[bytes, bytes]:
    """The two fields of a link if they stand first, and the rest."""
    found = _ADDED.match(content)
    return (found[0], content[found.end() :]) if found else (b"", content)


def _without_control(content: bytes) -> bytes:
    """A message less the header lines that speak to the gateway (never folded here)."""
    header, empty, body = content.partition(b"\r\n\r\n")
    lines = [line for line in header.split(b"\r\n") if not line.lower().startswith(_CONTROL)]
    return b"\r\n".join(lines) + empty + body
