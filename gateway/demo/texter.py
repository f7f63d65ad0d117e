"""The tools that send text messages: plain HTTP, as the providers' own SDKs speak it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import aiohttp

from gateway.demo.process import DemoFailed
from gateway.demo.site import DemoSite
from gateway.demo.texting import Texting

_ACCOUNT = "AC00000000000000000000000000000000"
_TWILIO = f"/2010-04-01/Accounts/{_ACCOUNT}/Messages.json"
_TIMEOUT = 30.0
_FILE = "texts.json"


@dataclass(frozen=True, slots=True)
class Texted:
    """What a tool heard of one text message to one number."""

    texting: str
    route: str
    number: str
    reply: str
    """The status, and in the provider's words what became of it: ``400 21610``."""


class Texter:
    """Sends text messages to one gateway and notes every answer."""

    def __init__(self, base_url: str) -> None:
        self._base_url = base_url

    def send(self, texting: Texting, numbers: Sequence[str]) -> list[Texted]:
        """Send one text to these numbers; blocks.

        Raises:
            DemoFailed: the gateway did not answer.

        """
        return asyncio.run(self._send(texting, numbers))

    async def _send(self, texting: Texting, numbers: Sequence[str]) -> list[Texted]:
        headers = {"X-Campaign-Id": texting.name, **dict(texting.control)}
        try:
            async with aiohttp.ClientSession(
                headers=headers, timeout=aiohttp.ClientTimeout(_TIMEOUT)
            ) as http:
                base = f"{self._base_url}/{texting.route}"
                if texting.api == "infobip":
                    replies = await _batch(http, base, texting, numbers)
                else:
                    replies = [await _single(http, base, texting, number) for number in numbers]
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError, KeyError) as error:
            raise DemoFailed(f"text message {texting.name}: {error!r}") from error
        return [
            Texted(texting.name, texting.route, number, reply)
            for number, reply in zip(numbers, replies, strict=True)
        ]


async def _single(http: aiohttp.ClientSession, base: str, texting: Texting, number: str) -> str:
    """One request of Twilio's: a form; the answer names a status or an error's code."""
    form = {"To": number, "From": texting.sender, "Body": texting.text}
    headers = {"Authorization": aiohttp.encode_basic_auth(_ACCOUNT, "the provider's token")}
    async with http.post(base + _TWILIO, data=form, headers=headers) as response:
        said = await response.json()
        code = said["status"] if response.ok else said["code"]
        return f"{response.status} {code}"


async def _batch(
    http: aiohttp.ClientSession, base: str, texting: Texting, numbers: Sequence[str]
) -> list[str]:
    """One request of Infobip's for all; the answer has an item for each."""
    message = {
        "sender": texting.sender,
        "destinations": [{"to": number} for number in numbers],
        "content": {"text": texting.text},
    }
    headers = {"Authorization": "App the-providers-key"}
    async with http.post(
        f"{base}/sms/3/messages", json={"messages": [message]}, headers=headers
    ) as response:
        said = await response.json()
        if not response.ok:
            return [f"{response.status} {said}"] * len(numbers)
        told = {one["destination"]: one["status"]["groupName"] for one in said["messages"]}
        return [f"{response.status} {told.get(number, 'missing')}" for number in numbers]


def write_texts(site: DemoSite, texted: Sequence[Texted]) -> None:
    """Keep what the tools heard in the demo's folder; blocks."""
    text = json.dumps([asdict(one) for one in texted], ensure_ascii=False, indent=1)
    (site.sent / _FILE).write_text(text, encoding="utf-8")


def read_texts(site: DemoSite) -> tuple[Texted, ...]:
    """What the tools heard, from the demo's folder; blocks."""
    members: list[dict[str, Any]] = json.loads((site.sent / _FILE).read_text(encoding="utf-8"))
    return tuple(Texted(**one) for one in members)
