"""The connected tool: a server with a suppression list and the API of ``docs/sync/http.md``."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from gateway.demo.process import DemoFailed
from gateway.demo.site import TOOL, DemoSite

_WAIT = 60.0
_LONGEST = 16 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the list; ``topic`` is empty where the scope is wider."""

    contact: str
    scope: str
    topic: str


def read_tool(site: DemoSite) -> list[Entry]:
    """What :meth:`Tool.keep` wrote; blocks."""
    entries = json.loads(site.tool_list.read_text(encoding="utf-8"))
    return [Entry(one["contact"], one["scope"], one.get("topic") or "") for one in entries]


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the library's
        """Who has hung up while it waited for the start asks again: that is no error."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class Tool:
    """The tool; ``with`` it.

    It has its address at once, so that the gateway can be told, and answers from
    :meth:`start` on: what the gateway has for it meanwhile waits.
    """

    def __init__(self, site: DemoSite) -> None:
        self._site = site
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._entries: list[dict[str, Any]] = []
        self._lock = threading.Condition()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._socket.close()

    def start(self) -> None:
        """Answer from now on."""
        token = self._site.password(TOOL)
        server = _Server(self._socket.getsockname(), _handler(self, token), bind_and_activate=False)
        server.socket.close()
        server.socket = self._socket
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()

    def put(self, entries: list[dict[str, Any]]) -> None:
        """Take entries into the list."""
        with self._lock:
            self._entries += entries
            self._lock.notify_all()

    def entries(self, after: int = 0) -> list[dict[str, Any]]:
        """The list, from a place in it on."""
        with self._lock:
            return self._entries[after:]

    def wait_for(self, address: str, *, since: float) -> float:
        """Wait until somebody is in the list; the seconds since a (monotonic) time.

        Raises:
            DemoFailed: it took longer than a minute.

        """
        with self._lock:
            if not self._lock.wait_for(
                lambda: any(one["contact"] == address for one in self._entries), _WAIT
            ):
                raise DemoFailed("the click did not reach the connected tool in a minute")
        return time.monotonic() - since

    def keep(self) -> None:
        """Write the list down, for the proof to read; blocks."""
        text = json.dumps(self.entries(), ensure_ascii=False, indent=1)
        self._site.tool_list.write_text(text, encoding="utf-8")


def _handler(tool: Tool, token: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def do_GET(self) -> None:
            if self._known():
                asked = parse_qs(urlsplit(self.path).query).get("after", ["0"])
                after = int(asked[0])
                entries = tool.entries(after)
                cursor = str(after + len(entries))
                self._answer(200, {"entries": entries, "cursor": cursor, "more": False})

        def do_POST(self) -> None:
            if not self._known():
                return
            length = int(self.headers.get("Content-Length", "0"))
            if length > _LONGEST:
                self._answer(413, {})
                return
            entries = json.loads(self.rfile.read(length))["entries"]
            tool.put(entries)
            self._answer(200, {"results": [{"status": "done"} for _ in entries]})

        def _known(self) -> bool:
            known = self.headers.get("Authorization") == f"Bearer {token}"
            if not known:
                self._answer(401, {})
            return known

        def _answer(self, status: int, document: dict[str, Any]) -> None:
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
