"""What a person does with a newsletter: opens its unsubscribe link, and clicks."""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from gateway.demo.process import DemoFailed
from gateway.demo.site import DemoSite
from gateway.sandbox import read_sandbox

_TIMEOUT = 30.0
_LINK = re.compile(rb"^List-Unsubscribe:\s*<(https://[^>]+)>", re.IGNORECASE | re.MULTILINE)
_ONE_CLICK = re.compile(
    rb"^List-Unsubscribe-Post:\s*List-Unsubscribe=One-Click\r$", re.IGNORECASE | re.MULTILINE
)


def link_in_mail(site: DemoSite, campaign: str, address: str) -> str:
    """The unsubscribe link of the mail that arrived for this address; blocks.

    Raises:
        DemoFailed: no such mail arrived, or it has no one-click link.

    """
    wanted = f"\r\nX-Campaign-Id: {campaign}\r\n".encode()
    for envelope, content in read_sandbox(site.sandbox):
        if address in envelope.recipients and wanted in content:
            header = content.partition(b"\r\n\r\n")[0] + b"\r\n"
            found = _LINK.search(header)
            if found is None or _ONE_CLICK.search(header) is None:
                raise DemoFailed(f"the {campaign} mail to {address} has no one-click link")
            return found[1].decode("ascii")
    raise DemoFailed(f"no {campaign} mail arrived for {address}")


def look(link: str, public: str) -> str:
    """Open a link as a browser, or a scanner of mail, does; what the page is called; blocks.

    ``public`` is where the gateway serves what the link's host stands for.
    """
    page = _ask(link, public, None)
    found = re.search(r"<title>([^<]*)</title>", page)
    return found[1].strip() if found else ""


def one_click(link: str, public: str) -> None:
    """Do what a mail program's own unsubscribe button does (RFC 8058); blocks."""
    _ask(link, public, b"List-Unsubscribe=One-Click")


def _ask(link: str, public: str, body: bytes | None) -> str:
    parts = urlsplit(link)
    request = urllib.request.Request(
        f"http://{public}{parts.path}", data=body, headers={"Accept-Language": "en"}
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as answer:  # noqa: S310
            text: bytes = answer.read()
    except (OSError, urllib.error.HTTPError) as error:
        raise DemoFailed(f"the link was not answered: {error}") from error
    return text.decode("utf-8", "replace")
