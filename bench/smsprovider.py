"""The stand-in of a provider for the load: ``python -m bench.smsprovider PORT``.

It reads whole requests and answers as Twilio to one message and as Infobip to a batch,
with no more work than that takes.
"""

from __future__ import annotations

import asyncio
import sys
from functools import lru_cache
from typing import cast

import uvloop

ONE = (
    b'{"account_sid": "AC00000000000000000000000000000000", "body": "x", "error_code": null, '
    b'"sid": "SM00000000000000000000000000000000", "status": "queued", "to": "+358400000000"}'
)


@lru_cache(maxsize=64)
def _batch(count: int) -> bytes:
    item = (
        b'{"messageId": "00000000-0000-0000-0000-000000000000", "destination": "358400000000", '
        b'"status": {"groupId": 1, "groupName": "PENDING", "id": 26, '
        b'"name": "PENDING_ACCEPTED", "description": "Message sent to next instance"}}'
    )
    body = b'{"bulkId": "1", "messages": [' + b",".join([item] * count) + b"]}"
    return _answer(b"200 OK", body)


def _answer(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


_ONE = _answer(b"201 Created", ONE)


class Provider(asyncio.Protocol):
    """One connection."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._data = b""

    def data_received(self, data: bytes) -> None:
        self._data += data
        while True:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            head = self._data[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._data) < end + 4 + length:
                return
            body = self._data[end + 4 : end + 4 + length]
            self._data = self._data[end + 4 + length :]
            batch = b"/sms/3/" in head[:200]
            self._transport.write(_batch(body.count(b'"to"')) if batch else _ONE)


async def main(port: int) -> None:
    """Serve until the process is ended."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Provider, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
