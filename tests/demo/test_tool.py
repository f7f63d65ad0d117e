"""The demo's connected tool, whose callers wait until it begins to answer."""

import socket
import struct
import threading
import time
import urllib.request
from urllib.parse import urlsplit

from gateway.demo.site import TOOL, DemoSite
from gateway.demo.tool import Tool


def test_who_hung_up_before_the_tool_began_is_no_error(tmp_path, capsys):
    site = DemoSite(tmp_path)
    with Tool(site) as tool:
        site.create(tool.url)
        before = threading.active_count()
        gone = socket.create_connection(("127.0.0.1", urlsplit(tool.url).port or 0), 10)
        gone.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        gone.close()
        tool.start()
        request = urllib.request.Request(
            tool.url, headers={"Authorization": f"Bearer {site.password(TOOL)}"}
        )
        with urllib.request.urlopen(request, timeout=30) as answer:
            assert answer.status == 200
        end = time.monotonic() + 30
        while threading.active_count() > before + 1 and time.monotonic() < end:
            time.sleep(0.05)  # until both have been served
    assert capsys.readouterr().err == ""
