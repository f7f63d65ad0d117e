"""What a person says to a sender: stop, start again, help, or something else.

The words are lists per language, for every market has its own; each is compared as
``_normal`` writes it.  Where in doubt a stop is read as a stop: it needs no form, and an
unclear one is a ban.  A start is read only where nothing else can be meant, for it lifts
a ban.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from enum import Enum
from typing import Final, NamedTuple

from gateway.failure import InputError

Lists = Mapping[str, Collection[str]]
"""Words by language (ISO 639-1)."""

STOP_WORDS: Final[Lists] = {
    "fi": ("STOP", "LOPETA"),
    "sv": ("STOPP", "SLUTA"),
    "nb": ("STOPP",),
    "da": ("STOP",),
    "en": (
        # Twilio's, https://help.twilio.com/articles/223134027
        *("STOP", "UNSUBSCRIBE", "END", "QUIT", "STOPALL", "REVOKE", "OPTOUT", "CANCEL"),
        # and what AWS adds, https://docs.aws.amazon.com/sms-voice/latest/userguide/keywords-required.html
        *("ARRET", "REMOVE", "OPT-OUT", "TD"),
    ),
}
"""Finnish and Swedish words have no authority behind them; they are what senders print."""
START_WORDS: Final[Lists] = {"en": ("START", "YES", "UNSTOP")}
HELP_WORDS: Final[Lists] = {"en": ("HELP", "INFO")}
ALL_WORDS: Final[Lists] = {
    "fi": ("KAIKKI",),
    "sv": ("ALLA", "ALLT"),
    "nb": ("ALLE", "ALT"),
    "da": ("ALLE", "ALT"),
    "en": ("ALL", "EVERYTHING"),
}
"""After a stop word: everything, as if it stood alone."""


class Said(Enum):
    """What a person says."""

    STOP = "stop"
    START = "start"
    HELP = "help"
    OTHER = "other"


class Meaning(NamedTuple):
    """What a text means."""

    said: Said
    word: str = ""
    """The word of the lists that it begins with, as they are compared; "" for OTHER."""
    argument: str | None = None
    """What of (a topic, a code), in lower case; None: of everything."""


OTHER: Final = Meaning(Said.OTHER)


class Words:
    """The words of some languages."""

    def __init__(
        self,
        stop: Lists = STOP_WORDS,
        start: Lists = START_WORDS,
        help_: Lists = HELP_WORDS,
        everything: Lists = ALL_WORDS,
        arguments: Iterable[str] = (),
    ) -> None:
        """Words by language; ``arguments`` are those known that have several words.

        Raises:
            InputError: a word has no letter or digit, or stands for two things.

        """
        lists = {Said.STOP: stop, Said.START: start, Said.HELP: help_}
        self._said: dict[str, Said] = {}
        for said, words in lists.items():
            for word in _words_of(words):
                if self._said.setdefault(word, said) is not said:
                    raise InputError(
                        f"the word {word!r} is in the lists of {self._said[word].value}"
                        f" and of {said.value}; take it out of one"
                    )
        self._everything = {*_words_of(everything), *self._of(Said.STOP)}
        self._arguments = {compared(one) for one in arguments}
        self._first = _pattern(self._said)

    def _of(self, said: Said) -> Iterator[str]:
        return (word for word, one in self._said.items() if one is said)

    def meaning(self, text: str, keyword: str = "") -> Meaning:
        """What a text means by its first word.

        Case, width, and whatever stands around the words (white space, punctuation,
        quotes, emoji, invisible characters) make no difference.

        - A stop word alone is a stop of everything; so is one with a word for
          "everything" (``STOP ALL``), or with another stop word, after it.
        - A stop word with one word more, or with a known argument, is a stop of that
          (``STOP 12345``, ``STOP12345``); whoever asks decides what an argument that it
          does not know means.
        - A longer sentence that begins with a stop word is a stop of everything.
        - A start word alone, or with one argument, is a start.  A help word alone asks
          for help.
        - Anything else is OTHER, also where such a word stands further back.

        ``keyword`` is what ``Incoming.keyword`` says: where the text begins with it and
        says nothing of its own, what follows it counts (``ACME STOP`` on a number shared
        by its first words); where the text does not begin with it and it is a stop word,
        it counts itself, for then the provider has taken the text for a stop.
        """
        normal = _normal(text)
        found = self._read(normal)
        if found.said is not Said.OTHER or not keyword:
            return found
        brought = _pattern([" ".join(_tokens(_normal(keyword)))])
        if match := brought.match(normal):
            return self._read(normal[match.end() :])
        taken = self._read(_normal(keyword))
        return taken if taken.said is Said.STOP else OTHER

    def _read(self, normal: str) -> Meaning:
        match = self._first.match(normal)
        if match is None:
            return OTHER
        word = " ".join(_tokens(match[1]))
        said = self._said[word]
        rest = normal[match.end() :]
        if said is not Said.STOP and rest[:1].isdigit():
            return OTHER
        tokens = [token for token in map(_trimmed, rest.split()) if token]
        argument = " ".join(tokens) or None
        if argument and (" ".join(_tokens(argument)) in self._everything):
            argument = None
        elif len(tokens) > 1 and argument not in self._arguments:
            if said is not Said.STOP:
                return OTHER
            argument = None
        if said is Said.HELP and tokens:
            return OTHER
        return Meaning(said, word, argument)


def compared(argument: str) -> str:
    """The form in which ``Meaning.argument`` says what may follow a word."""
    return " ".join(token for token in map(_trimmed, _normal(argument).split()) if token)


def _normal(text: str) -> str:
    """A text in one form: compatible (NFKC) and folded, without invisible characters."""
    seen = "".join(char for char in text if not _invisible(char))
    folded = unicodedata.normalize("NFKC", seen).casefold()
    return unicodedata.normalize("NFKC", folded)


def _invisible(char: str) -> bool:
    """Format characters (zero width, direction) and the marks that choose a glyph."""
    return (
        unicodedata.category(char) == "Cf"
        or "\ufe00" <= char <= "\ufe0f"
        or "\U000e0100" <= char <= "\U000e01ef"
    )


_token = re.compile(r"[^\W_]+")
_edges = re.compile(r"^[\W_]+|[\W_]+$")


def _tokens(normal: str) -> list[str]:
    return _token.findall(normal)


def _trimmed(token: str) -> str:
    return _edges.sub("", token)


def _words_of(lists: Lists) -> Iterator[str]:
    for language, words in lists.items():
        for word in words:
            tokens = _tokens(_normal(word))
            if not tokens:
                raise InputError(f"a word of the language {language!r} has no letter or digit")
            yield " ".join(tokens)


def _pattern(words: Iterable[str]) -> re.Pattern[str]:
    """Whichever of these a text begins with, the longest first.

    Digits may follow at once (``STOP12345``), as long as nothing else does.
    """
    longest = sorted(words, key=len, reverse=True)
    either = "|".join(r"[\W_]+".join(map(re.escape, word.split())) for word in longest)
    return re.compile(rf"[\W_]*({either or '(?!)'})(?![^\W\d_]|\d+[^\W\d_])")
