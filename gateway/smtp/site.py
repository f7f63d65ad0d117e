"""Everything a worker decides and delivers with, swapped as one at a reload.

A transaction keeps the site it began with, so that rules and settings change
between two messages and never within one.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.decision.rule import RuleSet
from gateway.gate import Gate
from gateway.held.store import HeldStore
from gateway.records.content import ContentStore
from gateway.records.recorder import Recorder
from gateway.settings import Settings
from gateway.smtp.credential import Credentials
from gateway.smtp.evidence import Evidence
from gateway.smtp.metric import Metrics
from gateway.upstream.upstreams import Upstreams


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of one configuration."""

    settings: Settings
    rules: RuleSet
    gate: Gate
    evidence: Evidence
    recorder: Recorder
    contents: ContentStore
    held: HeldStore
    upstreams: Upstreams
    credentials: Credentials
    metrics: Metrics
    owned_domains: frozenset[str]
