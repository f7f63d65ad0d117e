"""What becomes of an entry that was to be put into a list, where several tools say the same."""

from __future__ import annotations

from gateway.connector.connector import Put
from gateway.connector.suppression import Suppression

DONE = Put(done=True)
FOREIGN = Put(done=False, cause="this list holds no such ban", final=True)
"""A ban of another channel, or of a topic that has no list there."""
UNTOLD = Put(
    done=False,
    cause="this list cannot tell a bounce or a complaint from an objection",
    final=True,
)
"""A bounce or complaint that would be read back as a legal ban."""
UNANSWERED = Put(done=False, cause="the tool's answer leaves this entry out")


def unheld(entry: Suppression) -> Put | None:
    """Why an entry is not put into a list that has no reasons; None: it is."""
    return None if entry.reason.legal else UNTOLD
