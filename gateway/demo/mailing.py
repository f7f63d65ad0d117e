"""The sample mailings: who sends them, and their octets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from email.header import Header
from email.utils import format_datetime

SHOP = "verkkokauppa.example"
"""The controller's domain; everything from elsewhere is a foreign sender."""

_OPT_OUT = (
    f"List-Unsubscribe: <https://{SHOP}/peruuta?t=demo>, <mailto:peruuta@{SHOP}>",
    "List-Unsubscribe-Post: List-Unsubscribe=One-Click",
)


@dataclass(frozen=True, slots=True)
class Mailing:
    """One mailing: everything but its recipients.

    ``control`` are header lines for the gateway, which it removes; ``body`` is in
    CRLF form.  ``per_message`` recipients share one SMTP transaction.
    """

    name: str
    about: str
    client: str
    subject: str
    body: bytes
    sender: str = f"Esimerkkikauppa <kauppa@{SHOP}>"
    control: tuple[str, ...] = ()
    extra: tuple[str, ...] = ()
    encoding: str = "7bit"
    charset: str = "us-ascii"
    per_message: int = 50
    options: tuple[str, ...] = ()
    """ESMTP parameters of MAIL."""

    @property
    def envelope_sender(self) -> str:
        """The address that would hear of a bounce."""
        return f"bounce+{self.name}@{SHOP}"

    def content(self, number: int, now: datetime) -> bytes:
        """The octets of the mailing's message ``number``, as the tool sends them."""
        subject = self.subject
        if not subject.isascii():
            subject = Header(subject, "utf-8").encode()
        lines = (
            f"From: {self.sender}",
            "To: undisclosed-recipients:;",
            f"Subject: {subject}",
            f"Date: {format_datetime(now.astimezone(UTC))}",
            f"Message-ID: <{self.name}.{number}@{SHOP}>",
            *self.control,
            f"X-Campaign-Id: {self.name}",
            *self.extra,
            "MIME-Version: 1.0",
            f"Content-Type: text/plain; charset={self.charset}",
            f"Content-Transfer-Encoding: {self.encoding}",
        )
        return "\r\n".join(lines).encode("ascii") + b"\r\n\r\n" + self.body


def _text(*lines: str) -> bytes:
    return "".join(f"{line}\r\n" for line in lines).encode("utf-8")


_LETTER = (
    "Hei!",
    "",
    "Kevaan polkupyorat ovat taalla. Ensihuolto kuuluu hintaan.",
    "",
    "-- ",
    "Esimerkkikauppa Oy, Kuvitteellinen katu 1",
)
_OFFER = ("Hei!", "", "Sukset ja siteet -20 % sunnuntaihin asti.", "", "Esimerkkikauppa Oy")
_AWKWARD = (
    "Åkerlundin pyörät, hyvää kevättä! Raw octets beyond ASCII: ÅÄÖ åäö €.",
    ".",
    "..two dots at the start of the line, and one above, alone on its line",
    ".hidden",
    "",
    "a line with trailing spaces   ",
    "\ta tab",
    "x" * 900,
    ".",
)

MAILINGS: tuple[Mailing, ...] = (
    Mailing(
        "newsletter",
        "Weekly newsletter, to everybody",
        "newsletter",
        "Uutiskirje: kevään pyörät",
        _text(*_LETTER),
        extra=_OPT_OUT,
    ),
    Mailing(
        "offers",
        "Ski offers, by a tool that takes 550",
        "offers",
        "Tarjous: sukset",
        _text(*_OFFER),
        extra=_OPT_OUT,
    ),
    Mailing(
        "no-opt-out",
        "Advertisement with no way to refuse",
        "offers",
        "Tarjous: sukset",
        _text(*_OFFER),
    ),
    Mailing(
        "foreign-sender",
        "Newsletter from a foreign domain",
        "newsletter",
        "Uutiskirje",
        _text(*_LETTER),
        sender="Halpa Pyora <myynti@halpapyora.example>",
        extra=_OPT_OUT,
    ),
    Mailing(
        "in-disguise",
        "Advertisement dressed as a letter",
        "newsletter",
        "Terveisiä lomalta",
        _text(*_LETTER),
        extra=_OPT_OUT,
    ),
    Mailing(
        "club",
        "Club letter, declared marketing",
        "backoffice",
        "Mainos: pyöräkerho",
        _text("Tervetuloa kerhoiltaan!"),
        control=("X-Gateway-Kind: marketing", "X-Gateway-Topic: club"),
        extra=_OPT_OUT,
    ),
    Mailing(
        "service-break",
        "Maintenance break (service)",
        "shop",
        "Huoltokatko verkkokaupassa",
        _text("Tilauksen seuranta on poissa kaytosta 22.11. kello 1-3."),
    ),
    Mailing(
        "promotion-in-service",
        "Service mail with List-Unsubscribe",
        "shop",
        "Huoltotiedote ja tarjous",
        _text("Huoltokatko on ohi. Samalla: sukset -20 %."),
        extra=_OPT_OUT,
    ),
    Mailing(
        "foreign-service",
        "Service mail from a foreign domain",
        "shop",
        "Tilauksesi",
        _text("Tarkista tilauksesi."),
        sender="Tilaukset <tilaukset@halpapyora.example>",
    ),
    Mailing(
        "invoice",
        "Invoices, declared transactional",
        "backoffice",
        "Lasku",
        _text("Lasku 1042, elakoon viitenumero.", "Yhteensa 89,00 EUR"),
        control=("X-Gateway-Kind: transactional",),
        per_message=1,
    ),
    Mailing(
        "privacy-notice",
        "New privacy notice, declared notice",
        "backoffice",
        "Tietosuojaseloste muuttuu 1.1.",
        _text("Tietosuojaselosteemme muuttuu 1.1. Muutokset: ..."),
        control=("X-Gateway-Kind: notice",),
    ),
    Mailing(
        "undeclared",
        "A message of undeclared kind",
        "backoffice",
        "Moi",
        _text("Mita kuuluu?"),
    ),
    Mailing(
        "dots-and-8-bit",
        "Newsletter, 8-bit, lines of dots",
        "newsletter",
        "Uutiskirje: merkit",
        _text(*_AWKWARD),
        extra=_OPT_OUT,
        encoding="8bit",
        charset="utf-8",
        options=("BODY=8BITMIME",),
    ),
    Mailing(
        "international",
        "Newsletter to a non-ASCII address",
        "newsletter",
        "Uutiskirje: Mäntylä",
        _text(*_LETTER),
        extra=_OPT_OUT,
        options=("SMTPUTF8", "BODY=8BITMIME"),
    ),
)

AFTER_THE_BAN = Mailing(
    "after-the-ban",
    "The very next newsletter",
    "newsletter",
    "Uutiskirje: lisää pyöriä",
    _text(*_LETTER),
    extra=_OPT_OUT,
)
"""Sent after somebody has banned marketing while the gateway runs."""

WITHOUT_LINK = Mailing(
    "without-link",
    "Newsletter that offers no way to refuse",
    "newsletter",
    "Uutiskirje: kesän reitit",
    _text(*_LETTER),
    per_message=1,
)
"""Sent to one reader a message, so that the gateway can add the reader's own link."""

AFTER_THE_CLICK = Mailing(
    "after-the-click",
    "The newsletter after the click",
    "newsletter",
    "Uutiskirje: syksyn huolto",
    _text(*_LETTER),
    extra=_OPT_OUT,
)
"""Sent after somebody has clicked the link, and mail to somebody else has bounced."""
