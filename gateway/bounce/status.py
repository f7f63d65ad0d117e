"""What a mail server's refusal means: whether the mailbox is gone, or something else is wrong.

RFC 3463 codes are ``class.subject.detail``.  Hard are those by which there is no such
mailbox, or it was turned off.  A full mailbox, a policy, a filter or a server in trouble says
nothing of the address, whatever its class: mail to it may arrive tomorrow.

Where code and text disagree the address is spared: a suppression in error costs more than
one more bounce.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final, NamedTuple

TEXT: Final = 2000
"""Characters of a refusal that are looked at."""


class Trouble(StrEnum):
    """The subject of a code (RFC 3463 section 3)."""

    OTHER = "other"
    ADDRESS = "address"
    MAILBOX = "mailbox"
    SYSTEM = "system"
    NETWORK = "network"
    PROTOCOL = "protocol"
    CONTENT = "content"
    POLICY = "policy"


class Verdict(NamedTuple):
    """What a refusal amounts to."""

    hard: bool
    status: str
    """The code, as ``5.1.1``; "" where none was told."""

    @property
    def trouble(self) -> Trouble:
        """The code's subject."""
        if not self.status:
            return Trouble.OTHER
        return tuple(Trouble)[int(self.status.split(".")[1])]


HARD: Final = frozenset({"1.1", "1.2", "1.3", "1.6", "1.10", "2.1", "4.4"})
"""Subject and detail: no mailbox, no such domain, no address, moved, a domain that takes no
mail (RFC 7505), turned off, no way to the domain."""
_VAGUE: Final = frozenset({"0.0", "1.0", "3.0", "4.1"})
"""Codes that say nothing alone: 5.3.0 is sendmail's for names that a table refuses, 5.4.1
Exchange Online's for recipients that do not exist, and others' for a host that is silent."""

_CODE: Final = r"[45]\.[0-7]\.[0-9]{1,3}(?!\.?[0-9])"
_field = re.compile(rf"\s*({_CODE})").match
_after_reply = re.compile(rf"(?<![0-9.])[45][0-9]{{2}}[ -]+(?:\(?#)?({_CODE})").search
_anywhere = re.compile(rf"(?<![0-9.])({_CODE})").search
_reply = re.compile(r"(?<![0-9.#])([45])[0-5][0-9](?=[ \t-]|$)").search

# Names of hosts, addresses and links hold any word, and figures of their own.
_bracketed = re.compile(r"<[^<>\s]*>")
_link = re.compile(r"https?:\S*")
_host = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]++(?:\.[A-Za-z0-9_-]++)++")
_spares = re.compile(
    r"\bspam|\bblock|\bblack ?list|\bdeny ?list|\bban(?:ned)?\b|\breputation|\bpolic(?:y|ies)\b"
    r"|\bdmarc\b|\bdkim\b|\bspf\b|\bquota\b|\bfull\b|\bover ?quota|\bstorage\b"
    r"|\btoo (?:many|large|big|fast|quickly|busy|long)\b|\brate\b|\bgr[ae]y-?list|\btry again"
    r"|\btemporar|\bvirus|\bmalware|\bcontent (?:filter|reject|restrict|scan)|\brelaying\b"
    r"|\brelay (?:access )?denied"
    r"|\breverse (?:dns|lookup)|\bptr\b|\bauthenticat|\bunauthori[sz]ed|\bnot authori[sz]ed"
    r"|\bsender\b|\btimed? ?out\b|\brefused to talk|\bsize\b",
    re.IGNORECASE,
).search
_gone = re.compile(
    r"\b(?:user|recipient|mailbox|address|account|addressee)(?: name| address)?"
    r"(?: is| was| has been)?(?: currently)? (?:unknown|not (?:be )?(?:found|known|recogni[sz]ed)"
    r"|invalid|disabled|inactive|deactivated|suspended|closed|discontinued|not exist)"
    r"|\b(?:unknown|no such|invalid|nonexistent|non-existent|inactive|disabled)"
    r" (?:local |virtual )?(?:user|recipient|mailbox|address|account|person|addressee|domain"
    r"|local[- ]?part|alias)"
    r"|\b(?:does not|doesn'?t) exist|\bno mailbox (?:here )?by that name|\bnot our customer"
    r"|\bno longer (?:valid|available|active|exists?|in use|with us|works?|employed)"
    r"|\bnot (?:a )?(?:valid|known) (?:user|recipient|mailbox|address|account)"
    r"|\b(?:doesn'?t|does not) have an? (?:\S+ )?account"
    r"|\bunrout(?:e)?able (?:mail )?(?:address|domain)|\bhost or domain name not found"
    r"|\bdomain (?:name )?not found|\bno such user|\buser unknown|\brecipient ?not ?found"
    r"|\brecipient address rejected: access denied|\bcouldn'?t be found|\bwasn'?t found"
    r"|\bmailbox unavailable or (?:not found|access denied)|\binvalid final delivery userid"
    r"|\bnot listed in \S+ directory|\bn'existe pas|\bexistiert nicht|\bei ole olemassa"
    r"|\bfinns inte",
    re.IGNORECASE,
).search


def judge(status: str, diagnostic: str) -> Verdict:
    """Whether a refusal is hard, by its Status field and the text of the refusing server.

    The server's own words count before the field, which whoever reports makes up where the
    server gave no code.  Either may be "".
    """
    text = " ".join(diagnostic[:TEXT].split())
    plain = _without_addresses(text)
    code = _first(_after_reply(text)) or _first(_anywhere(plain)) or _first(_field(status[:64]))
    words = _host.sub(" ", plain)
    subject = code[2:]
    reply = _reply(text)
    temporary = code.startswith("4") or (not code and reply is not None and reply[1] == "4")
    if temporary or _spares(words) is not None:
        return Verdict(False, code)
    if subject in HARD:
        return Verdict(True, code)
    told = _gone(text) is not None
    return Verdict(told and (not code or subject in _VAGUE), code)


def _without_addresses(text: str) -> str:
    """The text without what stands in brackets, links, and words with an ``@``."""
    text = _link.sub(" ", _bracketed.sub(" ", text))
    return " ".join(word for word in text.split() if "@" not in word)


def _first(match: re.Match[str] | None) -> str:
    return match[1] if match is not None else ""
