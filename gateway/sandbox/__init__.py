"""An upstream that delivers to a folder: for trying things out, and for tests."""

from gateway.sandbox.server import SandboxServer
from gateway.sandbox.store import Envelope, read_sandbox

__all__ = ["Envelope", "SandboxServer", "read_sandbox"]
