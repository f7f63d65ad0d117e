"""What people do with personal data: a record of each deed, made before the deed.

Every read, export, release, purge, erasure, rotation and restore is an act (the notice,
section 11; GDPR 5(2)): who, when, what, about whom, why.  An act holds no personal data:
whom it is about is a keyed digest or the id of a person or request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Self

import orjson

from gateway.clock import now_ms
from gateway.contacts.identity_code import mask
from gateway.failure import InputError
from gateway.records.identifier import new_id
from gateway.records.record import VERSION, RecordError


class Action(StrEnum):
    """What was done."""

    READ = "read"
    """Personal data was shown to somebody."""
    SEARCH = "search"
    EXPORT = "export"
    IMPORT = "import"
    CHANGE = "change"
    """A person's data was changed: rectified, linked, merged."""
    REQUEST = "request"
    """A person's request was received, or moved on (GDPR 12)."""
    IDENTIFY = "identify"
    """Somebody's identity was checked, or more was asked for it."""
    ERASE = "erase"
    RESTRICT = "restrict"
    OBJECT = "object"
    RELEASE = "release"
    DISCARD = "discard"
    EXPIRE = "expire"
    PURGE = "purge"
    REBUILD = "rebuild"
    BACKUP = "backup"
    RESTORE = "restore"
    ROTATE = "rotate"
    """Keys were rotated."""
    CHECKPOINT = "checkpoint"
    REFUSE = "refuse"
    """Something asked for was refused, with the reason."""
    ACCOUNT = "account"
    """A user was made, changed or removed."""


Detail = str | int | bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """One deed.  ``at`` is milliseconds since the epoch.

    Raises InputError when nobody is named as the one who acts.
    """

    action: Action
    actor: str
    """The account that acted; a part of the gateway acts as ``gateway``."""
    reason: str = ""
    subject: str = ""
    """A digest (``key:hex``) or the id of a person, request, record or held message."""
    detail: Mapping[str, Detail] = field(default_factory=dict)
    """Counts, ids and names of things; never personal data."""
    id: str = field(default_factory=new_id)
    at: int = field(default_factory=now_ms)

    def __post_init__(self) -> None:
        if not self.actor.strip():
            raise InputError("an act needs somebody who acts: give --by NAME")
        object.__setattr__(self, "reason", mask(self.reason))

    @property
    def detail_json(self) -> str:
        """The detail as JSON with sorted keys, as the archive keeps it."""
        return orjson.dumps(dict(self.detail), option=orjson.OPT_SORT_KEYS).decode()

    def to_json(self) -> bytes:
        """The act as one JSON object."""
        return orjson.dumps(
            {
                "v": VERSION,
                "id": self.id,
                "at": self.at,
                "action": self.action,
                "actor": self.actor,
                "subject": self.subject,
                "reason": self.reason,
                "detail": dict(self.detail),
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The act that :meth:`to_json` wrote; raises RecordError."""
        try:
            members = orjson.loads(text)
            version = members.pop("v")
            if version != VERSION:
                raise RecordError(f"an act of version {version}; this program reads {VERSION}")
            members["action"] = Action(members["action"])
            if not isinstance(members["detail"], dict):
                raise RecordError("an act's detail is no object")
            return cls(**members)
        except (ValueError, TypeError, KeyError, AttributeError, InputError) as error:
            raise RecordError(f"not an act ({type(error).__name__})") from None
