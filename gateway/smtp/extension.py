"""The service extensions offered to a client, and the parameters they bring.

Only what every upstream of the client can carry is offered (RFC 5321 section 2.2),
so that a parameter that was accepted is never lost on the way.  The grammar of the
values is :mod:`gateway.wire.path`'s; here stands what may be used at all.
"""

from __future__ import annotations

from gateway.failure import GatewayError
from gateway.wire.ehlo import Capabilities
from gateway.wire.path import MailArguments, RcptArguments


class ParameterNotOffered(GatewayError):
    """A parameter of MAIL or RCPT that is unknown or was not offered (RFC 5321 4.1.1.11)."""

    code = 555
    status = "5.5.4"
    line = "Parameter not recognised"


class MessageTooLarge(GatewayError):
    """The declared size is over the limit (RFC 1870)."""

    code = 552
    status = "5.3.4"
    line = "Message too large"


def offer(upstreams: Capabilities | None, max_size: int) -> Capabilities:
    """What a client is offered, given what all its upstreams can do.

    ``None``: no upstream has answered yet.  Then everything is offered; until one
    answers every recipient hears 4xx, and its answer settles the question.
    """
    size = min(max_size, upstreams.size) if upstreams and upstreams.size else max_size
    return Capabilities(
        size=size,
        pipelining=True,  # ours, whatever the upstreams do
        eight_bit=upstreams is None or upstreams.eight_bit,
        smtputf8=upstreams is None or upstreams.smtputf8,
        dsn=upstreams is None or upstreams.dsn,
        enhanced=True,
    )


def check_mail(arguments: MailArguments, offered: Capabilities) -> None:
    """Check MAIL's parameters against what was offered.

    Raises:
        ParameterNotOffered: unknown or not offered.
        MessageTooLarge: SIZE is over the offered limit.

    """
    for name, value in arguments.params.items():
        match name:
            case "SIZE":
                carried = offered.size is not None
                if offered.size and int(value or 0) > offered.size:
                    raise MessageTooLarge("declared SIZE")
            case "BODY":
                carried = offered.eight_bit and (value or "").upper() in ("7BIT", "8BITMIME")
            case "SMTPUTF8":
                carried = offered.smtputf8
            case "RET" | "ENVID":
                carried = offered.dsn
            case _:
                # RFC 4954 section 5 lets a server take AUTH= and pass it on or not.
                carried = name == "AUTH"
        if not carried:
            raise ParameterNotOffered(f"MAIL parameter {name[:32]}")


def check_rcpt(arguments: RcptArguments, offered: Capabilities) -> None:
    """Check RCPT's parameters against what was offered.

    Raises:
        ParameterNotOffered: unknown or not offered.

    """
    for name in arguments.params:
        if name not in ("NOTIFY", "ORCPT") or not offered.dsn:
            raise ParameterNotOffered(f"RCPT parameter {name[:32]}")
