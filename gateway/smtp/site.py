"""Everything a worker decides and delivers with, swapped as one at a reload.

A transaction keeps the site it began with, so that rules and settings change
between two messages and never within one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.decision.rule import RuleSet
from gateway.evidence.metric import Metrics
from gateway.gate import Gate
from gateway.held.shelf import ShelvedContents, ShelvedHeld
from gateway.records.recorder import Recorder
from gateway.settings import Settings
from gateway.settings.smtp import SmtpClient
from gateway.smtp.credential import Credentials
from gateway.smtp.evidence import Evidence
from gateway.smtp.policy import Policy
from gateway.unsubscribe.header import Offer
from gateway.upstream.upstreams import Upstreams


@dataclass(frozen=True, slots=True)
class Site:
    """The parts of one configuration."""

    settings: Settings
    rules: RuleSet
    gate: Gate
    evidence: Evidence
    recorder: Recorder
    contents: ShelvedContents
    held: ShelvedHeld
    upstreams: Upstreams
    credentials: Credentials
    metrics: Metrics
    owned_domains: frozenset[str]
    offer: Offer | None = None
    """The means to refuse that are added to marketing; None: none are."""
    _policies: dict[str, Policy] = field(init=False, default_factory=dict, repr=False)

    def policy(self, client: SmtpClient) -> Policy:
        """The policy for one of this configuration's clients."""
        policy = self._policies.get(client.name)
        if policy is None or policy.client is not client:
            policy = self._policies[client.name] = Policy.of(self.settings, client)
        return policy
