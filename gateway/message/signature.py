"""DKIM signatures over messages that the gateway adds fields to (RFC 6376, RFC 8463).

Canonicalisation is relaxed/relaxed: of a body only its hash is needed, which is taken piece
by piece, so that a message of any size needs the memory of one piece.  A signature is made
by the library that holds the key (``cryptography``), in a fraction of a millisecond.

Every field that is signed is named once more than it stands in the message (section
8.15): one that somebody adds later breaks the signature.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Final, Self

from gateway.failure import InputError
from gateway.message.headers import HeaderSection

# Section 5.4.1, less what servers on the way may change, and what large receivers ask for.
_SIGNED: Final = (
    b"From",
    b"Sender",
    b"Reply-To",
    b"To",
    b"Cc",
    b"Subject",
    b"Date",
    b"Message-ID",
    b"In-Reply-To",
    b"References",
    b"MIME-Version",
    b"Content-Type",
    b"Content-Transfer-Encoding",
    b"List-Id",
    b"List-Help",
    b"List-Owner",
    b"List-Subscribe",
    b"List-Archive",
    b"List-Post",
    b"List-Unsubscribe",
    b"List-Unsubscribe-Post",
    b"Feedback-ID",
)
_SMALLEST_RSA: Final = 2048
_LARGEST_RSA: Final = 4096
"""Bits that every verifier must take, at most (RFC 8301 section 3.2)."""
_LINE: Final = 76
_spaces = re.compile(rb"[ \t]+")
_h_tag = re.compile(rb"(?:^|;)[ \t\r\n]*h[ \t\r\n]*=([^;]*)").search


class BodyHash:
    """SHA-256 of a body in the relaxed form (RFC 6376 section 3.4.4), piece by piece.

    It is fed with the octets of the body, un-stuffed, whose lines end in CRLF.
    """

    __slots__ = ("_any", "_ends", "_hash", "_held")

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._held = b""
        """What the next octets decide: white space, CR."""
        self._ends = 0
        """Line ends that count only if something follows."""
        self._any = False

    def feed(self, piece: bytes) -> None:
        """Take the next octets."""
        if not piece:
            return
        text = self._held + piece
        # By replacing, not by a pattern: a text is half spaces, and each would be a match.
        if b"\t" in text:
            text = text.replace(b"\t", b" ")
        while b"  " in text:
            text = text.replace(b"  ", b" ")
        if b" \r\n" in text:
            text = text.replace(b" \r\n", b"\r\n")
        end = len(text)
        if text.endswith(b"\r"):
            end -= 1
        if text.endswith(b" ", 0, end):
            end -= 1
        self._held = text[end:]
        self._take(text[:end])

    def _take(self, text: bytes) -> None:
        end = len(text.rstrip(b"\r\n"))
        ends, odd = divmod(len(text) - end, 2)
        if odd or text.count(b"\r\n", end) != ends:
            # A bare CR or LF is a character like another.
            end = len(text)
            while text.endswith(b"\r\n", 0, end):
                end -= 2
            ends = (len(text) - end) // 2
        if end:
            self._hash.update(b"\r\n" * self._ends)
            self._hash.update(text[:end] if end < len(text) else text)
            self._ends = 0
            self._any = True
        self._ends += ends

    def digest(self) -> bytes:
        """The hash of all that was fed; nothing may be fed after it."""
        if self._held.endswith(b"\r"):
            self._take(self._held)
        self._held = b""
        if self._any:
            self._hash.update(b"\r\n")
        return self._hash.digest()


class SigningKey:
    """A private key, the domain that it signs for, and the selector it is published under."""

    __slots__ = ("_algorithm", "_sign", "domain", "selector")

    def __init__(
        self, domain: str, selector: str, algorithm: bytes, sign: Callable[[bytes], bytes]
    ) -> None:
        """``sign`` gives the signature of octets by this algorithm (RFC 6376 ``a=``)."""
        self.domain = domain
        self.selector = selector
        self._algorithm = algorithm
        self._sign = sign

    def __repr__(self) -> str:
        return f"SigningKey({self.selector}._domainkey.{self.domain})"

    @classmethod
    def read(cls, domain: str, selector: str, pem: bytes) -> Self:
        """The key in a PEM text: RSA of 2048 to 4096 bits, or Ed25519.

        Raises:
            InputError: it is no such key.

        """
        # Late: only who signs holds these.
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        try:
            key = load_pem_private_key(pem, password=None)
        except TypeError:
            raise InputError("the private key has a password; write it without one") from None
        except (ValueError, UnsupportedAlgorithm):
            # No cause attached: a decoder's error may quote the text.
            raise InputError("not a private key in PEM") from None
        if isinstance(key, Ed25519PrivateKey):
            ed25519 = key
            # RFC 8463 section 3: what is signed is the hash.
            return cls(
                domain,
                selector,
                b"ed25519-sha256",
                lambda text: ed25519.sign(hashlib.sha256(text).digest()),
            )
        if not isinstance(key, RSAPrivateKey):
            raise InputError("neither an RSA nor an Ed25519 key")
        if not _SMALLEST_RSA <= key.key_size <= _LARGEST_RSA:
            raise InputError(
                f"an RSA key of {key.key_size} bits; write one of {_SMALLEST_RSA} to {_LARGEST_RSA}"
            )
        rsa, padding, sha256 = key, PKCS1v15(), SHA256()
        return cls(domain, selector, b"rsa-sha256", lambda text: rsa.sign(text, padding, sha256))

    def field(self, section: bytes, body_hash: bytes, at: int) -> bytes:
        """The ``DKIM-Signature`` field for a message, with its line end.

        ``section`` is the header section as it leaves; ``at`` in seconds since 1970.
        """
        headers = HeaderSection(section)
        names = [name for name in _SIGNED for _ in range(_times(len(headers.raw(name.lower()))))]
        field = (
            b"DKIM-Signature: v=1; a=%b; c=relaxed/relaxed; d=%b;\r\n\ts=%b; t=%d;\r\n\t%b;\r\n"
            b"\tbh=%b;\r\n\tb="
        ) % (
            self._algorithm,
            self.domain.encode("ascii"),
            self.selector.encode("ascii"),
            at,
            _folded_names(names),
            b64encode(body_hash),
        )
        signature = b64encode(self._sign(signed_octets(headers, names, field)))
        lines = [signature[i : i + _LINE - 4] for i in range(0, len(signature), _LINE - 4)]
        return field + b"\r\n\t".join(lines) + b"\r\n"


def signed_message(key: SigningKey, message: bytes, at: int) -> bytes:
    """A whole message, whose lines end in CRLF, with its ``DKIM-Signature`` in front.

    ``at`` in seconds since 1970.
    """
    head, _, rest = message.partition(b"\r\n\r\n")
    body = BodyHash()
    body.feed(rest)
    return key.field(head + b"\r\n", body.digest(), at) + message


def signed_octets(headers: HeaderSection, names: list[bytes], field: bytes) -> bytes:
    """What is signed (section 3.7): the named fields and the signature's own, without ``b=``.

    Of several fields of a name the last comes first; one that is not there counts as
    nothing.
    """
    lines: list[bytes] = []
    taken: dict[bytes, int] = {}
    for name in map(bytes.lower, names):
        raws = headers.raw(name)
        number = taken.get(name, 0)
        if number < len(raws):
            lines.append(b"%b:%b\r\n" % (name, _relaxed(raws[-1 - number])))
        taken[name] = number + 1
    lines.append(b"dkim-signature:" + _relaxed(field.partition(b":")[2]))
    return b"".join(lines)


def signed_names(field: bytes) -> frozenset[bytes]:
    """The fields (lower case) that a signature names in ``h=``, from its value."""
    found = _h_tag(field)
    if found is None:
        return frozenset()
    return frozenset(name.strip().lower() for name in found[1].split(b":"))


def _times(standing: int) -> int:
    return standing + 1 if standing else 0


def _relaxed(value: bytes) -> bytes:
    """A field's value in the relaxed form (section 3.4.2), without its line end."""
    value = value.replace(b"\r\n", b"").removesuffix(b"\r")
    return _spaces.sub(b" ", value).strip(b" ")


def _folded_names(names: list[bytes]) -> bytes:
    lines = [b"h="]
    for place, name in enumerate(names):
        word = name + b":" if place < len(names) - 1 else name
        if len(lines[-1]) + len(word) > _LINE:
            lines.append(b"")
        lines[-1] += word
    return b"\r\n\t".join(lines)
