"""Which route a path is, and what its places are filled with."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import unquote

from gateway.api.problem import BadMember, Problem, bad_request
from gateway.api.route import Route

_PLACE: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789:._-")
_PLACE_MOST: Final = 64


class RouteTable:
    """Finds the route of a path."""

    def __init__(self, routes: Sequence[Route]) -> None:
        paths: dict[str, dict[str, Route]] = {}
        for route in routes:
            paths.setdefault(route.path, {})[route.method] = route
        # What is written out comes before what a place could stand for.
        self._paths = sorted(
            ((path.split("/"), methods) for path, methods in paths.items()),
            key=lambda each: sum(part.startswith("{") for part in each[0]),
        )

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route and what its places are filled with; raises Problem."""
        parts = path.split("/")
        for pattern, methods in self._paths:
            places = _filled(pattern, parts)
            if places is None:
                continue
            route = methods.get(method)
            if route is None:
                raise not_allowed([*methods])
            for name, value in places.items():
                if not 0 < len(value) <= _PLACE_MOST or not _PLACE.issuperset(value):
                    raise bad_request(
                        "the path names nothing that could be there",
                        BadMember(f"/{name}", "an id is 1 to 64 letters, digits, and : . _ -"),
                    )
            return route, places
        raise Problem(
            HTTPStatus.NOT_FOUND, "no-path", "there is no such path; see /v1/openapi.json"
        )


def _filled(pattern: Sequence[str], parts: Sequence[str]) -> dict[str, str] | None:
    """What the pattern's places are filled with; None where the path is another."""
    if len(pattern) != len(parts):
        return None
    places: dict[str, str] = {}
    for wanted, given in zip(pattern, parts, strict=True):
        if wanted.startswith("{"):
            places[wanted[1:-1]] = unquote(given, errors="replace")
        elif wanted != given:
            return None
    return places


def not_allowed(methods: Sequence[str]) -> Problem:
    """A path that is there, asked with a method that is not."""
    allowed = ", ".join(sorted(set(methods)))
    return Problem(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "method",
        f"here is only {allowed}",
        headers={"Allow": allowed},
    )
