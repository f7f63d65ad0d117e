"""The key files of a configuration, made on first use, and what is sealed under them.

A file that is gone is never made anew where something was written with it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.contacts.digest import KeyRing, subject_of
from gateway.contacts.parse import parse_contact
from gateway.failure import GatewayError, InputError
from gateway.records.entry import address_context, evidence_context
from gateway.records.seal import Sealer
from gateway.register.drafting import Seal, SealAll, SealEvidence
from gateway.settings import Settings

if TYPE_CHECKING:
    from gateway.records.checkpoint import CheckpointFile
    from gateway.records.signing import Signer


def key_ring(settings: Settings) -> KeyRing:
    """The digest keys; made on first use.

    Raises:
        InputError: the file is unreadable, malformed, open to others, or gone.

    """
    path = settings.register.keys_file
    if path is None:
        raise InputError("register.keys_file is not set")
    _refuse_lost(path, settings)
    if not path.exists():
        # Another process may have been first; its keys are then the keys.
        with contextlib.suppress(InputError):
            return KeyRing.create(path)
    return KeyRing.load(path)


def sealer(settings: Settings) -> Sealer:
    """The content key; made on first use.

    Raises:
        InputError: the file is unreadable, malformed, open to others, or gone.

    """
    path = settings.records.content_key_file
    if path is None:
        raise InputError("records.content_key_file is not set")
    _refuse_lost(path, settings)
    return Sealer.load_or_create(path)


def signer(settings: Settings) -> Signer:
    """The key that signs the chain, made on first use; its public half lies in ``data_dir``.

    Raises:
        InputError: the file is unreadable, no key, open to others, or gone.

    """
    # Late: no worker signs.
    from gateway.records.signing import Signer

    path, public = settings.records.signing_key_file, public_key_file(settings)
    if path is None:
        raise InputError("records.signing_key_file is not set")
    if public.exists() and not path.exists():
        raise InputError(
            f"{path}: the signing key is gone, but {public} belongs to it; restore it from the "
            f"backup, or move {public.name} to a safe place to begin with a new key"
        )
    found = Signer.load_or_create(path)
    found.export(public)
    return found


def public_key_file(settings: Settings) -> Path:
    """Where the public half of the signing key lies."""
    return settings.data_dir / "signing-key.pub"


def checkpoint_file(settings: Settings) -> CheckpointFile:
    """Where checkpoints are noted; raises InputError when that is not set."""
    from gateway.records.checkpoint import CheckpointFile

    if settings.records.checkpoints is None:
        raise InputError("records.checkpoints is not set")
    return CheckpointFile(settings.records.checkpoints)


def _refuse_lost(path: Path, settings: Settings) -> None:
    """Refuse a missing key file where something was written with it.

    Keys are made before register and archive are, so that either without them tells
    of a loss; a new key in the place of the lost one would only hide it.
    """
    written = (settings.data_dir / "register" / "append", settings.records.archive)
    for place in written:
        if place is not None and place.exists() and not path.exists():
            raise InputError(
                f"{path}: the key file is gone, but {place} was written with it; "
                "restore it from the backup"
            )


def address_seal(ring: KeyRing, seal: Sealer) -> Seal:
    """Seals an address for the register's events, bound to its digest."""

    def sealed(address: str) -> bytes:
        try:
            subject = subject_of(parse_contact(address))
        except GatewayError:
            subject = f"d:{address}"
        return seal.seal(address.encode(), address_context(str(ring.digest(subject))))

    return sealed


def addresses_seal(seal: Sealer) -> SealAll:
    """Seals many addresses for the register's events, each bound to its digest."""

    def sealed(addresses: Sequence[bytes], digests: Sequence[str]) -> list[bytes]:
        return seal.seal_all(addresses, list(map(address_context, digests)))

    return sealed


def evidence_seal(seal: Sealer) -> SealEvidence:
    """Seals what a person said, for the register's events."""

    def sealed(evidence: str, event_id: str) -> bytes:
        return seal.seal(evidence.encode("utf-8", "surrogatepass"), evidence_context(event_id))

    return sealed
