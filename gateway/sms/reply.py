"""An answer that is here whole, written in one go.

The HTTP library's own response objects can do much more (bodies in pieces, compression,
cookies, hooks), and building one costs more than the writing.
"""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import SERVER_SOFTWARE, HttpVersion10, HttpVersion11

from gateway.provider.request import Answer
from gateway.sms.head import head_of

_JOINED = 64 * 1024
"""Octets of a body that are copied behind the head rather than written beside it."""
_UNKNOWN = "application/octet-stream"
_REASONS = {int(status): status.phrase for status in HTTPStatus}
_SERVER = f"Server: {SERVER_SOFTWARE}"
_BODILESS = frozenset((204, 304))
_OWN_RULES = frozenset(("HEAD", "CONNECT"))


class Reply(web.StreamResponse):
    """An answer as the server's connection handles it: prepared, then written.

    The same octets as :class:`aiohttp.web.Response` writes for the same answer.
    """

    def __init__(self, answer: Answer) -> None:
        """Keep the answer; nothing of the library's own response is set up."""
        self._answer = answer
        self._request: web.BaseRequest | None = None

    @property
    def keep_alive(self) -> bool | None:
        """Whether another request may follow on the connection."""
        return None if self._request is None else self._request.keep_alive

    @property
    def status(self) -> int:
        """The status, for whoever looks at a response."""
        return self._answer.status

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Note what it answers."""
        self._request = request
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        """Write it; raises ValueError for a header that would end a line."""
        request = self._request
        transport = None if request is None else request.transport
        if request is None or transport is None or transport.is_closing():
            raise ConnectionResetError("the tool is gone")
        head, body = _head(self._answer, request), self._answer.body
        if len(body) <= _JOINED:
            transport.write(head + body)
        else:
            transport.writelines((head, body))


def _head(answer: Answer, request: web.BaseRequest) -> bytes:
    """The status line and the headers."""
    status, body, kind, headers, _ = answer
    version = request.version
    lines = [f"HTTP/{version[0]}.{version[1]} {status} {_REASONS.get(status, '')}"]
    names: Collection[str] = ()
    if headers:
        lines += map(": ".join, headers)
        names = {name.lower() for name, _ in headers}
    if kind or body:
        lines.append(f"Content-Type: {kind or _UNKNOWN}")
    lines.append(f"Content-Length: {len(body)}")
    if "date" not in names:
        lines.append(f"Date: {rfc822_formatted_time()}")
    if "server" not in names:
        lines.append(_SERVER)
    if request.keep_alive:
        if version == HttpVersion10:
            lines.append("Connection: keep-alive")
    elif version == HttpVersion11:
        lines.append("Connection: close")
    lines[-1] += "\r\n\r\n"
    return head_of(lines)


def reply(answer: Answer, request: web.BaseRequest) -> web.StreamResponse:
    """The response for an answer."""
    status = answer.status
    if request.method not in _OWN_RULES and status >= 200 and status not in _BODILESS:
        return Reply(answer)
    # What has no body has rules of its own about its length.
    response = web.Response(status=status, body=answer.body)
    for name, value in answer.headers:
        response.headers.add(name, value)
    if answer.content_type:
        response.headers["Content-Type"] = answer.content_type
    return response
