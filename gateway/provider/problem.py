"""What can be wrong with a request, whoever the provider is."""

from __future__ import annotations

from enum import Enum

from gateway.failure import GatewayError


class Problem(Enum):
    """Why a request is not carried out, with the HTTP status that says so (RFC 9110)."""

    UNKNOWN_CALLER = 401
    MALFORMED = 400
    BAD_RECIPIENT = (400, "a recipient is no telephone number")
    HIDDEN_RECIPIENTS = (400, "recipients that the request does not show")
    TOO_MANY = (400, "too many recipients")
    UNKNOWN_PATH = 404
    TOO_LARGE = 413
    WRONG_TYPE = 415
    TOO_SLOW = 408
    OVER_RATE = 429
    BUSY = 503
    """A fault or a bound of ours, or the register's: nothing was sent, try again."""
    QUIET = (503, "quiet hours")
    """The message would be sent in quiet hours: nothing was sent, try again later."""
    PROVIDER_AWAY = (503, "provider")
    """The provider could not be reached, or said nothing usable: nothing was sent."""
    UNANSWERED = 504
    """The provider has the message and did not say what it makes of it."""

    @property
    def status(self) -> int:
        """The HTTP status."""
        value: int | tuple[int, str] = self.value
        return value if isinstance(value, int) else value[0]

    @property
    def temporary(self) -> bool:
        """Whether the very same request may be taken later, and was not carried out now."""
        return self.status in (429, 503)


class Refusal(GatewayError):
    """A request that is refused; the text is for the caller and holds nothing personal.

    Lines of a provider's shape name the field and what to do, never a value.
    """

    code = 554
    status = "5.6.0"

    def __init__(self, problem: Problem, text: str) -> None:
        super().__init__(text)
        self.problem = problem
