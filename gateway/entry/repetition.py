"""Whether what a person says has been said, and stands.  Pure."""

from __future__ import annotations

from gateway.entry.entry import ConsentStatus, Entry
from gateway.entry.event import Event


def in_force(event: Event, entry: Entry) -> bool:
    """Whether a refusal is recorded already, and nothing has come since that may lift it.

    It is then not recorded again: mail programs send one request several times, and whoever
    has a link could fill the log with it.  A consent
    that was asked for since may: said again, the refusal ends it.
    """
    key = (event.scope, event.channel, event.topic)
    for ban in entry.bans:
        if (ban.scope, ban.channel, ban.topic) == key and not ban.inherited:
            return not any(
                one.at > ban.at and (one.lifts or one.status is ConsentStatus.PENDING)
                for one in entry.consents
            )
    return False
