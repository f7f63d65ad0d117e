"""Everything the text message side of a worker decides and delivers with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.decision.rule import RuleSet
from gateway.evidence.metric import Metrics
from gateway.gate import Gate
from gateway.held.shelf import ShelvedContents, ShelvedHeld
from gateway.records.recorder import Recorder
from gateway.settings import Settings
from gateway.sms.evidence import Evidence
from gateway.sms.outlet import Outlets
from gateway.sms.repeat import Repeats
from gateway.sms.report import Reporter
from gateway.sms.route import Routes

if TYPE_CHECKING:
    from gateway.quiet.hours import QuietHours
    from gateway.sms.incoming import Incomings


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of one configuration, swapped as one at a reload."""

    settings: Settings
    rules: RuleSet
    routes: Routes
    gate: Gate
    evidence: Evidence
    recorder: Recorder
    contents: ShelvedContents
    held: ShelvedHeld
    outlets: Outlets
    repeats: Repeats
    reporter: Reporter
    quiet: QuietHours | None
    metrics: Metrics
    incoming: Incomings
    opt_out: re.Pattern[str] | None
    """Finds the means to refuse in a text."""
