"""A worker process: ``python -m gateway.serve.worker ASSIGNMENT``.

What it does is in :mod:`gateway.serve.service`, which is imported when the process is
set up: it ends with its supervisor from its first moment on.
"""

from __future__ import annotations

import sys

from gateway.failure import GatewayError
from gateway.serve.assignment import Assignment
from gateway.serve.parent import die_with_parent


def main() -> None:
    """Run the worker that the argument describes."""
    assignment = Assignment.from_json(sys.argv[1])
    die_with_parent(assignment.parent)
    # structlog loads rich where it is installed, and rich a highlighter, to draw
    # tracebacks: 6 MB for what no worker does.
    sys.modules["rich"] = None  # type: ignore[assignment]
    import asyncio

    import uvloop

    if assignment.api:
        from gateway.serve.office import serve
    elif assignment.front:
        from gateway.serve.front import serve
    else:
        from gateway.serve.service import serve

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(assignment))
    except GatewayError as error:
        sys.exit(f"suppression-gateway worker: {error}")


if __name__ == "__main__":
    main()
