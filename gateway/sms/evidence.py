"""From a submission to its records: what will prove the decisions years later."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

from gateway.contacts.digest import KeyRing
from gateway.decision.rule import RuleSet
from gateway.evidence.metric import Metrics
from gateway.evidence.scribe import Scribe
from gateway.provider.request import Answer, Request
from gateway.records.form import Written
from gateway.records.identifier import new_id
from gateway.records.record import Result
from gateway.records.recorder import Recorder
from gateway.settings import Settings
from gateway.sms.judged import Judged
from gateway.sms.route import Route

_rule = attrgetter("decision.rule.id")


class Recorded(NamedTuple):
    """A judged message, recorded now or, where the request was said before, then."""

    judged: Judged
    id: str
    ids: Sequence[str]
    """The record of each contact."""
    written: Written | None = None
    """What is to be stored; None: it was."""


class Evidence:
    """Builds the records of one site, and notes what comes of them."""

    def __init__(
        self,
        settings: Settings,
        rules: RuleSet,
        ring: KeyRing,
        recorder: Recorder,
        metrics: Metrics,
    ) -> None:
        self._scribe = Scribe(settings, rules, ring)
        self._recorder = recorder
        self._metrics = metrics
        self._of_suppressed = settings.records.content_of_suppressed

    def record(
        self,
        route: Route,
        request: Request,
        judged: Judged,
        received: int,
        decided: int,
        *,
        keeps: bool,
        content: bool,
    ) -> Recorded:
        """The record of one message.

        ``keeps``: whether it waits for a person or a time, so that its text is kept
        whatever its kind; ``content``: whether anybody gets it.
        """
        style = self._scribe.style(route.settings, judged.traits)
        text = (judged.message.text or "").encode()
        kept = keeps or (style.content and (content or self._of_suppressed))
        message_id = new_id()
        campaign = request.header(style.campaign.decode()) if style.campaign else ""
        written = self._scribe.write(
            style.form,
            "",
            message_id,
            received,
            decided,
            judged.traits.turned_marketing_by,
            judged.verdicts,
            campaign[:200] or None,
            hashlib.sha256(text).hexdigest(),
            len(text),
            message_id if kept else None,
        )
        return Recorded(judged, message_id, written.ids, written)

    async def store(self, records: Sequence[Recorded]) -> None:
        """Make the records durable.  Raises RecordsUnavailable, Overloaded."""
        waits = [
            self._recorder.store(
                one.written, None, [contact.canonical for contact in one.judged.addressees.contacts]
            )
            for one in records
            if one.written is not None
        ]
        if len(waits) == 1:
            await waits[0]
        else:
            await asyncio.gather(*waits)

    def outcome(
        self,
        route: Route,
        recorded: Recorded,
        places: Sequence[int],
        result: Result,
        at: int,
        answer: Answer | None = None,
    ) -> None:
        """Note what came of a message for these contacts, each named once, in their order."""
        if not places:
            return
        verdicts, ids = recorded.judged.verdicts, recorded.ids
        if len(places) < len(verdicts):
            verdicts = [verdicts[place] for place in places]
            ids = [ids[place] for place in places]
        rules = list(map(_rule, verdicts))
        self._metrics.recipients(route.name, recorded.judged.traits.kind, rules, result)
        self._recorder.note_alike(
            ids,
            at,
            result,
            None if answer is None else answer.status,
            "",
            "" if answer is None else route.settings.upstreams[0],
        )
