"""What a server says it can do in its answer to EHLO (RFC 5321 § 4.1.1.1)."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.wire.reply import Reply


@dataclass(frozen=True, slots=True)
class Capabilities:
    """The extensions that matter to a relay."""

    size: int | None = None
    """Largest message in octets (RFC 1870); 0 is "no fixed limit", None is no SIZE."""
    pipelining: bool = False
    eight_bit: bool = False
    smtputf8: bool = False
    dsn: bool = False
    starttls: bool = False
    chunking: bool = False
    auth: frozenset[str] = frozenset()
    """SASL mechanisms, upper case."""
    enhanced: bool = False

    @classmethod
    def parse(cls, reply: Reply) -> Capabilities:
        """Reads the answer to EHLO; the first line is the greeting and is passed over."""
        words: dict[str, list[str]] = {}
        for line in reply.lines[1:]:
            # "AUTH=PLAIN LOGIN" is an old form still heard.
            keyword, *arguments = line.decode(errors="replace").replace(
                "=", " "
            ).upper().split() or [""]
            words.setdefault(keyword, []).extend(arguments)
        size = words.get("SIZE")
        return cls(
            size=None if size is None else int(size[0]) if size and _number(size[0]) else 0,
            pipelining="PIPELINING" in words,
            eight_bit="8BITMIME" in words,
            smtputf8="SMTPUTF8" in words,
            dsn="DSN" in words,
            starttls="STARTTLS" in words,
            chunking="CHUNKING" in words,
            auth=frozenset(words.get("AUTH", ())),
            enhanced="ENHANCEDSTATUSCODES" in words,
        )

    def keywords(self) -> tuple[str, ...]:
        """The extension lines of an EHLO answer."""
        lines = []
        if self.pipelining:
            lines.append("PIPELINING")
        if self.size is not None:
            lines.append(f"SIZE {self.size}" if self.size else "SIZE")
        if self.eight_bit:
            lines.append("8BITMIME")
        if self.smtputf8:
            lines.append("SMTPUTF8")
        if self.dsn:
            lines.append("DSN")
        if self.starttls:
            lines.append("STARTTLS")
        if self.chunking:
            lines.append("CHUNKING")
        if self.auth:
            lines.append("AUTH " + " ".join(sorted(self.auth)))
        if self.enhanced:
            lines.append("ENHANCEDSTATUSCODES")
        return tuple(lines)

    def reply(self, hostname: str) -> Reply:
        """The whole EHLO answer of a server of that name."""
        return Reply.of(250, hostname, *self.keywords())

    def intersect(self, *others: Capabilities) -> Capabilities:
        """What all of them can do; the smallest size limit of them."""
        every = (self, *others)
        sizes = [one.size for one in every]
        limits = [size for size in sizes if size]
        return Capabilities(
            size=None if None in sizes else min(limits, default=0),
            pipelining=all(one.pipelining for one in every),
            eight_bit=all(one.eight_bit for one in every),
            smtputf8=all(one.smtputf8 for one in every),
            dsn=all(one.dsn for one in every),
            starttls=all(one.starttls for one in every),
            chunking=all(one.chunking for one in every),
            auth=frozenset.intersection(*(one.auth for one in every)),
            enhanced=all(one.enhanced for one in every),
        )


def _number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 20
