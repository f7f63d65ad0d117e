"""What every provider's adapter offers; the defaults suit most of them.

An adapter is the whole knowledge of one provider's way of sending: which paths send and
where recipients, text and sender stand there, which paths only read, and how answers,
refusals and delivery reports look.  It is pure: requests and answers are values.

A path that stands in neither table is refused.  That is what keeps a second way of
sending on the same host from walking past the register.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, NamedTuple

from gateway.contacts.destination import Notation
from gateway.provider.credential import Scheme
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Decided, Fate, Report, Submission, Told


class Path(NamedTuple):
    """A method and a path; the path is matched whole, undecoded, as the pattern says."""

    method: str
    pattern: re.Pattern[str]
    body: bool = False
    """Whether a body may go with it, one that can send nothing."""


class SendPath(NamedTuple):
    """A path that sends; ``read`` is the name of the adapter's method that reads it."""

    method: str
    pattern: re.Pattern[str]
    read: str
    query: frozenset[str] = frozenset()
    """Query parameters that it may have: those that hold no recipient."""


def reads(*paths: str) -> tuple[Path, ...]:
    """Paths of GET that only read, as patterns."""
    return tuple(Path("GET", re.compile(path)) for path in paths)


def changes(method: str, pattern: str) -> Path:
    """A path that changes something and can send nothing, with or without a body."""
    return Path(method, re.compile(pattern), body=True)


def sends(
    method: str, pattern: str, read: str, *query: str, flags: re.RegexFlag = re.NOFLAG
) -> SendPath:
    """A path that sends."""
    return SendPath(method, re.compile(pattern, flags), read, frozenset(query))


class Adapter(ABC):
    """One provider.  Subclasses fill the tables and the methods named abstract."""

    name: ClassVar[str]
    """As the settings name it."""
    title: ClassVar[str]
    base_url: ClassVar[str]
    """Where the provider itself is; a route may name another."""
    notation: ClassVar[Notation] = Notation.PLUS
    """How numbers are written."""
    sends: ClassVar[Sequence[SendPath]]
    harmless: ClassVar[Sequence[Path]] = ()
    """Paths that send nothing and may pass."""
    schemes: ClassVar[Sequence[Scheme]]
    """The ways in which a request shows its credential, the usual first."""
    signs_host: ClassVar[bool] = False
    """Whether credentials cover the host, so that a tool's own cannot go through."""
    grows_old: ClassVar[bool] = False
    """Whether a tool's own credentials are, or may be, signatures and tokens of a time: a
    request that waits with them is refused when it is sent at last."""
    idempotency: ClassVar[Sequence[str]] = ("idempotency-key",)
    """Headers (lower case) of which a repeated request shows the same value."""
    tells_each: ClassVar[bool] = False
    """Whether its good answer tells of each recipient, blocked and invalid ones too."""
    most: ClassVar[int] = 10_000
    """Recipients of one request, at the most."""

    # -- reading ------------------------------------------------------------------

    def read(self, request: Request) -> Submission | None:
        """What the request asks to be sent; None: it sends nothing, and may pass.

        Raises:
            Refusal: it cannot be read, shows not all of its recipients, or has a path
                that is not known here.

        """
        for path in self.sends:
            if path.method == request.method and (match := path.pattern.fullmatch(request.path)):
                self._check_query(request, path)
                reader: Callable[[Request, re.Match[str]], Submission] = getattr(self, path.read)
                submission = reader(request, match)
                count = sum(len(message.destinations) for message in submission.messages)
                if count > self.most:
                    raise Refusal(Problem.TOO_MANY, f"more than {self.most} recipients")
                if not count:
                    raise Refusal(Problem.MALFORMED, "no recipient is named")
                return submission
        for one in self.harmless:
            if one.method == request.method and one.pattern.fullmatch(request.path):
                if request.body and not one.body:
                    raise Refusal(Problem.MALFORMED, "a body where none is read")
                return None
        raise Refusal(Problem.UNKNOWN_PATH, "the gateway does not know this method and path")

    @staticmethod
    def _check_query(request: Request, path: SendPath) -> None:
        if not request.query:
            return
        for part in request.query.split("&"):
            if part.partition("=")[0] not in path.query:
                raise Refusal(Problem.MALFORMED, "parameters in the URL; put them into the body")

    @abstractmethod
    def narrowed(self, submission: Submission, kept: Sequence[Sequence[int]]) -> Request:
        """The request with only these destinations (their places, for each message).

        Written anew from what was read, even where all are kept.  At least one is.
        """

    # -- answering ----------------------------------------------------------------

    @abstractmethod
    def accepted(self, submission: Submission, decided: Decided) -> Answer:
        """The answer where nobody was sent to and not all are blocked.

        As the provider's own to a request that it accepts; those that are blocked or
        invalid stand in it as such where the provider has a form for that.
        """

    @abstractmethod
    def blocked(self, submission: Submission, decided: Decided) -> Answer:
        """The answer where all are blocked, as the provider refuses an opted-out number."""

    def merged(self, answer: Answer, submission: Submission, decided: Decided) -> Answer:
        """The provider's good answer, with those added that it never saw.

        The default suits providers whose answers do not tell of single recipients.
        """
        return answer

    @abstractmethod
    def problem(self, problem: Problem, text: str) -> Answer:
        """A refusal in the provider's error form; ``text`` is for a developer to read."""

    def told(self, answer: Answer, submission: Submission, decided: Decided) -> Sequence[Told]:
        """What the provider's answer says of each destination sent, in order.

        The default goes by the status.
        """
        return [status_told(answer.status)] * decided.count(Fate.SENT)

    def usable(self, answer: Answer) -> bool:
        """Whether it is an answer of the provider's, and not a page of somebody between.

        The default: JSON, or no body at all.
        """
        return not answer.body or "json" in answer.content_type

    def perishes(self, request: Request) -> bool:
        """Whether this request shows a token that will not be good for hours."""
        return self.grows_old

    # -- delivery reports ---------------------------------------------------------

    def report(
        self, submission: Submission, decided: Decided, number: int, place: int, secret: str
    ) -> Report | None:
        """The delivery report of a destination that was accepted and is suppressed.

        ``secret`` signs it as the provider would ("" where none is configured).
        None: the provider has no such report, or the request asks for none.
        """
        return None


def status_told(status: int) -> Told:
    """What an HTTP status says of a message."""
    if 200 <= status < 300:
        return Told.ACCEPTED
    return Told.LATER if status in (408, 425, 429) or status >= 500 else Told.REFUSED
