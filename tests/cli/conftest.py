"""Folders with a configuration: one whose gateway runs, one whose gateway does not.

Every command is a process of its own, as people run it; most of them are forked from
one that has imported the gateway already (:mod:`tests.peers.preloaded`).
"""

from __future__ import annotations

import asyncio
import smtplib
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.peers.house import MAILING, client_table
from tests.peers.preloaded import Preloaded
from tests.peers.process import ROOT, Done, RunningGateway, preloaded_command

BY = ("--by", "tester")


class Place(RunningGateway):
    """A folder to run commands in."""

    preloaded: Preloaded

    def __call__(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Done:
        """Run a command."""
        return preloaded_command(self.preloaded, self.folder, *arguments, env=env)

    def good(self, *arguments: str | Path, status: int = 0) -> Done:
        """Run a command that must end so, without a word on standard error."""
        done = self(*arguments)
        assert (done.status, done.err) == (status, ""), done
        return done

    def refused(self, *arguments: str | Path, **how) -> str:
        """Run a command that could not: its one line."""
        done = self(*arguments, **how)
        assert done.status == 2, done
        assert done.out == "", done
        assert done.err.startswith("suppression-gateway: "), done
        assert done.err.count("\n") == 1, done
        return done.err

    def outcome(self, address: str, *more: str) -> tuple[int, str, str]:
        """Exit status, outcome and rule of `check`."""
        done = self("check", address, "--json", *more)
        assert done.err == "", done
        [row] = done.rows
        return done.status, row["outcome"], row["rule"]

    def archived(self, count: int, *query: str) -> list:
        """The records, once so many have reached the archive with what came of them."""
        end = time.monotonic() + 60
        while True:
            rows = self("records", "search", *query, "--json").rows
            if len(rows) >= count and all(row["result"] for row in rows):
                return rows
            assert time.monotonic() < end, rows
            time.sleep(0.1)

    def run_gateway(self) -> None:
        asyncio.run(self.start())

    def stop_gateway(self) -> None:
        assert asyncio.run(self.stop()) == 0

    def mail(self, *recipients: str, message: bytes = MAILING, login: str | None = None) -> str:
        """Mail to the running gateway; the reply to the final dot."""
        with smtplib.SMTP("127.0.0.1", self.smtp, timeout=20) as server:
            server.ehlo("tool.example")
            if login is not None:
                server.login(login, "open sesame")
            assert server.mail("uutiset@lamisnet.fi")[0] == 250
            for recipient in recipients:
                assert server.rcpt(recipient)[0] == 250
            code, text = server.data(message)
        assert code == 250, text
        return text.decode()


@pytest.fixture(scope="session", autouse=True)
def preloaded() -> Iterator[None]:
    """What runs the commands of each place."""
    Place.preloaded = Preloaded(ROOT)
    yield
    Place.preloaded.close()


def place_in(folder: Path, **changes: Any) -> Place:
    """A folder with the usual configuration and a tool that declares no kind.

    ``changes`` are laid over it, tables member by member.
    """
    (folder / "secret").write_text("open sesame\n")
    unclear = client_table(
        name="unclear",
        networks=None,
        username="unclear",
        password_file="secret",
        kind="declared",
        topic=None,
    )
    return Place(folder, clients=[client_table(), unclear], **changes)


@pytest.fixture(scope="module", params=["running", "stopped"])
def either(request: pytest.FixtureRequest, tmp_path_factory) -> Iterator[Place]:
    """A place, once with its gateway running and once without."""
    place = place_in(tmp_path_factory.mktemp("place"))
    if request.param == "running":
        place.run_gateway()
    try:
        yield place
        if place.running:
            place.stop_gateway()
    finally:
        place.clean_up()


@pytest.fixture(scope="module")
def running(tmp_path_factory) -> Iterator[Place]:
    """A place whose gateway runs: its register need not be started for each command."""
    place = place_in(tmp_path_factory.mktemp("place"))
    place.run_gateway()
    try:
        yield place
        place.stop_gateway()
    finally:
        place.clean_up()


@pytest.fixture
def stopped(tmp_path: Path) -> Iterator[Place]:
    """A place of the test's own, whose gateway does not run."""
    place = place_in(tmp_path)
    yield place
    place.clean_up()
