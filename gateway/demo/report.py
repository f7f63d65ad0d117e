"""What the demo prints: readable at 80 columns, coloured only on a terminal."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from gateway.decision.facts import Facts, Outcome
from gateway.decision.load import find_rules, load_rules
from gateway.demo.mailing import AFTER_THE_BAN, AFTER_THE_CLICK, MAILINGS
from gateway.demo.observation import Observation, Record
from gateway.demo.person import BANS_DURING_DEMO, CLICKS_DURING_DEMO, EXPLAINED_SPELLING
from gateway.demo.process import GatewayProcess
from gateway.demo.proof import Proof
from gateway.demo.site import DemoSite
from gateway.demo.texter import Texted
from gateway.demo.texting import TEXT_AFTER_THE_BAN, TEXTINGS
from gateway.demo.transcript import Sent

_WIDTH = 100
_TAKEN = ("201 queued", "200 PENDING")
_FAULTS_SHOWN = 12
_COUNTED = re.compile(r"(\d+) (forwarded|suppressed|held)")
_COLOURS = {Outcome.FORWARD: "green", Outcome.SUPPRESS: "red", Outcome.HOLD: "yellow"}

UNREACHED: Mapping[str, str] = {
    "R10": "marketing while the register is down: 451, the tool tries again",
    "R10s": "the same for service and transactional mail",
}
"""Rules that this demo does not show, and why."""


def console() -> Console:
    """Standard output, at most 100 columns wide."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    plain = Console(highlight=False)
    width = min(plain.width, _WIDTH) if plain.is_terminal else _WIDTH
    return Console(highlight=False, width=width)


def _heading(out: Console, text: str) -> None:
    out.print()
    out.rule(f"[bold]{text}", align="left", style="dim")


def _print(out: Console, what: RenderableType) -> None:
    """Print indented, without the spaces that fill lines up."""
    with out.capture() as captured:
        out.print(Padding(what, (0, 0, 0, 2)))
    out.file.write("\n".join(line.rstrip() for line in captured.get().split("\n")))
    out.file.flush()


def _say(out: Console, text: str) -> None:
    _print(out, Text.from_markup(text))


def _code(out: Console, *lines: str) -> None:
    _print(out, Padding(Text("\n".join(lines), style="cyan"), (0, 0, 0, 2)))


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading)
    return table


def introduce(out: Console, site: DemoSite, recipients: int) -> None:
    """Say what will be shown."""
    _heading(out, "Suppression gateway: demo")
    _say(
        out,
        "A shop's tools send mail and text messages through the gateway, which asks the customer "
        "register about every recipient first. All people are made up; nothing leaves this "
        "machine: what the gateway lets through lands in a sandbox, where the proof counts it.",
    )
    _say(out, f"[dim]{recipients} expectations, written by hand; folder {escape(str(site.folder))}")


def started(out: Console, gateway: GatewayProcess) -> None:
    """Say that the gateway runs."""
    _heading(out, "1  The gateway and its register")
    host, port = gateway.smtp
    _say(out, f"[bold]gateway serve[/]: takes mail at {host}:{port}")
    _say(out, f"text messages at {gateway.sms}, health at {gateway.http}")


def imported(out: Console, said: str) -> None:
    """Say what the import did."""
    _say(out, f"[bold]gateway register import[/]: {escape(said.strip())}")


def mailings(out: Console, sent: Sequence[Sent]) -> None:
    """Show every mailing as its tool saw it."""
    _heading(out, "2  What the tools sent, and what they heard")
    table = _table("mailing", "tool")
    for heading in ("to", "went", "dropped", "refused", "held"):
        table.add_column(heading, justify="right")
    for mailing in MAILINGS:
        some = [one for one in sent if one.mailing == mailing.name]
        counts = _counts(some)
        numbers = (counts[name] for name in ("to", "forwarded", "suppressed", "refused", "held"))
        table.add_row(mailing.about, mailing.client, *(str(n) if n else "" for n in numbers))
    _print(out, table)
    _say(out, "[dim]dropped: the tool hears 250; refused: it hears 550. One of each:")
    for example in _examples(sent):
        _say(out, f"[dim]{escape(example)}")


def textings(out: Console, texted: Sequence[Texted]) -> None:
    """Show every text message as its tool saw it."""
    out.print()
    table = _table("text message", "API")
    for heading in ("to", "taken", "refused", "later"):
        table.add_column(heading, justify="right")
    for texting in TEXTINGS:
        replies = [one.reply for one in texted if one.texting == texting.name]
        taken = sum(reply in _TAKEN for reply in replies)
        later = sum(reply.startswith("503") for reply in replies)
        numbers = (len(replies), taken, len(replies) - taken - later, later)
        table.add_row(texting.about, texting.api, *(str(n) if n else "" for n in numbers))
    _print(out, table)
    _say(
        out,
        "[dim]taken: went or held; refused: as the provider refuses a number that has opted out "
        "(Twilio: error 21610; Infobip: REJECTED); later: 503, the tool tries again.",
    )


def _counts(sent: Sequence[Sent]) -> dict[str, int]:
    counts = dict.fromkeys(("to", "forwarded", "suppressed", "refused", "held"), 0)
    for one in sent:
        counts["to"] += len(one.recipients)
        counts["refused"] += sum(bool(one.refusal(heard)) for heard in one.recipients)
        for number, what in _COUNTED.findall(one.reply):
            counts[what] += int(number)
    return counts


def _examples(sent: Sequence[Sent]) -> list[str]:
    taken = next((one.reply for one in sent if "suppressed" in one.reply), "")
    refused = next(
        (heard.reply for one in sent for heard in one.recipients if not heard.accepted), ""
    )
    return [reply for reply in (taken, refused) if reply]


def banned(out: Console, address: str, said: str, after: Sequence[Sent]) -> None:
    """Show the ban that was set while the gateway ran, and the next message."""
    _heading(out, "3  A ban counts from the very next message")
    _say(out, f"{address} got the newsletter above; then the phone rings.")
    _say(out, f"[bold]gateway register ban[/] {escape(said.strip())}")
    to = sum(len(one.recipients) for one in after)
    for one in after:
        _say(out, f"[bold]{AFTER_THE_BAN.about}[/], to {to}, that one among them: the tool hears")
        _say(out, escape(one.reply))


def text_banned(out: Console, said: str, after: Sequence[Texted]) -> None:
    """Show the same for a telephone number."""
    _say(out, f"[bold]gateway register ban[/] {escape(said.strip())}")
    for one in after:
        _say(out, f"{TEXT_AFTER_THE_BAN.about}, to {one.number}: the tool hears {one.reply}")


def clicked(out: Console, page: str, after_looking: bool) -> None:
    """Show that a link was opened, which changes nothing, and then clicked."""
    _heading(out, "4  A click counts too, and reaches the other tools")
    _say(
        out,
        f"{CLICKS_DURING_DEMO} got a newsletter that offered no way to refuse. It had one reader, "
        "so the gateway added the reader's own link ([bold]List-Unsubscribe[/], one click).",
    )
    still = "may still be sent to" if after_looking else "is NOT sent to any more"
    _say(out, f"Opened as a mail scanner opens it: a page, “{escape(page)}”; the reader {still}.")
    _say(out, "Clicked as a mail program clicks it (RFC 8058): 200.")


def after_click(out: Console, bounced: str, after: Sequence[Sent], tool: str, held: float) -> None:
    """Show the next message, and the entry in the connected tool."""
    _say(out, f"[bold]gateway register undeliverable[/] {escape(bounced.strip())}")
    to = sum(len(one.recipients) for one in after)
    for one in after:
        _say(
            out, f"[bold]{AFTER_THE_CLICK.about}[/], to {to}, those two among them: the tool hears"
        )
        _say(out, escape(one.reply))
    _say(out, f"The list of the connected tool {escape(tool)!r} had the click {held:.1f} s later.")


def rules(out: Console, seen: Observation) -> None:
    """Show what became of all recipients, by rule, as the archive has it."""
    _heading(out, "5  What went, what did not, and why")
    table = _table("rule", "", "outcome", "reason", "for instance")
    table.columns[1].justify = "right"
    table.columns[3].min_width = 29
    table.columns[4].overflow = "ellipsis"
    table.columns[4].no_wrap = True
    by_rule: dict[str, list[Record]] = {}
    for record in reversed(seen.all_records):
        by_rule.setdefault(record.found.rule, []).append(record)
    known = load_rules(find_rules("finland", None))
    for rule in known.rules:
        some = by_rule.pop(rule.id, [])
        if some:
            colour = _COLOURS.get(rule.then, "")
            table.add_row(
                rule.id,
                str(len(some)),
                Text(rule.then.value, style=colour),
                rule.title.en,
                Text(min((one.address for one in some), key=len), style="dim"),
            )
    _print(out, table)
    _say(out, "Without a record, since nothing is decided yet:")
    _say(out, f"  Q1   {known.rule('Q1').title.en}: a text to Sydney, where the hour is quiet now")
    _say(out, "Not shown, because no message meets them while all parts run:")
    for rule_id, why in UNREACHED.items():
        _say(out, f"  {rule_id:<5}{why}")


def explained(out: Console, said: Mapping[str, Any]) -> None:
    """Show one suppression with its reasons, as ``check --explain`` tells it."""
    _heading(out, "6  Why did this person get nothing?")
    _say(out, f"[bold]gateway check {said['address']} --topic newsletter --explain[/]")
    table = _table("", "")
    table.show_header = False
    table.add_row("outcome", f"{said['outcome']} by {said['rule']}")
    for language in ("fi", "sv", "en"):
        table.add_row(f"reason, {language}", said["reason"][language])
    table.add_row("source", said["source"])
    if said["tier"] == "base":
        table.add_row("found by", f"another spelling of the address: {EXPLAINED_SPELLING}")
    table.add_row("facts", _facts(said["facts"]))
    asked = [step["rule"] for step in said["trace"] if not step["matched"]]
    table.add_row("asked before", f"{asked[0]} to {asked[-1]}; none of them fits")
    _print(out, table)


def _facts(facts: Mapping[str, Any]) -> str:
    """The facts that say something: those other than the strictest assumption."""
    assumed = Facts()._asdict()
    told = [
        name if value is True else f"{name}={value}"
        for name, value in facts.items()
        if value != assumed[name]
    ]
    return ", ".join(told)


def stopped(out: Console, seconds: float) -> None:
    """Say that the gateway has ended in order."""
    _say(out, f"[dim]The gateway has drained, archived and ended in {seconds:.1f} s.")


def proof(out: Console, found: Proof) -> None:
    """Show every claim of the proof, and what speaks against it."""
    _heading(out, "7  The proof")
    for check in found.checks:
        mark = "[green]✓[/]" if check.holds else "[red]✗[/]"
        _say(out, f"{mark} {check.claim}\n  [dim]{escape(check.about)}[/]")
        for fault in check.faults[:_FAULTS_SHOWN]:
            _say(out, f"    [red]{escape(fault)}[/]")
        if len(check.faults) > _FAULTS_SHOWN:
            _say(out, f"    … and {len(check.faults) - _FAULTS_SHOWN} more")
    if found.holds:
        _say(
            out,
            "[bold green]PROVED: exactly the expected mail arrived, unchanged, all on record; "
            "and so did the text messages.",
        )
    else:
        failed = sum(not check.holds for check in found.checks)
        _say(out, f"[bold red]NOT PROVED: {failed} of {len(found.checks)} claims fail.")


def farewell(out: Console, kept: DemoSite | None) -> None:
    """Say how to connect a real tool, and where to look around."""
    _heading(out, "Connect a tool of your own")
    _say(
        out,
        "[bold]make serve[/] runs config.toml: SMTP at 127.0.0.1:2525 (text messages: README), "
        "open to this machine only, "
        "mail lands in the Maildir data/sandbox. So that a tool logs in, give it these lines in "
        "config.toml instead of networks (and its password in the file):",
    )
    _code(
        out,
        'username = "newsletter"',
        'password_file = "secrets/newsletter"',
        'kind = "marketing"     # or service, transactional, notice, declared',
    )
    _say(
        out,
        "In the tool: SMTP host 127.0.0.1, port 2525, that login, no TLS on this machine. "
        "Try it (somebody unknown: the reply says 1 suppressed, data/sandbox stays empty):",
    )
    _code(
        out,
        "swaks --server 127.0.0.1:2525 --from kauppa@lamisnet.fi \\",
        "  --to asiakas@posti.example --header 'Subject: Uutiskirje' \\",
        "  --add-header 'List-Unsubscribe: <mailto:x@lamisnet.fi>'",
    )
    _say(out, "or without swaks:")
    _code(
        out,
        "python3 - <<'END'",
        "import smtplib",
        "with smtplib.SMTP('127.0.0.1', 2525) as smtp:",
        "    # smtp.login('newsletter', 'its password')",
        "    smtp.sendmail('kauppa@lamisnet.fi', ['asiakas@posti.example'],",
        "        'From: kauppa@lamisnet.fi\\nSubject: Uutiskirje\\n'",
        "        'List-Unsubscribe: <mailto:x@lamisnet.fi>\\n\\nHei!\\n')",
        "END",
    )
    _say(out, "Then give the address a consent, send it again, and ask what happened:")
    gateway = f"{_python()} -m gateway"
    _code(
        out,
        f"{gateway} register consent asiakas@posti.example \\",
        "  --by you --wording 'Yes, mail me' --evidence 'signed card'",
        f"{gateway} check asiakas@posti.example --explain",
        f"{gateway} records search",
    )
    if kept is not None:
        _say(out, f"The demo's folder is kept: [bold]{escape(str(kept.folder))}[/]. Look around:")
        _code(
            out,
            f"export GATEWAY_CONFIG={kept.config}",
            *(f"{gateway} {words}" for words in _LOOK_AROUND),
        )


_LOOK_AROUND = (
    "held list",
    "records count",
    "records search",
    f"register history {BANS_DURING_DEMO}",
)


def _python() -> str:
    """This interpreter, as one would call it from the current folder."""
    path = Path(sys.executable)
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
