"""A gateway that real clients reach over STARTTLS, implicit TLS and AUTH."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.peers.certificates import Certificate, self_signed
from tests.peers.house import client_table
from tests.peers.process import RunningGateway
from tests.peers.scripted import ScriptedUpstream

USER, PASSWORD = "letter", "open sesame"
REJECTING = "strict"
YES1, YES2, NO = "yes1@example.com", "yes2@example.com", "no@example.com"


def tool(name: str) -> str:
    """The path of a program; without it the test is skipped, and in CI it fails."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{name} is not installed, and CI must have it")
        pytest.skip(f"{name} is not installed")
    return path


@dataclass
class Ended:
    """A tool that has ended."""

    status: int
    out: str


async def run(*arguments: str | Path, text: bytes = b"", within: float = 30) -> Ended:
    """Run a tool with this on its standard input."""
    process = await asyncio.create_subprocess_exec(
        *map(str, arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(within):
        out, _ = await process.communicate(text)
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(errors="replace"))


@dataclass
class Place:
    """Where clients send to, and what came of it."""

    gateway: RunningGateway
    upstream: ScriptedUpstream
    certificate: Certificate


def clients(folder: Path) -> list[dict]:
    """Two tools that log in: one that hears 250 for suppressed recipients, one 550."""
    (folder / "password").write_text(PASSWORD + "\n")
    login = {"networks": None, "password_file": "password"}
    return [
        client_table(name="letter", username=USER, **login),
        client_table(name="strict", username=REJECTING, on_suppress="reject", **login),
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    """One gateway for a module's tests; two may be mailed, one has a ban."""
    folder = tmp_path_factory.mktemp("gateway")
    certificate = self_signed(folder, "localhost")
    async with (
        ScriptedUpstream() as upstream,
        RunningGateway(
            folder, upstream=upstream, clients=clients(folder), tls=certificate
        ) as gateway,
    ):
        await gateway.allow(YES1, YES2, NO)
        await gateway.ban(NO)
        yield Place(gateway, upstream, certificate)


@pytest.fixture
def place(shared: Place) -> Place:
    """The shared gateway, its upstream as good as new."""
    shared.upstream.forget_script()
    shared.upstream.messages.clear()
    return shared
