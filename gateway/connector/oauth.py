"""Tokens that a tool gives to a client of its own (OAuth 2, RFC 6749, 4.4).

The client shows its id and secret in the body, never in a URL, and gets a token that is
good for a while; there is none to renew it by, so that it shows them again.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlencode

from gateway.connector.answer import object_in, unreadable
from gateway.connector.connector import Connector, Exchange, Token, ToolRefused
from gateway.connector.setting import setting
from gateway.provider.request import FORM, JSON, Request

_LONG: Final = 16_384
"""Characters of a token at the most."""
_is_token = re.compile(r"[A-Za-z0-9._~+/-]+=*").fullmatch


def token_of_client(tool: Connector, path: str) -> Exchange[Token]:
    """A token for the client of the settings; raises ToolRefused and ToolUnreadable."""
    place = tool.place
    shown = {
        "grant_type": "client_credentials",
        "client_id": place.client_id,
        "client_secret": place.secret,
    }
    headers = (("Accept", JSON), ("Content-Type", FORM))
    answer = yield Request("POST", path, "", headers, urlencode(shown).encode())
    if answer.status in (400, 401):
        # RFC 6749, 5.2: an id or a secret that is wrong, or a client that may not do this.
        raise ToolRefused(
            f"{tool.title} gives the client no token (HTTP {answer.status}): "
            f"{setting(place, 'client_id and secret_file')}: write credentials as "
            f"docs/sync/{tool.kind}.md says"
        )
    found = object_in(answer, tool)
    text, kind, lasts = (found.get(name) for name in ("access_token", "token_type", "expires_in"))
    if not isinstance(text, str) or len(text) > _LONG or not _is_token(text):
        raise unreadable(tool, "no token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise unreadable(tool, "a token that is not shown as such (token_type)")
    if isinstance(lasts, bool) or not isinstance(lasts, (int, float)) or not lasts > 0:
        return Token(text)
    return Token(text, float(lasts))
