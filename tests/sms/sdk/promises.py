"""What every provider's SDK must find, whose base URL alone was changed.

A module for each SDK says how it sends, and what its answers and errors look like.
"""

import asyncio
import base64
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest

from tests.peers.provider import Asked, Provider, says

YES, ALSO, NO = "+358401111111", "+358403333333", "+358402222222"
SENDER = "LamisNET"
TEXT = "Syysale! Lopeta: vastaa STOP"
SECRET, TOKEN = "of-the-provider-1234", "of-the-gateway-5678"
SLOW_REJECT = pytest.param("reject", marks=pytest.mark.slow)
SLOW_DISCARD = pytest.param("discard", marks=pytest.mark.slow)
REPORTS = "signs-the-reports-of-this-provider"


def calls(house: Any) -> int:
    """How many requests reached the gateway."""
    return sum(house.metrics._messages.counts.values())


def basic(name: str, secret: str = SECRET) -> dict[str, str]:
    """The header of HTTP Basic."""
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode()}


def shown(asked: Asked) -> str:
    """Everything in which a credential could stand, readable."""
    word, _, value = asked.headers.get("authorization", "").partition(" ")
    if word == "Basic":
        value = base64.b64decode(value).decode()
    return "\n".join((value, str(asked.headers), asked.path, asked.body.decode()))


class Promises:
    """One provider's SDK; ``send`` blocks, as the SDKs do."""

    provider: ClassVar[str]
    route: ClassVar[dict[str, Any]] = {}
    refuses: ClassVar[bool] = True
    """Whether a suppressed recipient is natively refused in the answer."""
    others: ClassVar[Sequence[tuple[str, str, dict[str, Any]]]]
    """Other ways of sending that the provider has: method, path, how."""
    headers: ClassVar[dict[str, str]]
    """What those requests show."""

    def send(self, house: Any, *to: str, secret: str = SECRET, report: str = "") -> Any:
        """Send the way the vendor's documentation shows."""
        raise NotImplementedError

    def took(self, answer: Any, *to: str) -> None:
        """It is the SDK's usual object, for these recipients."""
        raise NotImplementedError

    def refused(self, answer: Any) -> None:
        """It is what the SDK makes of an opted-out recipient."""
        raise NotImplementedError

    def failed(self, answer: Any) -> None:
        """It is the SDK's own error for a fault that passes."""
        raise NotImplementedError

    def recipients(self, asked: Asked) -> list[str]:
        """Whom a request that the provider got is for."""
        raise NotImplementedError

    def house(self, sms: Any, secret_file: Any, **route: Any) -> Any:
        """A house with this provider."""
        return sms(self.provider, **{**self.route, **route})

    async def tried(self, house: Any, *to: str, **how: Any) -> Any:
        """What the SDK returns or raises."""
        try:
            return await asyncio.to_thread(self.send, house, *to, **how)
        except Exception as error:
            return error

    def sent(self, house: Any) -> list[str]:
        """Everybody whom the provider was asked to send to."""
        return [one for asked in house.provider.sends for one in self.recipients(asked)]

    # -- the promises -------------------------------------------------------------

    async def test_allowed(self, sms, secret_file):
        async with self.house(sms, secret_file) as house:
            await house.allow(YES)
            self.took(await self.tried(house, YES), YES)
            assert self.sent(house) == [YES]
            assert await house.fate(YES) == [("forward", "R40", "forwarded")]

    @pytest.mark.parametrize("choice", ["native", "reject", SLOW_DISCARD])
    async def test_suppressed(self, sms, secret_file, choice):
        async with self.house(sms, secret_file, on_suppress=choice) as house:
            await house.allow(NO)
            await house.ban(NO)
            answer = await self.tried(house, NO)
            if choice == "discard" or (choice == "native" and not self.refuses):
                self.took(answer, NO)
                result = "suppressed"
            else:
                self.refused(answer)
                result = "rejected"
            assert house.provider.asked == []
            assert calls(house) == 1
            assert await house.fate(NO) == [("suppress", "R11", result)]

    async def test_provider_away(self, sms, secret_file):
        async with self.house(sms, secret_file) as house:
            await house.allow(YES)
            await house.provider.stop()
            self.failed(await self.tried(house, YES))
            assert {one[2] for one in await house.fate(YES)} == {"failed"}
            await house.provider.start()
            self.took(await self.tried(house, YES), YES)
            assert self.sent(house) == [YES]

    async def test_register_away(self, sms, secret_file, cable):
        async with self.house(sms, secret_file) as house:
            await house.allow(YES)
            await cable.cut()
            self.failed(await self.tried(house, YES))
            assert calls(house) == 1
            assert house.provider.asked == []
            cable.mend()
            async with asyncio.timeout(30):
                while isinstance(answer := await self.tried(house, YES), Exception):
                    await asyncio.sleep(0.1)
            self.took(answer, YES)
            assert self.sent(house) == [YES]

    async def test_other_ways_of_sending(self, sms, secret_file):
        async with self.house(sms, secret_file) as house:
            await house.allow(YES)
            for method, path, how in self.others:
                url, asked = house.url + path, {"headers": self.headers, **how}
                async with house.http.request(method, url, ssl=False, **asked) as response:
                    assert 400 <= response.status < 500, (method, path, await response.text())
            assert house.provider.asked == []


class Repeating:
    """The SDK says a failed request again by itself; ``alone`` keeps it from that."""

    calls_of_503: ClassVar[int]
    """How often it calls, as it comes, until it says that it failed."""
    alone = True

    @pytest.mark.slow
    async def test_how_often_it_calls_by_itself(self, sms, secret_file, cable):
        self.alone = False
        async with self.house(sms, secret_file) as house:
            await house.allow(YES)
            await cable.cut()
            self.failed(await self.tried(house, YES))
            assert calls(house) == self.calls_of_503
            assert house.provider.asked == []


class Batches:
    """The provider takes several recipients at once."""

    def parted(self, answer: Any, on_suppress: str) -> None:
        """What the SDK makes of an answer for YES, NO and ALSO."""
        raise NotImplementedError

    @pytest.mark.parametrize("choice", ["native", SLOW_REJECT, SLOW_DISCARD])
    async def test_of_several_only_the_allowed(self, sms, secret_file, choice):
        async with self.house(sms, secret_file, on_suppress=choice) as house:
            await house.allow(YES, ALSO, NO)
            await house.ban(NO)
            self.parted(await self.tried(house, YES, NO, ALSO), choice)
            assert self.sent(house) == [YES, ALSO]
            assert NO.removeprefix("+") not in str(house.provider.asked)
            assert [one[:2] for one in await house.fate(NO)] == [("suppress", "R11")]


class Reports:
    """The provider accepts an opted-out recipient and tells of the failure later."""

    reporting: ClassVar[dict[str, Any]] = {}
    """How ``send`` asks for such a message."""

    def heard(self, asked: Asked, url: str) -> None:
        """The report is the provider's, and signed as such."""
        raise NotImplementedError

    async def test_reported(self, sms, secret_file):
        async with (
            Provider(says(200)) as tool,
            self.house(
                sms,
                secret_file,
                report_hosts=[f"127.0.0.1:{tool.port}"],
                report_secret_file=secret_file(REPORTS),
            ) as house,
        ):
            await house.allow(NO)
            await house.ban(NO)
            url = f"{tool.url}/reports?of=tool"
            self.took(await self.tried(house, NO, report=url, **self.reporting), NO)
            async with asyncio.timeout(30):
                while not tool.asked:
                    await asyncio.sleep(0.01)
            self.heard(tool.asked[0], url)
            assert len(tool.asked) == 1
            assert house.provider.asked == []
            assert await house.fate(NO) == [("suppress", "R11", "suppressed")]


class Tokens:
    """The tool holds a token of the gateway's, and the gateway the provider's secret."""

    named: ClassVar[dict[str, str]] = {}
    """``token_name`` and ``username`` of the route."""

    def unknown(self, answer: Any) -> None:
        """It is the SDK's own error for a wrong credential."""
        raise NotImplementedError

    async def test_token(self, sms, secret_file):
        files = {"token_file": secret_file(TOKEN), "password_file": secret_file(SECRET)}
        async with self.house(sms, secret_file, **files, **self.named) as house:
            await house.allow(YES)
            self.unknown(await self.tried(house, YES, secret="not-the-token"))
            assert house.provider.asked == []
            self.took(await self.tried(house, YES, secret=TOKEN), YES)
            assert self.sent(house) == [YES]
            self.shows_secret(house.provider.sends[0])
            assert TOKEN not in shown(house.provider.sends[0])

    def shows_secret(self, asked: Asked) -> None:
        """The provider sees its own secret."""
        assert SECRET in shown(asked)
