"""The sample text messages: who sends them, by which provider's API, and their text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SENDER = "KAUPPA"
"""The shop's own sender ID; every other one is foreign."""


@dataclass(frozen=True, slots=True)
class Texting:
    """One text message: everything but its recipients.  Each has a text of its own.

    ``control`` are headers for the gateway, which it removes.
    """

    name: str
    about: str
    route: str
    text: str
    api: Literal["twilio", "infobip"] = "twilio"
    sender: str = SENDER
    control: tuple[tuple[str, str], ...] = ()


TEXTINGS: tuple[Texting, ...] = (
    Texting(
        "text-newsletter",
        "Weekly text, to everybody",
        "texts",
        "Uutiskirje: kevaan pyorat ovat taalla. Lopeta: vastaa STOP",
    ),
    Texting(
        "text-foreign-sender",
        "From a sender ID that is not ours",
        "texts",
        "Uutiskirje: halvat pyorat. Lopeta: vastaa STOP",
        sender="HALPA",
    ),
    Texting(
        "text-no-opt-out",
        "Advertisement with no way to refuse",
        "texts",
        "Uutiskirje: pyorat -20 % tanaan",
    ),
    Texting(
        "text-in-disguise",
        "Advertisement dressed as a greeting",
        "texts",
        "Moi, nahdaanko pyorakaupalla? Lopeta: vastaa STOP",
    ),
    Texting(
        "text-batch",
        "Seven people in one request",
        "batch",
        "Uutiskirje: kesan pyorat. Lopeta: vastaa STOP",
        api="infobip",
    ),
    Texting(
        "text-pick-up",
        "Ready to be picked up (service)",
        "shop-texts",
        "Pyorasi on huollettu, tervetuloa hakemaan",
    ),
    Texting(
        "text-foreign-service",
        "Service text from a foreign sender ID",
        "shop-texts",
        "Pakettisi odottaa, maksa tulli",
        sender="POSTI",
    ),
    Texting(
        "text-code",
        "One-time code, declared transactional",
        "codes",
        "Vahvistuskoodisi on 481516",
        control=(("X-Gateway-Kind", "transactional"),),
    ),
    Texting(
        "text-notice",
        "Recall of a bicycle, declared notice",
        "codes",
        "Takaisinveto: ala aja mallilla K2, haarukka voi murtua",
        control=(("X-Gateway-Kind", "notice"),),
    ),
    Texting(
        "text-undeclared",
        "A text of undeclared kind",
        "codes",
        "Mita kuuluu?",
    ),
)

TEXT_AFTER_THE_BAN = Texting(
    "text-after-the-ban",
    "The very next text",
    "texts",
    "Uutiskirje: syksyn pyorat. Lopeta: vastaa STOP",
)
"""Sent after somebody has banned marketing while the gateway runs."""
