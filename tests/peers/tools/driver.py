"""Runs what a connector asks of a tool: repeats 429 and 5xx, and sends in all else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import aiohttp
from hypothesis import strategies as st
from yarl import URL

from gateway.clock import now_ms
from gateway.connector.connector import Connector, Exchange, Page, Put
from gateway.connector.suppression import Change, Suppression
from gateway.provider.request import Answer

T = TypeVar("T")


class Broken(Exception):
    """The tool did not answer."""


class Driver:
    """One connector and the HTTP to its tool; ``async with`` it."""

    def __init__(self, connector: Connector, tries: int = 3) -> None:
        self.connector = connector
        self.tries = tries
        self.bad = 0

    async def __aenter__(self):
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def run(self, exchange: Exchange[T]) -> T:
        try:
            request = next(exchange)
            while True:
                request = exchange.send(await self._ask(request))
        except StopIteration as stop:
            return stop.value

    async def _ask(self, request) -> Answer:
        base = self.connector.place.url or self.connector.url
        for _ in range(self.tries):
            sent = self.connector.prepare(request, now_ms())
            target = f"{base}{sent.path}" + (f"?{sent.query}" if sent.query else "")
            async with self._http.request(
                sent.method,
                URL(target, encoded=True),
                headers=sent.headers,
                data=sent.body or None,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
            ) as answer:
                body = await answer.read()
                if answer.status in self.connector.speaks or (
                    answer.status != 429 and answer.status < 500
                ):
                    pairs = tuple(answer.headers.items())
                    kind = answer.headers.get("Content-Type", "")
                    return Answer(answer.status, body, kind, pairs)
        raise Broken

    async def read(
        self, pages: Callable[[str], Exchange[Page]], cursor: str = ""
    ) -> tuple[list[Change], str]:
        """Every page from a cursor on."""
        found: list[Change] = []
        while True:
            page = await self.run(pages(cursor))
            found += page.changes
            self.bad += page.bad
            cursor = page.cursor
            if not page.more:
                return found, cursor

    async def put(self, entries: list[Suppression]) -> list[Put]:
        """In as many steps as it takes."""
        results: list[Put] = []
        most = self.connector.most
        for start in range(0, len(entries), most):
            part = entries[start : start + most]
            told = await self.run(self.connector.put(part))
            assert len(told) == len(part)
            results += told
        return results


def held(changes: list[Change]) -> set[tuple[Any, ...]]:
    """What is said, without when and how."""
    return {
        (
            one.said.value,
            one.suppression.contact.canonical,
            one.suppression.scope.value,
            one.suppression.topic,
            one.suppression.reason.value,
        )
        for one in changes
    }


odd = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
"""Any JSON, but small."""
