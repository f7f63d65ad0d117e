"""The mail of a scenario: letters, their recipients, and what their sender was told."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

ALLOWED = tuple(f"reader{number}@example.com" for number in range(48))
BANNED = tuple(f"banned{number}@example.org" for number in range(16))
OUR_DOMAIN = "lamisnet.fi"
_ID = re.compile(r"^250 2\.0\.0 Ok ([0-9A-Z]{26}): ")
_WORDS = "kevään uutiset .piste ..kaksi kuitu nopea liittymä tarjous".encode("ascii", "ignore")


@dataclass
class Letter:
    """One message, and all that its sender remembers of it."""

    id: str
    recipients: tuple[str, ...]
    body: bytes
    taken: dict[str, str] = field(default_factory=dict)
    """Recipients told 250 at the final dot, and the id that the reply named, if it did."""
    refused: dict[str, str] = field(default_factory=dict)
    """Recipients told 5xx, and the reply."""
    attempts: int = 0
    unclear: int = 0
    """Attempts whose final dot was sent and whose answer was not heard."""
    deferred: int = 0
    """Attempts whose final dot was answered 4xx."""

    @property
    def sender(self) -> str:
        """The envelope sender, which no other letter has."""
        return f"{self.id}@{OUR_DOMAIN}"

    @property
    def pending(self) -> list[str]:
        """Recipients that nothing final has been heard of."""
        return [one for one in self.recipients if one not in self.taken and one not in self.refused]

    @property
    def message(self) -> bytes:
        """As it is given to the gateway, before dot-stuffing."""
        return (
            b"From: LamisNET <uutiset@lamisnet.fi>\r\n"
            b"To: undisclosed-recipients:;\r\n"
            b"Subject: Uutiset %b\r\n"
            b"Message-ID: <%b@lamisnet.fi>\r\n"
            b"X-Campaign-Id: %b\r\n"
            b"List-Unsubscribe: <https://lamisnet.example/u/1>\r\n"
            b"\r\n" % ((self.id.encode(),) * 3)
        ) + self.body

    def note(self, accepted: list[str], reply: str) -> None:
        """The answer to the final dot, for those whose RCPT was accepted."""
        if reply[0] == "2":
            found = _ID.match(reply)
            for recipient in accepted:
                self.taken[recipient] = found[1] if found else ""
        elif reply[0] == "5":
            for recipient in accepted:
                self.refused[recipient] = reply
        else:
            self.deferred += 1


def letters(count: int, seed: int, *, prefix: str = "letter") -> list[Letter]:
    """So many letters, a quarter of whose recipients may not be written to.

    Most have one to four recipients and a kilobyte; some have thirty, some have 30 kB
    and a few 300 kB.
    """
    dice = random.Random(seed)
    return [_letter(dice, f"{prefix}-{seed}-{number}") for number in range(count)]


def _letter(dice: random.Random, name: str) -> Letter:
    many = dice.random() < 0.03
    allowed = dice.sample(ALLOWED, dice.randint(18, 24) if many else dice.randint(0, 3))
    banned = dice.sample(BANNED, dice.randint(4, 8) if many else dice.randint(0, 1))
    recipients = allowed + banned or [dice.choice(ALLOWED)]
    dice.shuffle(recipients)
    size = dice.choices((1000, 30_000, 300_000), (0.93, 0.06, 0.01))[0]
    return Letter(name, tuple(recipients), _body(dice, size))


def _body(dice: random.Random, size: int) -> bytes:
    """Text in lines, some of which begin with a dot."""
    words = _WORDS.split()
    lines: list[bytes] = []
    octets = 0
    while octets < size:
        line = b" ".join(dice.choices(words, k=dice.randint(0, 9)))
        lines.append(line)
        octets += len(line) + 2
    return b"\r\n".join(lines) + b"\r\n"
