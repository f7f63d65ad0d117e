"""How a request shows who sends it: what is read of it, and what takes its place.

Two ways: the tool's own credentials go through as they are, or the tool shows a token
of the gateway's where the provider's secret would stand, and the gateway puts the
provider's secret in its place.
"""

from __future__ import annotations

import base64
import hmac
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import orjson

from gateway.provider.request import FORM, JSON, Pairs, Request, pairs_of, written_form


class Credential(NamedTuple):
    """A name (empty where the scheme has none) and its secret."""

    name: str
    secret: str


class Scheme(Protocol):
    """One way of showing a credential."""

    def shows(self, request: Request, expected: Credential) -> bool:
        """Whether the request shows this credential in this way.

        An expected name that is empty is not compared.
        """

    def name_in(self, request: Request) -> str:
        """The name that the request shows in this way; "" where there is none."""

    def write(self, request: Request, credential: Credential) -> Request:
        """The request showing this credential in this way instead."""


class Plain(ABC):
    """A scheme in which the secret itself is shown."""

    @abstractmethod
    def read(self, request: Request) -> Credential | None:
        """The credential that the request shows in this way, if it does."""

    @abstractmethod
    def write(self, request: Request, credential: Credential) -> Request:
        """The request showing this credential in this way instead."""

    def name_in(self, request: Request) -> str:
        """The name that the request shows."""
        shown = self.read(request)
        return "" if shown is None else shown.name

    def shows(self, request: Request, expected: Credential) -> bool:
        """Whether the request shows this credential, compared in constant time."""
        shown = self.read(request)
        if shown is None:
            return False
        right = hmac.compare_digest(shown.secret.encode(), expected.secret.encode())
        return right and expected.name in ("", shown.name)


@dataclass(frozen=True)
class Basic(Plain):
    """``Authorization: Basic`` (RFC 7617).

    ``token_name``: the one part, where the provider wants its token as the user name.
    """

    token_name: bool = False

    def read(self, request: Request) -> Credential | None:
        """The credential, where there is one."""
        scheme, _, value = request.header("authorization").partition(" ")
        if scheme.lower() != "basic":
            return None
        try:
            name, colon, secret = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:  # not base 64, not ASCII, not UTF-8
            return None
        if self.token_name:
            return Credential("", name) if name else None
        return Credential(name, secret) if colon else None

    def write(self, request: Request, credential: Credential) -> Request:
        """The request with this credential in its place."""
        pair = f"{credential.secret}:" if self.token_name else ":".join(credential)
        value = base64.b64encode(pair.encode()).decode()
        return request.with_headers({"Authorization": f"Basic {value}"})


@dataclass(frozen=True)
class Token(Plain):
    """``Authorization`` with a word and a token: ``Bearer``, ``App``, ``AccessKey``."""

    word: str = "Bearer"

    def read(self, request: Request) -> Credential | None:
        """The credential, where there is one."""
        word, _, value = request.header("authorization").partition(" ")
        value = value.strip()
        return Credential("", value) if word.lower() == self.word.lower() and value else None

    def write(self, request: Request, credential: Credential) -> Request:
        """The request with this credential in its place."""
        return request.with_headers({"Authorization": f"{self.word} {credential.secret}"})


@dataclass(frozen=True)
class Header(Plain):
    """A header of its own, such as ``X-Api-Key``."""

    name: str

    def read(self, request: Request) -> Credential | None:
        """The credential, where there is one."""
        value = request.header(self.name.lower()).strip()
        return Credential("", value) if value else None

    def write(self, request: Request, credential: Credential) -> Request:
        """The request with this credential in its place."""
        return request.with_headers({self.name: credential.secret})


@dataclass(frozen=True)
class Query(Plain):
    """A parameter of the query, such as ``?token=``."""

    name: str

    def read(self, request: Request) -> Credential | None:
        """The credential, where there is one."""
        values = [value for name, value in pairs_of(request.query) if name == self.name]
        return Credential("", values[0]) if len(values) == 1 and values[0] else None

    def write(self, request: Request, credential: Credential) -> Request:
        """The request with this credential in its place."""
        pairs = [pair for pair in pairs_of(request.query) if pair[0] != self.name]
        query = written_form((*pairs, (self.name, credential.secret))).decode()
        return request._replace(query=query)


@dataclass(frozen=True)
class Fields(Plain):
    """Two fields of a form or a JSON body, such as ``api_key`` and ``api_secret``."""

    name: str
    secret: str

    def read(self, request: Request) -> Credential | None:
        """The credential, where there is one."""
        pairs = _body_pairs(request)
        names = [value for name, value in pairs if name == self.name]
        secrets = [value for name, value in pairs if name == self.secret]
        if len(names) != 1 or len(secrets) != 1 or not secrets[0]:
            return None
        return Credential(names[0], secrets[0])

    def write(self, request: Request, credential: Credential) -> Request:
        """The request with this credential in its place."""
        if request.header("content-type").startswith(JSON):
            document = orjson.loads(request.body)
            document.update({self.name: credential.name, self.secret: credential.secret})
            return request._replace(body=orjson.dumps(document))
        changed = {self.name: credential.name, self.secret: credential.secret}
        pairs = tuple((name, changed.get(name, value)) for name, value in _body_pairs(request))
        return request._replace(body=written_form(pairs))


def _body_pairs(request: Request) -> Pairs:
    kind = request.header("content-type").partition(";")[0].strip().lower()
    if kind == FORM:
        try:
            return pairs_of(request.body.decode("ascii"))
        except UnicodeDecodeError:
            return ()
    if kind == JSON:
        try:
            document = orjson.loads(request.body)
        except orjson.JSONDecodeError:
            return ()
        if isinstance(document, dict):
            return tuple((name, one) for name, one in document.items() if isinstance(one, str))
    return ()
