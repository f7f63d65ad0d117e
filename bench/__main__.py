"""``make bench``: everything side by side; ``python -m bench --help`` tells the rest.

``python -m bench --only gateway --quick`` measures the gateway alone in a minute.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from bench import page, scale
from bench.ceiling import Bare
from bench.dataset import server
from bench.exim import EXIM
from bench.gateway import Gateway, TwoWorkers
from bench.haraka import HARAKA
from bench.machine import Missing
from bench.memory import allow_files
from bench.participant import Direct, Participant, Place
from bench.postfix import POSTFIX
from bench.sections import Run
from bench.sink import Sink
from bench.traffic import TRAFFIC

PARTICIPANTS: tuple[type[Participant], ...] = (
    *(Direct, Bare, Gateway, TwoWorkers),
    *(*POSTFIX, *EXIM, *HARAKA),
)
SMALL = (*("sms", "latency", "pause", "memory", "lookups", "scale", "instructions", "profile"),)


def main() -> None:
    """Measure, and write the page."""
    arguments = _arguments()
    only = _chosen(arguments.only, [kind.key for kind in PARTICIPANTS], "participant")
    keys = _chosen(arguments.traffic, [traffic.key for traffic in TRAFFIC], "traffic")
    sizes = _chosen(arguments.sizes, list(scale.SIZES), "size") if arguments.sizes else ["100k"]
    whole = not (arguments.only or arguments.traffic or arguments.quick)
    asked = [name for name in ("table", *SMALL) if getattr(arguments, name)]
    sections = asked or (["table", *SMALL] if whole else ["table"])
    # Ended from outside, everything that was started is ended too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    allow_files()
    try:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="sg-bench-"))
            sink = stack.enter_context(Sink())
            place = Place(sink.port, stack.enter_context(server()))
            run = Run(sink, place, Path(folder), arguments.seconds, arguments.rounds)
            run.sizes = [scale.SIZES[size] for size in sizes]
            run.small(sections)
            if "table" in sections:
                run.table(
                    [kind for kind in PARTICIPANTS if kind.key in only],
                    [traffic for traffic in TRAFFIC if traffic.key in keys],
                    verified=not arguments.quick,
                )
    except Missing as error:
        sys.exit(f"bench: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    run.finish()
    print("\n\n".join("\n".join(lines) for lines in run.sections.values()))
    if not arguments.print and (whole or asked):
        if not whole or asked:
            # The aims need all of it, and a part is not the whole page's date.
            run.sections.pop("aims", None)
            run.sections.pop("machine", None)
        page.write(run.sections)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", default="", help=f"participants: {','.join(kind.key for kind in PARTICIPANTS)}"
    )
    parser.add_argument(
        "--traffic", default="", help=f"traffic: {','.join(traffic.key for traffic in TRAFFIC)}"
    )
    parser.add_argument(
        "--sizes", default="", help=f"of --scale: {','.join(scale.SIZES)} (100k; 10m takes 8 GB)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="counted rounds (3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="a round's length, about (2)")
    parser.add_argument("--quick", action="store_true", help="no verifying round")
    parser.add_argument("--print", action="store_true", help="leave docs/benchmarks.md as it is")
    for name in ("table", *SMALL):
        parser.add_argument(f"--{name}", action="store_true", help="this section only")
    return parser.parse_args()


def _chosen(text: str, known: list[str], what: str) -> list[str]:
    names = [name for name in text.split(",") if name]
    for name in names:
        if name not in known:
            sys.exit(f"bench: {what} {name!r} is not known; choose among {', '.join(known)}")
    return names or known


if __name__ == "__main__":
    main()
