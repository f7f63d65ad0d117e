"""What is asked of tools: requests with JSON, and credentials in headers."""

from __future__ import annotations

import base64

import orjson

from gateway.provider.request import JSON, Request


def get(path: str, query: str = "") -> Request:
    """A request that asks."""
    return Request("GET", path, query, (("Accept", JSON),))


def sent(method: str, path: str, document: object, query: str = "") -> Request:
    """A request that brings a JSON document."""
    headers = (("Accept", JSON), ("Content-Type", JSON))
    return Request(method, path, query, headers, orjson.dumps(document))


def post(path: str, document: object, query: str = "") -> Request:
    """:func:`sent` by POST."""
    return sent("POST", path, document, query)


def basic(username: str, secret: str) -> str:
    """The value of an ``Authorization`` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{secret}".encode()).decode()
