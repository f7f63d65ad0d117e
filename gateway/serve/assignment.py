"""What the supervisor hands to a worker, as JSON in its only argument."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass


@dataclass(frozen=True, slots=True)
class Assignment:
    """One worker's place among the others, and what it inherits."""

    settings: str
    """The path of what :func:`gateway.serve.accepted.write_accepted` wrote."""
    index: int
    workers: int
    parent: int
    """The supervisor's process id."""
    smtp: list[int]
    """File descriptors of listening sockets."""
    smtp_tls: list[int]
    sms: list[tuple[int, str]]
    """Listening sockets of the text message side, each with the route whose own it is."""
    api: list[int]
    """Listening sockets of the API: then the process serves it, and nothing else."""
    public: list[int]
    """Listening sockets of the public side, and of inbound mail: then the process serves
    them, and keeps the tools' lists alike."""
    inbound: list[int]
    front: bool
    """Whether it is that process; it may have no sockets."""
    ready: int
    """File descriptor of a pipe; one octet on it says that the worker serves."""

    def to_json(self) -> str:
        """The argument."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Assignment:
        """What :meth:`to_json` wrote."""
        return cls(**json.loads(text))
