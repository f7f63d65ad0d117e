"""Files that are written beside their names, and take them when they are whole."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from gateway.failure import InputError


def draft_of(target: Path) -> Path:
    """Return where a file is written until it is whole."""
    return target.with_name(target.name + ".part")


def open_draft(target: Path) -> IO[str]:
    """Open a file's draft, for its owner only and for this process alone; it is empty.

    What a killed process left there goes.  Lists of people are written by it: two that
    are written at once would be mixed, or one be taken for whole that is half.

    Raises:
        InputError: another process writes the same file.
        OSError: it cannot be written.
    """
    draft = draft_of(target)
    handle = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    if not _is_ours(handle, draft):
        os.close(handle)
        raise InputError(
            f"{target}: another command is writing it; wait for that, or name another file"
        )
    try:
        os.fchmod(handle, 0o600)
        os.truncate(handle, 0)
        return os.fdopen(handle, "w", encoding="utf-8", newline="")
    except BaseException:
        os.close(handle)
        raise


@contextmanager
def target_file(target: Path | None) -> Iterator[IO[str]]:
    """Write a file for its owner only, in place when it is whole; None is standard output.

    Raises:
        InputError: the file cannot be written, or another command writes it.
    """
    if target is None:
        yield sys.stdout
        return
    try:
        with open_draft(target) as file:
            try:
                yield file
                # Still ours alone: nobody else's half takes the name.
                file.flush()
                draft_of(target).replace(target)
            except BaseException:
                draft_of(target).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}") from None


def _is_ours(handle: int, draft: Path) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have put it in place since it was opened.
        return os.path.samestat(os.fstat(handle), draft.stat())
    except (BlockingIOError, FileNotFoundError):
        return False
