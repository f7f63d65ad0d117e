"""Parts for the records' tests: real messages, a real archive file, an own server."""

import asyncio
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from gateway.contacts.contact import Tier
from gateway.decision.facts import Kind, Outcome
from gateway.records.archive import Archive
from gateway.records.database import Database
from gateway.records.record import (
    MessageRecord,
    OutcomeRecord,
    RecipientRecord,
    Result,
    RuleSetRecord,
    RuleText,
    new_id,
)
from gateway.records.seal import Sealer
from gateway.register.connect import connect
from gateway.register.wire import Wire

NOW = 1_763_800_000_000

RULES = RuleSetRecord(
    hash="ab12",
    name="fi",
    version="3",
    text="[R11]\n# kaikki kielletty\n",
    rules=(
        RuleText("R11", "art 21", "GDPR 21(2)-(3)", "kielletty", "förbjuden", "banned"),
        RuleText("R40", "art 6(1)(a)", "§ 200(1)", "suostumus", "samtycke", "consent"),
    ),
)


class OwnServer:
    """A server of one test's own, which it may kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.socket = folder / "s"
        self.url = f"unix://{self.socket}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            pytest.skip("no redis-server on PATH")
        arguments = ["--port", "0", "--unixsocket", str(self.socket), "--dir", str(self.folder)]
        arguments += ["--appendonly", "yes", "--appendfsync", "always", "--save", ""]
        self._process = subprocess.Popen(
            [program, *arguments, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(2000):
            if self.socket.exists() and self.cli("PING") == b"PONG":
                return
            time.sleep(0.02)
        raise RuntimeError("the server did not start")

    def cli(self, *command: str) -> bytes:
        done = subprocess.run(
            ["redis-cli", "-s", str(self.socket), *command], capture_output=True, check=False
        )
        return done.stdout.strip()

    def kill(self, number: int = signal.SIGKILL) -> None:
        if self._process is not None:
            os.kill(self._process.pid, signal.SIGCONT)
            os.kill(self._process.pid, number)
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)


@pytest.fixture
def own_server() -> Iterator[OwnServer]:
    folder = Path(tempfile.mkdtemp(prefix="sg-"))
    server = OwnServer(folder)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sealer() -> Sealer:
    return Sealer({"c1": bytes(range(32))}, "c1")


@pytest.fixture
async def wire(register_url: str) -> AsyncIterator[Wire]:
    connections = connect(register_url)
    try:
        yield connections.wire
    finally:
        await connections.aclose()


@pytest.fixture
async def database(archive_place: Path | str) -> AsyncIterator[Database]:
    opened = await Database.open(archive_place)
    opened.place = archive_place
    try:
        yield opened
    finally:
        await opened.aclose()


@pytest.fixture
def archive(database: Database, sealer: Sealer) -> Archive:
    return Archive(database, sealer)


@pytest.fixture
def rules() -> RuleSetRecord:
    return RULES


@pytest.fixture
def make_message() -> Callable[..., MessageRecord]:
    def make(recipients: int = 1, decided: int = NOW, **changes: object) -> MessageRecord:
        fields = {
            "id": new_id(),
            "received": decided - 5,
            "decided": decided,
            "controller": "Oy Esimerkki Ab",
            "register": "Asiakasrekisteri",
            "client": "crm",
            "upstream": "main",
            "kind": Kind.MARKETING,
            "topic": "news",
            "body_hash": "00" * 32,
            "size": 1234,
            "opt_out": "List-Unsubscribe",
            "sender": "example.com",
            "rule_set": RULES.name,
            "rule_set_version": RULES.version,
            "rule_set_hash": RULES.hash,
            "recipients": tuple(
                RecipientRecord(
                    id=new_id(),
                    digest=f"k1:{number:032x}",
                    outcome=Outcome.SUPPRESS if number % 2 else Outcome.FORWARD,
                    rule="R11" if number % 2 else "R40",
                    tier=Tier.EXACT if number % 2 else None,
                    facts={"kind": "marketing", "ban_all": bool(number % 2), "known": True},
                    register_position="1-1",
                )
                for number in range(recipients)
            ),
        }
        return MessageRecord(**(fields | changes))  # type: ignore[arg-type]

    return make


@pytest.fixture
def outcome_of() -> Callable[..., OutcomeRecord]:
    def make(message: MessageRecord, result: Result, at: int = NOW, n: int = 0) -> OutcomeRecord:
        return OutcomeRecord(
            record_id=message.recipients[n].id,
            at=at,
            result=result,
            reply_code=250,
            reply_text="2.0.0 ok",
            upstream="main",
        )

    return make


@pytest.fixture
def settle() -> Callable[..., object]:
    """Waits, for at most some seconds, until a condition holds."""

    async def wait(condition: Callable[[], bool], seconds: float = 5.0) -> None:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.01)

    return wait
