"""The HTTP server of the API: who asks, what they may, and bounds around it.

A caller that is not known learns nothing: not which paths there are, nor whether a
contact is known.  Bounds: the body's size, requests under way, requests a minute of an
account and wrong tokens a minute of an address, and the time a request may take.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from typing import Final

import orjson
import structlog
from aiohttp import web
from pydantic import BaseModel, ValidationError

from gateway.api import (
    contacts,
    decisions,
    events,
    held,
    imports,
    lists,
    records,
    requests,
    subjects,
    sync,
)
from gateway.api.account import Account
from gateway.api.desk import Call, Desk
from gateway.api.document import document
from gateway.api.path import RouteTable, not_allowed
from gateway.api.problem import (
    CONTENT_TYPE,
    BadMember,
    Problem,
    bad_request,
    problem_of,
    unavailable,
)
from gateway.api.route import Document, Download, Route
from gateway.api.sending import SECURE, Sending
from gateway.failure import GatewayError
from gateway.network import networks_of, peer_address, within
from gateway.rate import Bucket
from gateway.sms.connection import UNHEARD, Server, answered

log = structlog.get_logger(__name__)

ROUTES: Final[Sequence[Route]] = (
    *decisions.ROUTES,
    *contacts.ROUTES,
    *records.ROUTES,
    *events.ROUTES,
    *lists.ROUTES,
    *imports.ROUTES,
    *held.ROUTES,
    *subjects.ROUTES,
    *requests.ROUTES,
    *sync.ROUTES,
)
"""Everything that may be asked, but for the document itself."""

_DOCUMENT: Final = "/v1/openapi.json"
_WRONG_TOKENS: Final = 30
_REMEMBERED: Final = 10_000
"""Accounts and addresses whose rate is remembered."""
_REASON_MOST: Final = 500
_AT_ONCE: Final = 1024 * 1024
"""Octets of JSON that are read on the loop; more are read beside it."""
_LARGE_MOST: Final = 2
"""Large bodies that are read at once."""


class Office:
    """Serves the routes from one desk, which may be exchanged."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        self._document = orjson.dumps(document(ROUTES), option=orjson.OPT_INDENT_2)
        self._table = RouteTable(ROUTES)
        self._rates = _Rates()
        self._strangers = _Rates()
        self._under_way = 0
        self._mine: Counter[str] = Counter()
        """Requests under way, by account."""
        self._large = 0
        """Large bodies that are being read."""

    def server(self) -> Server:
        """A server for listening sockets."""
        return Server(
            self._handle,
            most=lambda: self.desk.settings.api.max_connections,
            first=lambda: self.desk.settings.api.timeout,
            access_log=None,
            logger=UNHEARD,
            lingering_time=0,
        )

    def release(self) -> None:
        """Answer those who wait at once: the process ends."""
        self.desk.waiting.end()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self._answered(request)
        if isinstance(answer, Sending):
            await answer.send(request, self.desk.settings.api.timeout)
            return answer
        return await answered(request, answer, self.desk.settings.api.timeout)

    async def _answered(self, request: web.BaseRequest) -> web.StreamResponse:
        settings = self.desk.settings.api
        if self._under_way >= settings.max_requests:
            return _answer(unavailable("too busy; try again later"))
        self._under_way += 1
        try:
            async with asyncio.timeout(settings.timeout) as limit:
                return await self._served(request, limit)
        except Problem as problem:
            return _answer(problem)
        except GatewayError as error:
            log.warning("api_failed", path=shape_of(request.raw_path), cause=str(error))
            return _answer(problem_of(error))
        except TimeoutError:
            return _answer(unavailable("it took too long; try again later"))
        except Exception:
            log.exception("api_request_failed", path=shape_of(request.raw_path))
            return _answer(unavailable("a fault of the gateway's; try again later"))
        finally:
            self._under_way -= 1

    async def _served(self, request: web.BaseRequest, limit: asyncio.Timeout) -> web.StreamResponse:
        account = await self._account(request)
        most = max(1, self.desk.settings.api.max_requests * 3 // 4)
        if self._mine[account.name] >= most:
            raise _too_many()  # the last places are for others
        self._mine[account.name] += 1
        try:
            return await self._asked(request, account, limit)
        finally:
            self._mine[account.name] -= 1
            if not self._mine[account.name]:
                del self._mine[account.name]

    async def _asked(
        self, request: web.BaseRequest, account: Account, limit: asyncio.Timeout
    ) -> web.StreamResponse:
        path = request.raw_path.partition("?")[0]
        if path == _DOCUMENT:
            if request.method != "GET":
                raise not_allowed(["GET"])
            return web.Response(body=self._document, content_type="application/json")
        route, places = self._table.find(request.method, path)
        if route.permission is not None and not account.may(route.permission):
            raise Problem(
                HTTPStatus.FORBIDDEN,
                "not-allowed",
                f"the role {account.role} does not allow this ({route.permission})",
            )
        reason = request.headers.get("Gateway-Reason", "")
        if len(reason) > _REASON_MOST or not reason.isprintable():
            raise bad_request("Gateway-Reason is one line of at most 500 characters")
        form, octets = await self._form(route, request)
        if route.seconds is not None:
            limit.reschedule(_now() + max(route.seconds, self.desk.settings.api.timeout))
        left = partial(_left, request)
        call = Call(self.desk, account, form, places, reason, octets, left)
        answer = await route.handler(call)
        if isinstance(answer, Document):
            return web.Response(
                body=answer.octets,
                status=route.status.value,
                content_type=answer.content_type,
                charset="utf-8",
                headers=SECURE,
            )
        if isinstance(answer, Download):
            return Sending(answer)
        if answer is None:
            return web.Response(status=route.status.value, headers=SECURE)
        return web.Response(
            body=answer.model_dump_json().encode(),
            status=route.status.value,
            content_type="application/json",
            headers=SECURE,
        )

    async def _account(self, request: web.BaseRequest) -> Account:
        settings = self.desk.settings.api
        peer = peer_address(request.remote)
        if not within(networks_of(settings.networks), peer):
            raise Problem(HTTPStatus.FORBIDDEN, "network", "not among api.networks")
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        account = None
        if scheme.lower() == "bearer" and token:
            account = await self.desk.ledger.find(token.strip())
        if account is None:
            # A right token is never refused for the wrong ones of its neighbours.
            if not self._strangers.take(str(peer), _WRONG_TOKENS):
                raise _too_many()
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "unknown-token",
                "send Authorization: Bearer and the token of an account",
                headers={"WWW-Authenticate": 'Bearer realm="suppression gateway"'},
            )
        if not self._rates.take(account.name, settings.requests_per_minute):
            raise _too_many()
        return account

    async def _form(self, route: Route, request: web.BaseRequest) -> tuple[BaseModel | None, bytes]:
        """What was asked for, and a body that is taken as it is."""
        query = None if route.query is None else _queried(route.query, request)
        if route.body is None:
            return query, b""
        if request.content_type in route.takes:
            return query, await self._body(route, request)
        if request.content_type != "application/json":
            known = " or ".join(["application/json", *route.takes])
            raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "media-type", f"send {known}")
        if request.query:
            name = next(iter(request.query))
            raise bad_request(
                "with a body in JSON the options stand in it", BadMember(f"/{name}", "put it there")
            )
        octets = await self._body(route, request)
        if len(octets) <= _AT_ONCE:
            return _validated(route.body, octets), b""
        return await asyncio.to_thread(_validated, route.body, octets), b""

    async def _body(self, route: Route, request: web.BaseRequest) -> bytes:
        settings = self.desk.settings.api
        if not route.large:
            return await _read(request, settings.max_body)
        if self._large >= _LARGE_MOST:
            raise unavailable("other lists are being sent; try again later")
        self._large += 1
        try:
            return await _read(request, settings.max_import)
        finally:
            self._large -= 1


async def _read(request: web.BaseRequest, most: int) -> bytes:
    """The body, of at most so many octets; raises Problem."""
    body = bytearray()
    if (request.content_length or 0) <= most:
        while piece := await request.content.readany():
            body += piece
            if len(body) > most:
                break
        else:
            return bytes(body)
    raise Problem(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", f"the body has more than {most} octets"
    )


def _queried(model: type[BaseModel], request: web.BaseRequest) -> BaseModel:
    """The query's members; raises Problem."""
    twice = [name for name in request.query if len(request.query.getall(name)) > 1]
    if twice:
        raise bad_request(
            "a parameter stands there twice", BadMember(f"/{twice[0]}", "give it once")
        )
    return _validated(model, dict(request.query))


class _Rates:
    """A rate for each of many, the longest unseen forgotten first."""

    def __init__(self) -> None:
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def take(self, name: str, rate: float) -> bool:
        """Count one more; whether it is within the rate a minute."""
        return self._bucket(name, rate).take(_now())

    def _bucket(self, name: str, rate: float) -> Bucket:
        bucket = self._buckets.pop(name, None)
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate, _now())
        self._buckets[name] = bucket
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket


def _now() -> float:
    return asyncio.get_running_loop().time()


def _validated(model: type[BaseModel], given: bytes | dict[str, str]) -> BaseModel:
    try:
        if isinstance(given, bytes):
            return model.model_validate_json(given)
        return model.model_validate_strings(given)
    except ValidationError as error:
        errors = error.errors(include_url=False, include_input=False, include_context=False)
        if any(one["type"] == "json_invalid" for one in errors):
            raise Problem(HTTPStatus.BAD_REQUEST, "no-json", "the body is no JSON") from None
        raise bad_request(
            "the request is wrong; the errors name the members",
            *(
                BadMember("".join(f"/{part}" for part in one["loc"]), one["msg"])
                for one in errors[:20]
            ),
        ) from None


def _left(request: web.BaseRequest) -> bool:
    """Whether the caller has closed its connection."""
    return request.transport is None or request.transport.is_closing()


def _answer(problem: Problem) -> web.Response:
    return web.Response(
        body=orjson.dumps(problem.body()),
        status=problem.status.value,
        headers={**SECURE, "Content-Type": CONTENT_TYPE, **problem.headers},
    )


def _too_many() -> Problem:
    return Problem(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too-many",
        "too many requests; try again later",
        headers={"Retry-After": "5"},
    )


_SHAPES: Final = frozenset("/".join(route.path.split("/")[:3]) for route in ROUTES)


def shape_of(path: str) -> str:
    """A path for the log: the beginning of one that there is, for any other may hold an address."""
    shape = "/".join(path.partition("?")[0].split("/")[:3])
    return shape if shape in _SHAPES else "another"
