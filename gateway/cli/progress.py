"""A progress bar over the octets of a file, on standard error."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def octet_bar(path: Path, what: str, passes: int = 1) -> Iterator[Callable[[int], None]]:
    """Yields what to call with the octets read so far, in all passes; silent for a pipe."""
    # Late: the two commands that show one are imported with every other.
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True)
    try:
        total: int | None = passes * path.stat().st_size
    except OSError:
        total = None  # the command itself will say what is wrong with the file
    with Progress(
        TextColumn(what),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=total)
        yield lambda octets: progress.update(task, completed=octets)
