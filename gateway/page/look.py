"""How the pages look: colour, logo, style; and the policy that lets nothing else in."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from gateway.failure import InputError

LARGEST_LOGO: Final = 256 * 1024
_STYLE: Final = Path(__file__).with_name("templates") / "style.css"
_SVG_WITHIN: Final = 4096
"""Octets of XML in which the root element of an SVG file begins."""


@dataclass(frozen=True, slots=True)
class Logo:
    """A picture and what it is."""

    octets: bytes
    content_type: str

    @classmethod
    def load(cls, path: Path) -> Logo:
        """Read a PNG, JPEG or SVG file; raises InputError naming the setting."""
        try:
            with path.open("rb") as file:
                octets = file.read(LARGEST_LOGO + 1)
        except OSError as error:
            raise InputError(f"pages.logo: {path}: {error.strerror}") from None
        if len(octets) > LARGEST_LOGO:
            raise InputError(f"pages.logo: {path}: larger than {LARGEST_LOGO // 1024} KiB")
        if octets.startswith(b"\x89PNG\r\n\x1a\n"):
            return cls(octets, "image/png")
        if octets.startswith(b"\xff\xd8\xff"):
            return cls(octets, "image/jpeg")
        text = octets.removeprefix(b"\xef\xbb\xbf").lstrip()
        if text.startswith(b"<") and b"<svg" in text[:_SVG_WITHIN]:
            return cls(octets, "image/svg+xml")
        raise InputError(f"pages.logo: {path}: not a PNG, JPEG or SVG file")


@dataclass(frozen=True, slots=True)
class Look:
    """What all pages share."""

    style: str
    policy: str
    """Content-Security-Policy: this style, pictures and forms of this server, nothing else."""
    logo: Logo | None = None

    @classmethod
    def of(cls, colour: str, logo: Path | None) -> Look:
        """The look of these settings; raises InputError for a logo that cannot be shown."""
        style = _STYLE.read_text(encoding="utf-8").replace("#000001", colour)
        digest = b64encode(sha256(style.encode()).digest()).decode()
        policy = (
            f"default-src 'none'; style-src 'sha256-{digest}'; img-src 'self'; "
            "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
        )
        return cls(style, policy, None if logo is None else Logo.load(logo))


LOGO_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; sandbox"
"""An SVG file may hold a script; opened by itself it runs none."""
