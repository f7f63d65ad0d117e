"""Who may ask what: accounts of people and tools, their roles, and what a role may do.

Only identified people reach personal data (the notice, section 11; GDPR 32): an account
is one person's or one tool's.  Its token is shown once, when it is made; the archive
keeps its SHA-256 (a token has 256 bits of chance, so that no slow hash is needed).
"""

from __future__ import annotations

import secrets
from base64 import b32encode
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

PREFIX: Final = "sgt_"
"""What every token begins with, so that a leaked one can be searched for."""


class Role(StrEnum):
    """What an account is for."""

    TOOL = "tool"
    """A sending tool: asks before it sends, tells objections and unproven consents."""
    VIEWER = "viewer"
    """Sees decisions and figures, no personal data."""
    OFFICER = "officer"
    """Serves people: reads their data, records bans and consents, answers requests."""
    ADMIN = "admin"
    """Everything, what cannot be undone too."""


class Permission(StrEnum):
    """One thing that may be done."""

    DECIDE = "decide"
    OBJECT = "object"
    """Record a ban or a withdrawal."""
    CONSENT = "consent"
    PROVE = "prove"
    """Record a proven consent, which may lift a ban."""
    LIFT = "lift"
    """Remove a ban with a reason."""
    READ = "read"
    """Personal data."""
    SEARCH = "search"
    """Records without personal data."""
    HELD = "held"
    """Release and discard held messages."""
    SUBJECTS = "subjects"
    """Work on people's requests."""
    ERASE = "erase"
    EXPORT = "export"
    IMPORT = "import"
    FOLLOW = "follow"
    """The register's changes as they come, without addresses."""
    AUDIT = "audit"
    """See who did what."""


_TOOL: Final = frozenset(
    {Permission.DECIDE, Permission.OBJECT, Permission.CONSENT, Permission.FOLLOW}
)
_VIEWER: Final = frozenset({Permission.DECIDE, Permission.SEARCH, Permission.FOLLOW})
_OFFICER: Final = (
    _TOOL
    | _VIEWER
    | {
        Permission.PROVE,
        Permission.LIFT,
        Permission.READ,
        Permission.HELD,
        Permission.SUBJECTS,
        Permission.EXPORT,
        Permission.IMPORT,
    }
)

ALLOWED: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.TOOL: _TOOL,
    Role.VIEWER: _VIEWER,
    Role.OFFICER: _OFFICER,
    Role.ADMIN: frozenset(Permission),
}
"""What each role may do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """One person or tool.  Times are milliseconds since the epoch."""

    name: str
    role: Role
    created: int
    expires: int | None = None
    disabled: int | None = None

    def may(self, permission: Permission) -> bool:
        """Whether its role allows this."""
        return permission in ALLOWED[self.role]

    def usable(self, now: int) -> bool:
        """Whether it has neither expired nor been disabled."""
        return self.disabled is None and (self.expires is None or now < self.expires)


def new_token() -> str:
    """A token that nobody can guess: 256 bits of chance."""
    chance = b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()
    return PREFIX + chance


def hash_of(token: str) -> str:
    """What is kept of a token."""
    return sha256(token.encode("utf-8", "surrogateescape")).hexdigest()
