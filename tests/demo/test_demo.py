"""The demo, run as a person runs it, and whether its proof notices what is wrong."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from gateway.cli.demo import _interrupted
from gateway.decision.load import find_rules, load_rules
from gateway.demo.expectation import Fate, load_expectation, load_text_expectation
from gateway.demo.person import CLICKS_DURING_DEMO
from gateway.demo.process import DemoFailed
from gateway.demo.proof import Proof, prove
from gateway.demo.report import UNREACHED
from gateway.demo.site import DemoSite
from gateway.demo.texter import read_texts, write_texts
from gateway.demo.transcript import read_transcript, write_transcript
from gateway.sandbox import read_sandbox

ARRIVED, OCTETS, REPLIES, RECORDS, HELD, CHAIN = range(1, 7)
TEXTS, ANSWERS, TEXT_RECORDS, CONNECTED = range(7, 11)


@dataclass(frozen=True)
class Run:
    output: str
    folder: Path


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    # Not pytest's own folder: the path of a Unix socket has to be short.
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def run(base: Path) -> Run:
    said = subprocess.run(
        [sys.executable, "-m", "gateway", "demo", "--keep"],
        capture_output=True,
        check=False,
        text=True,
        timeout=90,
        env={**os.environ, "TMPDIR": str(base), "GATEWAY_SMTP__MAX_RECIPIENTS": "not the demo's"},
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert said.stderr == ""
    [folder] = base.glob("suppression-demo-*")
    return Run(said.stdout, folder)


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> DemoSite:
    folder = tmp_path / "demo"
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("run"))  # has sockets
    return DemoSite(folder)


def proved(site: DemoSite) -> Proof:
    return prove(site.folder, load_expectation(), load_text_expectation())


def failing(proof: Proof) -> list[int]:
    return [number for number, check in enumerate(proof.checks) if not check.holds]


def mail_of(site: DemoSite, mailing: str) -> Path:
    """A file of the sandbox with a message of this mailing."""
    wanted = f"X-Campaign-Id: {mailing}\r\n".encode()
    return next(file for file in (site.sandbox / "new").iterdir() if wanted in file.read_bytes())


def change(site: DemoSite, statement: str) -> None:
    with sqlite3.connect(site.folder / "data" / "archive.sqlite") as database:
        assert database.execute(statement).rowcount == 1
    database.close()


# -- the run ------------------------------------------------------------------------------


def test_it_proves_what_it_shows(run: Run) -> None:
    assert "PROVED: exactly the expected mail arrived" in run.output
    assert "✗" not in run.output
    assert run.output.count("✓") == 11


def test_its_output_is_readable_without_a_terminal(run: Run) -> None:
    assert "\x1b" not in run.output
    assert max(map(len, run.output.splitlines())) <= 100
    assert not [line for line in run.output.splitlines() if line != line.rstrip()]


def test_every_rule_is_shown_or_named_as_not_reached(run: Run) -> None:
    rules = {rule.id for rule in load_rules(find_rules("finland", None)).rules}
    met = {one.rule for one in (*load_expectation(), *load_text_expectation())}
    assert met | UNREACHED.keys() == rules
    assert not met & UNREACHED.keys()
    for rule in rules:
        assert re.search(rf"^ +{rule}\b", run.output, re.MULTILINE), rule


def test_it_tells_one_person_why_in_three_languages(run: Run) -> None:
    [rule] = [r for r in load_rules(find_rules("finland", None)).rules if r.id == "R11"]
    for language in ("fi", "sv", "en"):
        assert rule.reason.get(language) in run.output


# -- the proof ----------------------------------------------------------------------------


def test_an_untouched_folder_proves(copy: DemoSite) -> None:
    proof = proved(copy)
    assert proof.holds
    assert failing(proof) == []


def test_mail_that_is_missing(copy: DemoSite) -> None:
    mail_of(copy, "dots-and-8-bit").unlink()
    proof = proved(copy)
    assert failing(proof) == [ARRIVED]
    lost = [one for one in load_expectation() if one.mailing == "dots-and-8-bit"]
    assert len(lost) == len(proof.checks[ARRIVED].faults) == 2
    assert all("did not" in fault for fault in proof.checks[ARRIVED].faults)


def test_mail_that_arrived_twice(copy: DemoSite) -> None:
    file = mail_of(copy, "privacy-notice")
    shutil.copy(file, file.with_name(f"9{file.name}"))
    envelope = copy.sandbox / "envelopes" / f"{file.name}.json"
    shutil.copy(envelope, envelope.with_name(f"9{envelope.name}"))
    assert failing(proved(copy)) == [ARRIVED]


def test_mail_that_reached_a_banned_person(copy: DemoSite) -> None:
    banned = next(
        one.address
        for one in load_expectation()
        if one.mailing == "after-the-ban" and one.fate is Fate.SUPPRESSED
    )
    envelope = copy.sandbox / "envelopes" / f"{mail_of(copy, 'after-the-ban').name}.json"
    text = envelope.read_text(encoding="utf-8")
    envelope.write_text(
        text.replace('"recipients": [', f'"recipients": ["{banned}", ').replace(
            '"rcpt_params": [', '"rcpt_params": [{}, '
        ),
        encoding="utf-8",
    )
    proof = proved(copy)
    assert failing(proof) == [ARRIVED]
    assert "suppressed by R11" in proof.checks[ARRIVED].faults[0]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"a line with trailing spaces   \r\n", b"a line with trailing spaces\r\n"),
        (b"\r\n.\r\n..two", b"\r\n..\r\n..two"),
        ("Åkerlundin".encode(), b"Akerlundin"),
        (b"X-Campaign-Id: dots", b"X-Campaign-ID: dots"),
    ],
    ids=["spaces", "dots", "8-bit", "header"],
)
def test_mail_that_was_altered(copy: DemoSite, before: bytes, after: bytes) -> None:
    file = mail_of(copy, "dots-and-8-bit")
    content = file.read_bytes()
    assert before in content
    file.write_bytes(content.replace(before, after))
    assert failing(proved(copy)) == [OCTETS]


def test_mail_that_still_speaks_to_the_gateway(copy: DemoSite) -> None:
    file = mail_of(copy, "club")
    file.write_bytes(file.read_bytes().replace(b"MIME-V", b"X-Gateway-Topic: club\r\nMIME-V", 1))
    assert failing(proved(copy)) == [OCTETS]


def test_a_link_that_was_not_added(copy: DemoSite) -> None:
    file = mail_of(copy, "without-link")
    lines = file.read_bytes().split(b"\r\n")
    kept = [line for line in lines if not line.startswith(b"List-Unsubscribe")]
    assert len(kept) == len(lines) - 2
    file.write_bytes(b"\r\n".join(kept))
    assert failing(proved(copy)) == [OCTETS]


@pytest.mark.parametrize(
    ("name", "other"), [("scope", "all"), ("contact", "sirkka.uotinlahti@posti.example")]
)
def test_a_click_that_the_connected_tool_has_otherwise(
    copy: DemoSite, name: str, other: str
) -> None:
    entries = json.loads(copy.tool_list.read_text(encoding="utf-8"))
    [click] = [one for one in entries if one["contact"] == CLICKS_DURING_DEMO]
    click[name] = other
    copy.tool_list.write_text(json.dumps(entries), encoding="utf-8")
    assert failing(proved(copy)) == [CONNECTED]


def test_a_record_that_is_gone_and_one_that_was_changed(copy: DemoSite) -> None:
    change(copy, "DELETE FROM record WHERE id = (SELECT min(id) FROM record WHERE rule = 'R40')")
    change(
        copy,
        "UPDATE record SET rule = 'R40', outcome = 'forward' "
        "WHERE id = (SELECT min(id) FROM record WHERE rule = 'R12')",
    )
    proof = proved(copy)
    assert failing(proof) == [RECORDS, CHAIN]
    faults = proof.checks[RECORDS].faults
    assert len(faults) == 2
    assert sum("no record" in fault for fault in faults) == 1
    assert sum("expected suppress by R12" in fault for fault in faults) == 1


def test_a_held_message_that_nobody_holds_any_more(copy: DemoSite) -> None:
    change(copy, "UPDATE held SET state = 'discarded' WHERE id = (SELECT min(id) FROM held)")
    assert failing(proved(copy)) == [HELD]


def test_a_refusal_that_named_the_wrong_rule(copy: DemoSite) -> None:
    sent = list(read_transcript(copy))
    place = next(i for i, one in enumerate(sent) if one.mailing == "offers")
    heard = [
        replace(one, reply=one.reply.replace("by R45", "by R12")) for one in sent[place].recipients
    ]
    sent[place] = replace(sent[place], recipients=tuple(heard))
    write_transcript(copy, sent)
    proof = proved(copy)
    assert failing(proof) == [REPLIES]
    assert len(proof.checks[REPLIES].faults) == 3


def text_lines(site: DemoSite) -> list[bytes]:
    return site.text_sandbox.read_bytes().splitlines(keepends=True)


def test_every_rule_that_a_text_message_can_meet_is_met() -> None:
    rules = [rule.id for rule in load_rules(find_rules("finland", None)).rules]
    met = {one.rule for one in load_text_expectation()}
    # An organisation's ban goes by the domain; R31 and bounces are about mail.
    assert set(rules) - met == {"R10", "R10s", "R14", "R15d", "R31"}


def test_no_banned_number_is_in_the_sandbox_and_each_allowed_one_is_there_once(run: Run) -> None:
    sandbox = DemoSite(run.folder).text_sandbox.read_text(encoding="utf-8")
    allowed = [one.address for one in load_text_expectation() if one.fate is Fate.ARRIVES]
    for number in {one.address for one in load_text_expectation()}:
        assert sandbox.count(number[1:]) == allowed.count(number), number


def test_a_text_that_is_missing_and_one_that_arrived_twice(copy: DemoSite) -> None:
    lines = text_lines(copy)
    copy.text_sandbox.write_bytes(b"".join(lines[1:]))
    assert failing(proved(copy)) == [TEXTS]
    copy.text_sandbox.write_bytes(b"".join([*lines, lines[0]]))
    assert failing(proved(copy)) == [TEXTS]


def test_a_text_that_reached_a_banned_number(copy: DemoSite) -> None:
    batch = next(line for line in text_lines(copy) if b'"infobip"' in line)
    more = batch.replace(b"+358400000101", b"+358400000102")
    assert more != batch
    copy.text_sandbox.write_bytes(copy.text_sandbox.read_bytes().replace(batch, batch + more))
    proof = proved(copy)
    assert failing(proof) == [TEXTS]
    assert "rejected by R11" in "".join(proof.checks[TEXTS].faults)


def test_a_text_that_was_altered(copy: DemoSite) -> None:
    before = copy.text_sandbox.read_bytes()
    after = before.replace(b"481516", b"481517", 1)
    assert after != before
    copy.text_sandbox.write_bytes(after)
    assert failing(proved(copy)) == [TEXTS]


def test_an_answer_about_a_text_that_was_not_true(copy: DemoSite) -> None:
    texts = list(read_texts(copy))
    place = next(i for i, one in enumerate(texts) if one.reply == "400 21610")
    texts[place] = replace(texts[place], reply="201 queued")
    write_texts(copy, texts)
    assert failing(proved(copy)) == [ANSWERS]
    write_texts(copy, texts[1:])
    assert failing(proved(copy)) == [ANSWERS]


def test_a_record_of_a_text_that_was_changed(copy: DemoSite) -> None:
    change(
        copy,
        "UPDATE record SET rule = 'R30' WHERE rule = 'R32' AND id = "
        "(SELECT min(id) FROM record WHERE rule = 'R32')",
    )
    assert failing(proved(copy)) == [CHAIN, TEXT_RECORDS]


def test_an_expectation_that_does_not_come_true(run: Run) -> None:
    expectation = list(load_expectation())
    place = next(i for i, one in enumerate(expectation) if one.rule == "R41")
    expectation[place] = replace(expectation[place], rule="R45", fate=Fate.SUPPRESSED)
    assert failing(prove(run.folder, expectation, load_text_expectation())) == [ARRIVED, RECORDS]


def test_a_recipient_that_was_never_tried(run: Run) -> None:
    expectation = load_expectation()
    more = replace(expectation[0], address="kukaan@posti.example", fate=Fate.SUPPRESSED)
    texts = load_text_expectation()
    assert failing(prove(run.folder, (*expectation, more), texts)) == [0]
    assert failing(prove(run.folder, expectation[1:], texts))[0] == 0


def test_the_sandbox_is_what_the_proof_reads(run: Run) -> None:
    arrived = sum(
        len(envelope.recipients) for envelope, _ in read_sandbox(DemoSite(run.folder).sandbox)
    )
    assert arrived == sum(one.fate is Fate.ARRIVES for one in load_expectation())


# -- the end ------------------------------------------------------------------------------


@contextmanager
def started(base: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo whose gateway runs."""
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "demo"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(base)},
        start_new_session=True,
        # A shell that runs the tests in the background has told them to ignore it, and a
        # demo that was told so keeps to it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout is not None and process.stderr is not None
    try:
        for line in process.stdout:
            if "gateway serve" in line:
                break
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


def processes_in(folder: Path) -> list[int]:
    """Processes that name the folder in their command or work in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes()
                place = os.readlink(entry / "cwd")
            except OSError:
                continue
            if os.fsencode(folder) in words or place.startswith(str(folder)):
                found.append(int(entry.name))
    return found


def gone(folder: Path, seconds: float = 20) -> bool:
    end = time.monotonic() + seconds
    while processes_in(folder):
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@linux
def test_interrupted_it_leaves_nothing(base: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=base))
    with started(folder) as process:
        assert len(processes_in(folder)) >= 3  # supervisor, worker, register
        os.killpg(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=40)
        assert process.returncode == 130, said
        assert "Traceback" not in said
    assert gone(folder, 0)
    assert list(folder.iterdir()) == []


@pytest.mark.slow
@linux
def test_killed_it_takes_its_gateway_along(base: Path) -> None:
    folder = Path(tempfile.mkdtemp(dir=base))
    with started(folder) as process:
        process.kill()
    assert gone(folder)


def test_an_interruption_that_a_closing_connection_hides_is_one() -> None:
    """The gateway is interrupted too, and may answer QUIT with 421."""
    with pytest.raises(DemoFailed) as hidden:
        try:
            raise KeyboardInterrupt
        finally:
            raise DemoFailed("421 to QUIT")
    assert _interrupted(hidden.value)
    assert not _interrupted(DemoFailed("the gateway ended"))
