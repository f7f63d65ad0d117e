"""The demo from beginning to end, in a folder of its own."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import orjson
from rich.console import Console

from gateway.decision.facts import Outcome
from gateway.demo import report
from gateway.demo.click import link_in_mail, look, one_click
from gateway.demo.expectation import Expected, load_expectation, load_text_expectation
from gateway.demo.mailing import (
    AFTER_THE_BAN,
    AFTER_THE_CLICK,
    MAILINGS,
    WITHOUT_LINK,
    Mailing,
)
from gateway.demo.person import (
    BANS_DURING_DEMO,
    BOUNCED_DURING_DEMO,
    CLICKS_DURING_DEMO,
    EXPLAINED,
    TEXTED_BANS_DURING_DEMO,
)
from gateway.demo.process import GatewayProcess, command
from gateway.demo.proof import prove
from gateway.demo.sending import Sender
from gateway.demo.site import TOOL, DemoSite
from gateway.demo.texter import Texted, Texter, write_texts
from gateway.demo.texting import TEXT_AFTER_THE_BAN, TEXTINGS, Texting
from gateway.demo.tool import Tool
from gateway.demo.transcript import Sent, write_transcript


def run_demo(*, keep: bool = False) -> bool:
    """Show everything on standard output; whether the proof holds.

    The folder goes when the demo ends, however it ends, unless ``keep``.

    Raises:
        GatewayError: the demo could not be carried through.

    """
    console = report.console()
    # Settings of the person's own gateway are not the demo's.
    for name in [name for name in os.environ if name.startswith("GATEWAY_")]:
        del os.environ[name]
    with _ending_tidily(), _folder(keep=keep) as folder, ExitStack() as stack:
        site = DemoSite(folder)
        tool = stack.enter_context(Tool(site))
        site.create(tool.url)
        expectation, texts = load_expectation(), load_text_expectation()
        report.introduce(console, site, len(expectation) + len(texts))
        explanation = _send_everything(console, site, tool, expectation, texts)
        proof = prove(folder, expectation, texts)
        report.rules(console, proof.observation)
        report.explained(console, explanation)
        report.proof(console, proof)
        report.farewell(console, site if keep else None)
    return proof.holds


def _send_everything(
    console: Console,
    site: DemoSite,
    tool: Tool,
    expectation: tuple[Expected, ...],
    texts: tuple[Expected, ...],
) -> dict[str, Any]:
    """Run a gateway, import the register, send every mailing and text; one explanation."""
    with GatewayProcess(site) as gateway:
        report.started(console, gateway)
        said = command(site, "register", "import", str(site.register_file), *_BY)
        report.imported(console, said)
        sender = Sender(site, gateway.smtp)
        sent: list[Sent] = []
        for mailing in MAILINGS:
            sent += sender.send(mailing, _recipients(mailing, expectation))
        report.mailings(console, sent)
        texter = Texter(gateway.sms)
        texted: list[Texted] = []
        for texting in TEXTINGS:
            texted += texter.send(texting, _recipients(texting, texts))
        report.textings(console, texted)
        explanation = _explanation(site)
        said = command(site, "register", "ban", BANS_DURING_DEMO, "--evidence", "phone call", *_BY)
        after = sender.send(AFTER_THE_BAN, _recipients(AFTER_THE_BAN, expectation))
        report.banned(console, BANS_DURING_DEMO, said, after)
        said = command(
            site, "register", "ban", TEXTED_BANS_DURING_DEMO, "--evidence", "phone call", *_BY
        )
        texted_after = texter.send(TEXT_AFTER_THE_BAN, _recipients(TEXT_AFTER_THE_BAN, texts))
        report.text_banned(console, said, texted_after)
        clicked = _click(console, site, tool, gateway, sender, expectation)
        write_transcript(site, [*sent, *after, *clicked])
        write_texts(site, [*texted, *texted_after])
        report.stopped(console, gateway.stop())
    return explanation


def _click(
    console: Console,
    site: DemoSite,
    tool: Tool,
    gateway: GatewayProcess,
    sender: Sender,
    expectation: tuple[Expected, ...],
) -> list[Sent]:
    """Let a reader click the link that the gateway added, and mail to another one bounce."""
    before = sender.send(WITHOUT_LINK, _recipients(WITHOUT_LINK, expectation))
    link = link_in_mail(site, WITHOUT_LINK.name, CLICKS_DURING_DEMO)
    page = look(link, gateway.public)
    report.clicked(console, page, after_looking=_may_go(site, CLICKS_DURING_DEMO))
    tool.start()
    one_click(link, gateway.public)
    began = time.monotonic()
    words = ("register", "undeliverable", BOUNCED_DURING_DEMO, "--reason", "hard_bounce")
    bounced = command(site, *words, "--evidence", "550 5.1.1", *_BY)
    after = sender.send(AFTER_THE_CLICK, _recipients(AFTER_THE_CLICK, expectation))
    told = tool.wait_for(CLICKS_DURING_DEMO, since=began)
    tool.keep()
    report.after_click(console, bounced, after, TOOL, told)
    return [*before, *after]


def _may_go(site: DemoSite, address: str) -> bool:
    words = ("check", address, "--topic", "newsletter", "--json")
    said = orjson.loads(command(site, *words, may_find=True))
    return bool(said["outcome"] == Outcome.FORWARD)


_BY = ("--by", "demo")


def _recipients(mailing: Mailing | Texting, expectation: tuple[Expected, ...]) -> list[str]:
    return [one.address for one in expectation if one.mailing == mailing.name]


def _explanation(site: DemoSite) -> dict[str, Any]:
    """What ``check --explain`` says of the sample person."""
    words = ("check", EXPLAINED, "--topic", "newsletter", "--explain", "--json")
    said: dict[str, Any] = orjson.loads(command(site, *words, may_find=True))
    return said


@contextmanager
def _folder(*, keep: bool) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="suppression-demo-"))
    try:
        yield folder
    finally:
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def _ending_tidily() -> Iterator[None]:
    """Let the first Ctrl-C, SIGTERM or SIGHUP end the demo in order, and ignore the next.

    A signal that is ignored already (``nohup``) stays so.
    """

    def end(number: int, frame: FrameType | None) -> None:
        for each in before:
            signal.signal(each, signal.SIG_IGN)
        if number == signal.SIGINT:
            raise KeyboardInterrupt
        sys.exit(128 + number)

    before = {
        number: signal.getsignal(number)
        for number in _ENDING
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        for number in before:
            signal.signal(number, end)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
