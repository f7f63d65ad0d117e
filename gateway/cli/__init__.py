"""The command ``suppression-gateway``.

Exit status: 0 done, 1 done with findings, 2 could not.  Errors are lines on
standard error that say what to do.
"""

from gateway.cli.app import main

__all__ = ["main"]
