"""The sending tools: Python's own SMTP client, logged in over loopback."""

from __future__ import annotations

import smtplib
from collections.abc import Sequence
from datetime import UTC, datetime

from gateway.demo.mailing import Mailing
from gateway.demo.process import DemoFailed
from gateway.demo.site import DemoSite
from gateway.demo.transcript import Heard, Sent

_TIMEOUT = 30.0


class Sender:
    """Sends mailings to one gateway and notes every reply."""

    def __init__(self, site: DemoSite, address: tuple[str, int]) -> None:
        self._site = site
        self._address = address

    def send(self, mailing: Mailing, recipients: Sequence[str]) -> list[Sent]:
        """Send a mailing over one connection; blocks.

        Recipients go in the order of the alphabet, as a mailing list has them.

        Raises:
            DemoFailed: the connection or the login failed.

        """
        ordered = sorted(recipients, key=str.casefold)
        step = mailing.per_message
        groups = [ordered[start : start + step] for start in range(0, len(ordered), step)]
        try:
            with smtplib.SMTP(*self._address, timeout=_TIMEOUT) as smtp:
                smtp.login(mailing.client, self._site.password(mailing.client))
                return [
                    self._message(smtp, mailing, number, group)
                    for number, group in enumerate(groups, 1)
                ]
        except (OSError, smtplib.SMTPException) as error:
            raise DemoFailed(f"mailing {mailing.name}: {error}") from error

    def _message(
        self, smtp: smtplib.SMTP, mailing: Mailing, number: int, recipients: Sequence[str]
    ) -> Sent:
        """One transaction; command by command, because ``sendmail`` drops the replies."""
        content = mailing.content(number, datetime.now(UTC))
        file = f"{mailing.name}.{number}.eml"
        (self._site.sent / file).write_bytes(content)
        if "SMTPUTF8" in mailing.options:
            smtp.command_encoding = "utf-8"
        code, text = smtp.mail(mailing.envelope_sender, mailing.options)
        if code != 250:
            raise DemoFailed(f"mailing {mailing.name}: MAIL was answered {_reply(code, text)}")
        heard = tuple(Heard(one, _reply(*smtp.rcpt(one))) for one in recipients)
        reply = ""
        if any(one.accepted for one in heard):
            try:
                reply = _reply(*smtp.data(content))
            except smtplib.SMTPDataError as error:
                reply = _reply(error.smtp_code, error.smtp_error)
        else:
            smtp.rset()
        return Sent(mailing.name, mailing.client, file, heard, reply)


def _reply(code: int, text: bytes | str) -> str:
    return f"{code} {text.decode('utf-8', 'replace') if isinstance(text, bytes) else text}"
