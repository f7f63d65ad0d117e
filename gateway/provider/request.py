"""A request to a provider's API and its answer, as plain values.

What leaves is written anew from what was read: a member that stands twice, or a field
that a provider's parser might read in another way, could otherwise carry a recipient
past the register.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, quote_plus, unquote

import orjson

from gateway.provider.problem import Problem, Refusal

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
_FIELDS = 20_000
"""Fields of a form at the most."""
_SHORT = 8192
"""Characters of a form that is read field by field."""
_REPEATED = 64
"""Names and texts of forms that are remembered: a campaign says the same to everybody."""
_CACHED = 64
"""Characters of a name that is worth remembering."""
_NAMES = 1024
"""Characters of a form's names, all together, that are."""


class Request(NamedTuple):
    """One request; the path is the provider's own, as it was written (not decoded)."""

    method: str
    path: str
    query: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    def with_body(self, body: bytes) -> Request:
        """The request with another body."""
        return Request(self.method, self.path, self.query, self.headers, body)

    def header(self, name: str) -> str:
        """The first header of this lower-case name; "" where there is none."""
        for one, value in self.headers:
            if one.lower() == name:
                return value
        return ""

    def with_headers(self, changed: Mapping[str, str | None]) -> Request:
        """The request with headers put in place of those of the same names; None: taken out."""
        names = {name.lower() for name in changed}
        kept = [pair for pair in self.headers if pair[0].lower() not in names]
        kept += [(name, value) for name, value in changed.items() if value is not None]
        return self._replace(headers=tuple(kept))


class Answer(NamedTuple):
    """An answer; ``headers`` without those of the connection and the body's length."""

    status: int
    body: bytes = b""
    content_type: str = JSON
    headers: tuple[tuple[str, str], ...] = ()
    document: Any = None
    """The body as JSON, where :meth:`read` has read it; nobody changes it."""

    def read(self) -> Answer:
        """The answer with its body read as JSON, once; raises ValueError."""
        return self._replace(document=orjson.loads(self.body))

    def json(self) -> Any:  # noqa: ANN401 - JSON is of any type
        """The body as JSON; raises ValueError where it is none."""
        return orjson.loads(self.body) if self.document is None else self.document

    def with_body(self, body: bytes) -> Answer:
        """The same with another body."""
        return self._replace(body=body, document=None)

    @property
    def good(self) -> bool:
        """Whether its status is one of success."""
        return 200 <= self.status < 300


def json_answer(status: int, document: object, **headers: str) -> Answer:
    """An answer of one JSON document."""
    pairs = tuple((name.replace("_", "-"), value) for name, value in headers.items())
    return Answer(status, orjson.dumps(document), JSON, pairs)


# -- bodies ---------------------------------------------------------------------------

Pairs = tuple[tuple[str, str], ...]
"""The fields of a form, in order."""


def read_form(request: Request) -> Pairs:
    """The fields of a form in the body; raises Refusal."""
    expect_type(request, FORM)
    try:
        return pairs_of(request.body.decode("ascii"))
    except UnicodeDecodeError:
        raise Refusal(Problem.MALFORMED, "the body is not URL-encoded UTF-8") from None


def pairs_of(text: str) -> Pairs:
    """The fields of URL-encoded text, a query or a form; raises Refusal."""
    if not text:
        return ()
    if len(text) <= _SHORT and text.isascii():
        # The same fields as below, piece by piece, for what comes again and again.
        fields = [piece.split("=", 1) for piece in text.split("&")]
        try:
            return tuple([(_decoded(name), _decoded(value)) for name, value in fields])
        except ValueError:
            raise Refusal(Problem.MALFORMED, "the fields are not URL-encoded UTF-8") from None
    try:
        return tuple(
            parse_qsl(
                text,
                keep_blank_values=True,
                strict_parsing=True,
                errors="strict",
                max_num_fields=_FIELDS,
            )
        )
    except ValueError:
        raise Refusal(Problem.MALFORMED, "the fields are not URL-encoded UTF-8") from None


def written_form(pairs: Pairs) -> bytes:
    """The fields as a form's body."""
    return "&".join([f"{_encoded(name)}={_encoded(value)}" for name, value in pairs]).encode()


def _decoded(text: str) -> str:
    """One name or value of a form; raises ValueError."""
    if "%" not in text:
        return text.replace("+", " ")
    # A number is somebody's, and nothing that would come again soon.
    if text[:3] == "%2B" and text[3:].isdigit():
        return "+" + text[3:]
    return _unquoted(text)


def _encoded(text: str) -> str:
    """The same the other way round."""
    if text.isascii():
        if text.isalnum():
            return text
        if text[:1] == "+" and text[1:].isdigit():
            return "%2B" + text[1:]
    return _quoted(text) if len(text) <= _SHORT else quote_plus(text)


@lru_cache(maxsize=_REPEATED)
def _unquoted(text: str) -> str:
    return unquote(text.replace("+", " "), errors="strict")


_quoted = lru_cache(maxsize=_REPEATED)(quote_plus)


def only_field(pairs: Pairs, name: str, *, needed: bool = False) -> str:
    """The one value of a field; "" where it is not there.

    Raises Refusal where it stands twice, or under a name that some parser would take
    for it (another case, ``to[]``): which of them counts, nobody can say.
    """
    found: str | None = None
    for one, value in pairs:
        if one == name:
            if found is not None:
                raise Refusal(Problem.MALFORMED, f"the field {name} stands twice")
            found = value
        elif _alike(one, name):
            raise Refusal(Problem.MALFORMED, f"a field that may be taken for {name}; write {name}")
    if needed and not found:
        raise Refusal(Problem.MALFORMED, f"the field {name} is missing")
    return found or ""


def only_fields(pairs: Pairs, *wanted: str) -> dict[str, str]:
    """:func:`only_field` of each of these names."""
    present = tuple([name for name, _ in pairs])
    if sum(map(len, present)) > _NAMES:
        return {name: only_field(pairs, name) for name in wanted}
    places = _single(present, wanted)
    return {
        name: "" if place is None else pairs[place][1]
        for name, place in zip(wanted, places, strict=True)
    }


@lru_cache(maxsize=256)
def _single(present: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[int | None, ...]:
    """Where each of these fields stands; None: nowhere.  Raises as :func:`only_field`."""
    named = tuple((name, "") for name in present)
    for name in wanted:
        only_field(named, name)
    return tuple(present.index(name) if name in present else None for name in wanted)


def read_json(request: Request) -> Any:  # noqa: ANN401 - JSON is of any type
    """The JSON document in the body; raises Refusal."""
    expect_type(request, JSON)
    try:
        return orjson.loads(request.body)
    except orjson.JSONDecodeError:
        raise Refusal(Problem.MALFORMED, "the body is not JSON") from None


def read_object(request: Request) -> dict[str, Any]:
    """The JSON object in the body; raises Refusal."""
    return as_object(read_json(request), "the body")


def as_object(value: object, what: str) -> dict[str, Any]:
    """A JSON value that must be an object; raises Refusal naming ``what``."""
    if not isinstance(value, dict):
        raise Refusal(Problem.MALFORMED, f"{what} is not a JSON object")
    return value


def as_list(value: object, what: str, most: int = 10_000) -> list[Any]:
    """A JSON value that must be a list of 1 to ``most``; raises Refusal naming ``what``."""
    if not isinstance(value, list) or not value:
        raise Refusal(Problem.MALFORMED, f"{what} is not a list with anything in it")
    if len(value) > most:
        raise Refusal(Problem.TOO_MANY, f"{what} has more than {most} entries")
    return value


def as_text(value: object, what: str) -> str:
    """A JSON value that must be text or a whole number; raises Refusal naming ``what``."""
    if isinstance(value, str):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise Refusal(Problem.MALFORMED, f"{what} is not a text")


def only_member(document: Mapping[str, Any], name: str, *, needed: bool = False) -> Any:  # noqa: ANN401
    """A member of a JSON object; None where it is not there.

    Raises Refusal where another name that some parser would take for it stands beside it.
    """
    for one in document:
        if one != name and _alike(one, name):
            raise Refusal(Problem.MALFORMED, f"a member that may be taken for {name}; write {name}")
    found = document.get(name)
    if needed and found is None:
        raise Refusal(Problem.MALFORMED, f"the member {name} is missing")
    return found


def refuse_members(names: Sequence[str], document: Mapping[str, Any] | Pairs, why: str) -> None:
    """Refuse a request in which one of these stands, in whatever case: recipients unseen."""
    present = document if isinstance(document, Mapping) else [name for name, _ in document]
    for one in present:
        for name in names:
            if one == name or _alike(one, name):
                raise Refusal(Problem.HIDDEN_RECIPIENTS, f"{name} {why}")


def names(text: str) -> frozenset[str]:
    """The names in a text, with spaces between them."""
    return frozenset(text.split())


def only_known(known: frozenset[str], document: Mapping[str, Any] | Pairs, what: str) -> None:
    """Refuse a member or field that is none of these: it may name recipients unseen."""
    present = document if isinstance(document, Mapping) else [name for name, _ in document]
    for one in present:
        if one not in known:
            # What is no plain word is not repeated: it may be somebody's number.
            named = one if _plain_word(one) else "a member"
            raise Refusal(
                Problem.HIDDEN_RECIPIENTS, f"{named} of {what} is not known to the gateway"
            )


_plain_word = re.compile("[A-Za-z][A-Za-z_-]{0,30}").fullmatch
_BRACKETS = re.compile(r"[\s\[\]._-]+[0-9]*|[\s\[\]._-]+")


def _alike(one: str, name: str) -> bool:
    return _folds(one, name) if len(one) <= _CACHED else _folds.__wrapped__(one, name)


# A tool sends the same few names again and again.
@lru_cache(maxsize=4096)
def _folds(one: str, name: str) -> bool:
    return one != name and _BRACKETS.sub("", one).casefold() == _BRACKETS.sub("", name).casefold()


def expect_type(request: Request, wanted: str) -> None:
    """Refuse a body of another type, another charset, or compressed; raises Refusal."""
    said = request.header("content-type")
    if said == wanted and not request.header("content-encoding"):
        return
    kind, _, rest = said.partition(";")
    kind, rest = kind.strip().lower(), rest.strip().lower()
    if kind != wanted:
        raise Refusal(Problem.WRONG_TYPE, f"the body is not {wanted}")
    if rest and rest.removeprefix("charset=").strip("\"' ") not in ("utf-8", "utf8"):
        raise Refusal(Problem.WRONG_TYPE, "the charset of the body is not UTF-8")
    if request.header("content-encoding").strip().lower() not in ("", "identity"):
        raise Refusal(Problem.WRONG_TYPE, "the body is compressed; send it as it is")
