"""E-mail addresses in canonical form (RFC 5321, RFC 6531, UTS #46).

The common ASCII address takes a fast path; everything else goes through
email-validator and idna.  Both give the same contact for the same text.

Two mailboxes that differ only in letter case are one here.  RFC 5321 section 2.4
lets a host tell them apart; no host in use does, and a ban must hold either way.

Refused although the RFCs allow them: address literals (``user@[192.0.2.1]``: they
name a host, have no organisation and no customer has one), domains of one label
and ``user@`` forms with a display name or angle brackets (one bare address is
asked for).  Names that public DNS does not know (``.local``, ``.test``) are
accepted: whether an address can be reached is the upstream's question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

import email_validator

from gateway.contacts.contact import Channel, Contact, ContactError, make_contact
from gateway.contacts.invisible import refuse_invisible

# A documented setting of the library (its README, "special-use domain names").
# A company's own mail under .local must not bounce here.
email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()

_LOCAL_OCTETS = 64  # RFC 5321 section 4.5.3.1.1; octets of UTF-8 by RFC 6531
_PATH_OCTETS = 254  # RFC 5321 section 4.5.3.1.3, less the angle brackets
_ORGANISATIONS = 4

# At most 64 characters, so that no limit of a local part, label or path can be
# broken; no "--", so that no A-label or reserved label is among them.  Possessive, for
# no other division of an address into these parts can match where the first does not.
_FAST_LENGTH = 64
_fast = re.compile(
    r"[A-Za-z0-9_+-]++(?:\.[A-Za-z0-9_+-]++)*+"
    r"@((?:[A-Za-z0-9]++(?:-[A-Za-z0-9]++)*+\.)+[A-Za-z]{2,})"
).fullmatch

# Many of them at once, a line each.
_fast_lines = re.compile(
    r"(?:[A-Za-z0-9_+-]++(?:\.[A-Za-z0-9_+-]++)*+"
    r"@(?:[A-Za-z0-9]++(?:-[A-Za-z0-9]++)*+\.)+[A-Za-z]{2,}\n)*+"
).fullmatch

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\u0080-\U0010ffff-]+"
_dot_atom = re.compile(rf"{_ATOM}(?:\.{_ATOM})*").fullmatch

_EMAIL = Channel.EMAIL
_GMAIL = frozenset({"gmail.com", "googlemail.com"})
_AT_GMAIL = tuple(f"@{domain}" for domain in sorted(_GMAIL))


def parse_email(text: str) -> Contact:
    """The contact that ``text``, one bare address, stands for.

    Surrounding ASCII whitespace is removed.  Canonical is the local part in NFC,
    case-folded, with as little quoting as it needs, and the domain as lower-case
    A-labels without a trailing dot.  The base is without the plus tag (any
    domain) and, at Gmail, without dots and at ``gmail.com``.

    Raises:
        ContactError: the text is not one address; the cause does not repeat it.
    """
    if len(text) <= _FAST_LENGTH and (found := _fast(text)):
        canonical = text.lower()
        domain = found[1].lower()
        if "+" not in canonical and domain not in _GMAIL:
            return make_contact((_EMAIL, canonical, canonical, organisations_of(domain)))
        return _contact(canonical.partition("@")[0], domain)
    return _parse_slowly(text)


def plain_emails(texts: Sequence[str]) -> tuple[list[str], list[str]] | None:
    """The canonical forms and the bases of many addresses, as :func:`parse_email` gives them.

    For lists of a million, at a twentieth of the time.  None unless all of them are
    common ASCII addresses, without whitespace around.
    """
    if not texts or max(map(len, texts)) > _FAST_LENGTH:
        return None
    lines = "\n".join([*texts, ""])
    if _fast_lines(lines) is None:
        return None
    lines = lines.lower()
    canonical = lines.split("\n")[:-1]
    if len(canonical) != len(texts):
        return None  # a text of two lines
    bases = canonical
    if "+" in lines or any(f"{ending}\n" in lines for ending in _AT_GMAIL):
        bases = [
            parse_email(one).base if "+" in one or one.endswith(_AT_GMAIL) else one
            for one in canonical
        ]
    return canonical, bases


def parse_emails(texts: Sequence[str]) -> list[Contact] | None:
    """What :func:`parse_email` gives for each of many addresses, in less time.

    None unless all of them are common ASCII addresses, without whitespace around.
    """
    plain = plain_emails(texts)
    if plain is None:
        return None
    return [
        make_contact((_EMAIL, canonical, base, organisations_of(canonical.partition("@")[2])))
        for canonical, base in zip(*plain, strict=True)
    ]


def parse_domain(text: str) -> str:
    """The canonical A-label domain of ``text``, as an organisation's bans need it.

    A trailing dot and surrounding ASCII whitespace are removed.

    Raises:
        ContactError: the text is not a domain name of at least two labels.
    """
    domain = text.strip(" \t\r\n")
    refuse_invisible(domain)
    if "@" in domain:
        raise ContactError("a domain is asked for; write only what stands after the @")
    return _domain(domain)


@lru_cache(maxsize=8192)
def organisations_of(domain: str) -> tuple[str, ...]:
    """The domain and its parents of at least two labels, the most specific first.

    At most four: of a longer name the whole and its three shortest parents, for
    an organisation bans the name it registered, which is among the shortest.
    """
    labels = domain.split(".")
    names = tuple(".".join(labels[i:]) for i in range(len(labels) - 1))
    return names if len(names) <= _ORGANISATIONS else (names[0], *names[1 - _ORGANISATIONS :])


def _parse_slowly(text: str) -> Contact:
    address = text.strip(" \t\r\n")
    # First, for the checks that follow take time in proportion to the text.
    if len(address) > _PATH_OCTETS:
        raise ContactError(f"the address is longer than {_PATH_OCTETS} octets")
    refuse_invisible(address)
    _refuse_wrapping(address)
    written, domain = _split(address)
    local = _local(written)
    domain = _domain(domain)
    if len(local.encode()) + 1 + len(domain) > _PATH_OCTETS:
        raise ContactError(f"the address is longer than {_PATH_OCTETS} octets")
    return _contact(local, domain)


def _refuse_wrapping(address: str) -> None:
    if not address:
        raise ContactError("the address is empty")
    if address.endswith(">") or (address.startswith("<") and "@" in address):
        raise ContactError("the address is in angle brackets; write the bare address")


def _split(address: str) -> tuple[str, str]:
    """The local part as written and the domain, at the @ that ends the local part."""
    written, at, domain = address.rpartition("@")
    if not at:
        raise ContactError("the address has no @")
    if not written:
        raise ContactError("nothing stands before the @")
    if not domain:
        raise ContactError("nothing stands after the @")
    if "," in domain or ";" in domain or ('"' not in written and "@" in written):
        raise ContactError("one address is asked for, not a list")
    return written, domain


def _local(written: str) -> str:
    """The canonical local part.

    Folded by Unicode's canonical caseless matching (D145) and composed again, so
    that folding what is folded changes nothing.
    """
    try:
        value = _valid_local(written)
        folded = unicodedata.normalize("NFD", value).casefold()
        local = _quoted(unicodedata.normalize("NFC", folded))
        _valid_local(local)
    except email_validator.EmailNotValidError:
        # The library's text quotes the address, so it is not passed on.
        raise ContactError(
            "the part before the @ is not one that RFC 5321 and RFC 6531 allow"
        ) from None
    if max(len(written.encode()), len(local.encode())) > _LOCAL_OCTETS:
        raise ContactError(f"the part before the @ is longer than {_LOCAL_OCTETS} octets")
    return local


def _valid_local(written: str) -> str:
    """The value of a local part (quotes and escapes resolved), once valid."""
    found = email_validator.validate_email(
        f"{written}@a.aa",
        allow_quoted_local=True,
        strict=True,
        check_deliverability=False,
    )
    if found.domain != "a.aa":
        raise email_validator.EmailSyntaxError("a bare @")
    return _unquoted(found.local_part)


def _domain(domain: str) -> str:
    if domain.startswith("["):
        raise ContactError("an address literal stands after the @; write a domain name")
    name = domain.removesuffix(".")
    if "." not in name and not any(dot in name for dot in "\u3002\uff0e\uff61"):
        raise ContactError("the domain has no dot; write it in full")
    try:
        found = email_validator.validate_email(f"a@{name}", check_deliverability=False)
    except email_validator.EmailNotValidError:
        raise ContactError("the domain is not one that RFC 5321 and IDNA (UTS 46) allow") from None
    return str(found.ascii_domain)


def _contact(local: str, domain: str) -> Contact:
    canonical = f"{local}@{domain}"
    base_local, base_domain = _base(_unquoted(local), domain)
    base = f"{_quoted(base_local)}@{base_domain}"
    return Contact(Channel.EMAIL, canonical, base, organisations_of(domain))


def _base(value: str, domain: str) -> tuple[str, str]:
    value = value.partition("+")[0] or value
    if domain in _GMAIL:
        value = value.replace(".", "") or value
        domain = "gmail.com"
    return value, domain


def _quoted(value: str) -> str:
    if _dot_atom(value):
        return value
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _unquoted(local: str) -> str:
    if local[:1] != '"':
        return local
    return re.sub(r"\\(.)", r"\1", local[1:-1])
