"""A provider of one's own, described by a table of the configuration.

One way of sending: POST of a JSON object or a form to paths named one by one.  What the
table does not name is refused, so that a member nobody thought of cannot name recipients.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlsplit

import orjson

from gateway.contacts.destination import Notation
from gateway.provider.adapter import Adapter, reads, sends
from gateway.provider.credential import Basic, Header, Query, Scheme, Token
from gateway.provider.identifier import uuid_of
from gateway.provider.problem import Problem, Refusal
from gateway.provider.registry import PROVIDERS
from gateway.provider.request import (
    JSON,
    Answer,
    Request,
    as_list,
    as_object,
    as_text,
    only_field,
    read_form,
    read_object,
    written_form,
)
from gateway.provider.submission import Decided, Message, Submission

_KEY = "[A-Za-z_][A-Za-z0-9_-]*"
_key = re.compile(_KEY).fullmatch
_place = re.compile(rf"(?:({_KEY}(?:\.{_KEY})*)\[\]\.)?({_KEY}(?:\.{_KEY})*)").fullmatch
_name = re.compile("[a-z][a-z0-9-]{0,31}").fullmatch
_path = re.compile("/[A-Za-z0-9._~/-]*").fullmatch
_separator = re.compile("[,;|<> ]?").fullmatch
_word = re.compile(r"[A-Za-z0-9_-]+").fullmatch
_HOLE = re.compile(r"\{([a-z]+)\}")
_NO_LETTER = re.compile("[^a-z0-9]+")


class Place(NamedTuple):
    """Where a value stands: keys in the document, or in each object of a list in it."""

    listed: tuple[str, ...]
    """The keys of the list; empty: there is none."""
    keys: tuple[str, ...]

    @classmethod
    def of(cls, text: str, setting: str) -> Place:
        """``to``, ``message.to`` or ``messages[].to``; raises ValueError naming the setting."""
        match = _place(text)
        if not match:
            raise ValueError(
                f"{setting}: {text!r} is no place; write keys with dots between them, one of"
                " them with [] where it is a list of objects: to, message.to, messages[].to"
            )
        return cls(tuple(match[1].split(".")) if match[1] else (), tuple(match[2].split(".")))


@dataclass(frozen=True, slots=True, kw_only=True)
class TableShape:
    """The settings of one provider; raises ValueError naming the setting that is wrong."""

    __pydantic_config__: ClassVar = {"extra": "forbid"}
    """The settings are made of these: no unknown names."""

    name: str
    """As routes name it."""
    base_url: str
    sends: Sequence[str]
    """Paths of POST that send."""
    recipients: str
    """Where the recipients stand: a number, a list of them, or several with a separator."""
    accepted: str
    """The answer to a message that is taken; may hold ``{id}`` and ``{to}``."""
    refused: str
    """The answer to one that is refused; may hold ``{code}`` and ``{text}``."""
    title: str = ""
    text: str = "text"
    sender: str = ""
    """Empty: a request names none."""
    separator: str = ""
    """What stands between several recipients in one text; empty: nothing does."""
    others: Sequence[str] = ()
    """What else a request may hold, with all that is in it; none of it names recipients."""
    scheduled: Sequence[str] = ()
    """Those of the others by which the provider sends later."""
    reads: Sequence[str] = ()
    """Paths of GET that only read."""
    body: Literal["json", "form"] = "json"
    credential: str = "bearer"
    """``basic``, ``bearer``, ``token:WORD``, ``header:NAME`` or ``query:NAME``."""
    international: bool = False
    """Whether a number's digits alone begin with the country code."""
    accepted_status: int = 200
    refused_status: int = 400
    refused_code: str = "opted_out"
    """The ``{code}`` of a suppressed recipient."""
    most: int = 1000
    """Recipients of one request, at the most."""

    def __post_init__(self) -> None:
        if not _name(self.name):
            raise ValueError("name: write it of a-z, 0-9 and -, such as our-operator")
        if self.name in PROVIDERS:
            raise ValueError(
                f"name: {self.name} is a provider that the gateway knows; take another"
            )
        url = urlsplit(self.base_url)
        if url.scheme not in ("http", "https") or not url.hostname or url.path or url.query:
            raise ValueError("base_url: write it without a path, such as https://sms.example.net")
        if not self.sends:
            raise ValueError("sends: name at least one path")
        for setting, paths in (("sends", self.sends), ("reads", self.reads)):
            for path in paths:
                if not _path(path):
                    raise ValueError(f"{setting}: {path!r} is no path; write /v1/send")
        if not 200 <= self.accepted_status <= 299:
            raise ValueError("accepted_status: an answer of success has 200 to 299")
        if not 400 <= self.refused_status <= 499:
            raise ValueError("refused_status: a refusal has 400 to 499")
        if self.most < 1:
            raise ValueError("most: at least one recipient")
        if not _separator(self.separator):
            raise ValueError("separator: one of , ; | < > or a space, or empty")
        self._check_places()
        scheme_of(self.credential)
        _check_template("accepted", self.accepted, ("id", "to"))
        _check_template("refused", self.refused, ("code", "text"))

    def _check_places(self) -> None:
        recipients = Place.of(self.recipients, "recipients")
        named = [("recipients", self.recipients), ("text", self.text)]
        named += [("sender", self.sender)] if self.sender else []
        named += [("others", other) for other in self.others]
        for setting, text in named:
            place = Place.of(text, setting)
            if place.listed not in ((), recipients.listed):
                raise ValueError(f"{setting}: {text!r} is in another list than the recipients")
            if self.body == "form" and (place.listed or len(place.keys) > 1):
                raise ValueError(f"{setting}: a form has fields only; write one key")
        for number, (setting, text) in enumerate(named):
            for before, other in named[:number]:
                one, two = _plain(text), _plain(other)
                if f"{one}.".startswith(f"{two}.") or f"{two}.".startswith(f"{one}."):
                    raise ValueError(f"{setting}: {text!r} may be taken for {other!r} of {before}")
        for later in self.scheduled:
            if later not in self.others:
                raise ValueError(f"scheduled: {later!r} is not one of others")


def _above(place: str) -> Iterator[str]:
    """``a.b[].c``: ``a``, ``a.b`` and ``a.b[]``."""
    parts = place.replace("[]", ".[]").split(".")
    for count in range(1, len(parts)):
        yield ".".join(parts[:count]).replace(".[]", "[]")


def _plain(place: str) -> str:
    """A place as a parser that does not look closely might take it."""
    return ".".join(_NO_LETTER.sub("", key) for key in place.lower().split("."))


_NAMED: Mapping[str, Callable[[str], Scheme]] = {"token": Token, "header": Header, "query": Query}


def scheme_of(text: str) -> Scheme:
    """The scheme that a setting names; raises ValueError."""
    kind, colon, name = text.partition(":")
    if kind == "basic" and not colon:
        return Basic()
    if kind == "bearer" and not colon:
        return Token()
    if kind in _NAMED and _word(name):
        return _NAMED[kind](name)
    raise ValueError(
        f"credential: {text!r} is none of basic, bearer, token:WORD, header:NAME, query:NAME"
    )


def _check_template(setting: str, template: str, holes: Sequence[str]) -> None:
    for hole in _HOLE.findall(template):
        if hole not in holes:
            known = " and ".join(f"{{{name}}}" for name in holes)
            raise ValueError(f"{setting}: {{{hole}}} is not known here; it may hold {known}")
    if _is_json(template):
        try:
            orjson.loads(_filled(template, dict.fromkeys(holes, '"')))
        except orjson.JSONDecodeError as error:
            raise ValueError(
                f"{setting}: not JSON ({error}); a placeholder stands in quotes"
            ) from None


def _is_json(template: str) -> bool:
    return template.lstrip().startswith(("{", "["))


def _filled(template: str, values: Mapping[str, str]) -> bytes:
    """The template with its holes filled, escaped where it is JSON."""

    def fill(match: re.Match[str]) -> str:
        value = values[match[1]]
        return orjson.dumps(value).decode()[1:-1] if _is_json(template) else value

    return _HOLE.sub(fill, template).encode()


class Table(Adapter):
    """The adapter that a shape describes; its tables are its own, not the class's."""

    def __init__(self, shape: TableShape) -> None:
        self.shape = shape
        scheme = scheme_of(shape.credential)
        query = (scheme.name,) if isinstance(scheme, Query) else ()
        vars(self).update(
            name=shape.name,
            title=shape.title or shape.name,
            base_url=shape.base_url,
            notation=Notation.INTERNATIONAL if shape.international else Notation.PLUS,
            sends=tuple(sends("POST", re.escape(one), "read_table", *query) for one in shape.sends),
            harmless=reads(*map(re.escape, shape.reads)),
            schemes=(scheme,),
            most=shape.most,
        )

    @cached_property
    def _named(self) -> frozenset[str]:
        shape = self.shape
        return frozenset((shape.recipients, shape.text, shape.sender, *shape.others)) - {""}

    @cached_property
    def _above(self) -> frozenset[str]:
        """The places in which those that are named stand."""
        return frozenset(above for place in self._named for above in _above(place))

    def read_table(self, request: Request, match: re.Match[str]) -> Submission:
        """A message for each object of the list, or the one."""
        document = self._document(request)
        self._refuse_unnamed(document, "")
        listed = Place.of(self.shape.recipients, "recipients").listed
        entries = [document]
        if listed:
            entries = as_list(_at(document, listed), ".".join(listed))
        messages = tuple(self._message(document, entry) for entry in entries)
        later = any(
            self._found(document, entry, place) is not None
            for entry in entries
            for place in self.shape.scheduled
        )
        return Submission(request, messages, (document, entries), scheduled=later)

    def _document(self, request: Request) -> dict[str, Any]:
        if self.shape.body == "json":
            return read_object(request)
        pairs = read_form(request)
        return {name: only_field(pairs, name) for name, _ in pairs}

    def _refuse_unnamed(self, value: object, place: str) -> None:
        if place in self._named:
            return
        if f"{place}[]" in self._above:
            for one in as_list(value, place):
                self._refuse_unnamed(as_object(one, f"{place}[]"), f"{place}[]")
        elif place == "" or place in self._above:
            for key, one in as_object(value, place or "the body").items():
                # A key with a dot in it could be taken for a place that is named.
                if not _key(key):
                    raise Refusal(Problem.HIDDEN_RECIPIENTS, "a member that is not named in others")
                self._refuse_unnamed(one, f"{place}.{key}" if place else key)
        else:
            raise Refusal(Problem.HIDDEN_RECIPIENTS, "a member that is not named in others")

    def _found(self, document: object, entry: object, place: str) -> object:
        listed, keys = Place.of(place, "")
        return _at(entry if listed else document, keys)

    def _message(self, document: object, entry: object) -> Message:
        shape = self.shape
        sender = self._found(document, entry, shape.sender) if shape.sender else None
        text = self._found(document, entry, shape.text)
        return Message(
            "" if sender is None else as_text(sender, shape.sender),
            None if text is None else as_text(text, shape.text),
            tuple(self._recipients(self._found(document, entry, shape.recipients))),
        )

    def _recipients(self, value: object) -> Iterator[str]:
        where = self.shape.recipients
        if isinstance(value, list):
            yield from (as_text(one, where) for one in as_list(value, where))
        elif value in (None, ""):
            raise Refusal(Problem.MALFORMED, f"{where} is missing")
        elif self.shape.separator:
            yield from as_text(value, where).split(self.shape.separator)
        else:
            yield as_text(value, where)

    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The body with the recipients that are kept, without objects of none."""
        document, entries = submission.document
        listed, keys = Place.of(self.shape.recipients, "recipients")
        left = [
            _put(entry, keys, self._kept(_at(entry, keys), places))
            for entry, places in zip(entries, kept, strict=True)
            if places
        ]
        whole = _put(document, listed, left) if listed else left[0]
        if self.shape.body == "form":
            return submission.request._replace(body=written_form(tuple(whole.items())))
        return submission.request._replace(body=orjson.dumps(whole))

    def _kept(self, value: Any, places: Sequence[int]) -> object:  # noqa: ANN401
        if isinstance(value, list):
            return [value[place] for place in places]
        if self.shape.separator:
            parts = str(value).split(self.shape.separator)
            return self.shape.separator.join(parts[place] for place in places)
        return value

    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """The answer to a message that is taken, with the first record's id."""
        ids = (one for message in decided.ids for one in message if one)
        first = next(ids, "")
        to = [one for message in submission.messages for one in message.destinations]
        values = {
            "id": uuid_of(first) if first else "",
            "to": (self.shape.separator or ",").join(to),
        }
        return _answer(self.shape.accepted_status, self.shape.accepted, values)

    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """The refusal, with the code for a suppressed recipient."""
        values = {"code": self.shape.refused_code, "text": "The recipient has opted out"}
        return _answer(self.shape.refused_status, self.shape.refused, values)

    def problem(self, problem: Problem, text: str) -> Answer:
        """The refusal, with the status and the name of the problem."""
        values = {"code": problem.name.lower(), "text": text}
        return _answer(problem.status, self.shape.refused, values)

    def usable(self, answer: Answer) -> bool:
        """JSON where the answers here are; else anything that is no page."""
        if _is_json(self.shape.accepted):
            return super().usable(answer)
        return "html" not in answer.content_type


def _answer(status: int, template: str, values: Mapping[str, str]) -> Answer:
    kind = JSON if _is_json(template) else "text/plain; charset=utf-8"
    return Answer(status, _filled(template, values), kind)


def _at(value: Any, keys: Sequence[str]) -> Any:  # noqa: ANN401 - JSON is of any type
    """The value at these keys; None where there is none."""
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _put(value: Any, keys: Sequence[str], new: object) -> Any:  # noqa: ANN401
    """A copy with the value at these keys replaced."""
    if not keys:
        return new
    return {**value, keys[0]: _put(value[keys[0]], keys[1:], new)}
