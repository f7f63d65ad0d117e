"""README's recipes for text messages, run as they stand there."""

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.peers.certificates import self_signed
from tests.peers.process import RunningGateway, command

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NUMBER = "+358401234567"


def recipe(language: str, word: str) -> str:
    """README's one block of this language with this word in it."""
    [found] = [
        block for block in re.findall(rf"```{language}\n(.*?)```", README, re.S) if word in block
    ]
    return found


class DefaultGateway(RunningGateway):
    """The project's own configuration, on free ports, with these lines behind it."""

    def __init__(self, folder: Path, more: str = "") -> None:
        self.more = more
        super().__init__(folder)

    def configure(self, **changes: object) -> None:
        text = (ROOT / "config.toml").read_text(encoding="utf-8")
        for port in ("2525", "8080", "8081"):
            text = text.replace(f'["127.0.0.1:{port}"]', '["127.0.0.1:0"]')
        self.config = self.folder / "config.toml"
        self.config.write_text(text + self.more, encoding="utf-8")

    async def sms(self) -> str:
        return (await self.line("ready"))["sms"][0]

    def sent(self) -> list[dict[str, str]]:
        file = self.folder / "data" / "sandbox" / "sms.jsonl"
        return (
            [json.loads(line) for line in file.read_bytes().splitlines()] if file.exists() else []
        )


async def run(code: str, **env: str) -> tuple[int, str]:
    """A developer's script: its exit status and all it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env={**os.environ, **env},
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, said.decode()


def consent(folder: Path) -> None:
    proof = ("--wording", "Yes, text me", "--evidence", "form 1", "--by", "tester")
    done = command(folder, "register", "consent", NUMBER, *proof)
    assert done.status == 0, done


async def test_the_recipe_sends_through_the_default_configuration(tmp_path):
    async with DefaultGateway(tmp_path) as gateway:
        code = recipe("python", "from twilio").replace("127.0.0.1:8081", await gateway.sms())
        status, said = await run(code)
        assert status != 0
        assert "TwilioRestException" in said
        assert "unsubscribed recipient" in said
        assert gateway.sent() == []
        await asyncio.to_thread(consent, tmp_path)
        assert await run(code) == (0, "queued\n")
        [one] = gateway.sent()
        assert (one["route"], one["provider"]) == ("campaigns", "twilio")
        assert NUMBER[1:] in one["body"]


@pytest.mark.slow
async def test_the_recipe_of_a_library_that_speaks_https_only(tmp_path):
    certificate = self_signed(tmp_path)
    tables = recipe("toml", "vonage").replace("[sms]\n", "")
    line, _, route = tables.partition("\n")
    line = line.replace("sms.pem", str(certificate.certificate)).replace(
        "sms.key", str(certificate.key)
    )
    gateway = DefaultGateway(tmp_path, route)
    text = gateway.config.read_text(encoding="utf-8")
    gateway.config.write_text(re.sub(r"(?m)^(\[sms\].*)$", rf"\1\n{line}", text), encoding="utf-8")
    async with gateway:
        code = recipe("python", "from vonage").replace("gateway.example:8081", await gateway.sms())
        trusting = {"REQUESTS_CA_BUNDLE": str(certificate.certificate)}
        # Vonage takes a message to a number that has opted out, and tells of it later.
        assert await run(code, **trusting) == (0, "0\n")
        assert gateway.sent() == []
        await asyncio.to_thread(consent, tmp_path)
        assert await run(code, **trusting) == (0, "0\n")
        assert [one["provider"] for one in gateway.sent()] == ["vonage"]
