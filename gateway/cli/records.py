"""``records …``: why a message went or did not, who looked, and that it is so."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import orjson
import typer
from rich.table import Table

from gateway.cli import chain
from gateway.cli.address import read_contact
from gateway.cli.console import console
from gateway.cli.moment import moment, told
from gateway.cli.option import (
    Config,
    Json,
    Reader,
    ReadReason,
    open_stores,
    record_act,
    run,
    settings_of,
)
from gateway.contacts.contact import Channel
from gateway.contacts.digest import subject_of
from gateway.contacts.parse import parse_contact
from gateway.decision.facts import Outcome
from gateway.failure import InputError
from gateway.records.act import Act, Action
from gateway.records.finding import Found, Shown, Sums, Wanted
from gateway.records.record import Direction, Result
from gateway.settings import Settings
from gateway.subject.person import Language

app = typer.Typer(no_args_is_help=True, help="What was decided, why, and what came of it.")


@app.command()
def search(
    address: Annotated[str | None, typer.Option(help="The recipient's address or number.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    client: Annotated[str | None, typer.Option(help="The sending tool.")] = None,
    rule: Annotated[str | None, typer.Option(help="The rule's id.")] = None,
    outcome: Annotated[Outcome | None, typer.Option(help="What was decided.")] = None,
    result: Annotated[Result | None, typer.Option(help="What came of it.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    by: Reader = "",
    reason: ReadReason = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Find records, the newest first; exit status 1 when there are none.

    A search by address is itself recorded.
    """
    settings = settings_of(config)
    found = run(
        _search(settings, by, reason, address, since, until, client, rule, outcome, result, limit)
    )
    if json:
        for one in found:
            sys.stdout.buffer.write(orjson.dumps(asdict(one)) + b"\n")
    elif found:
        _print(found)
    else:
        typer.echo("no such records")
    if not found:
        raise typer.Exit(1)


async def _search(
    settings: Settings,
    by: str,
    reason: str,
    address: str | None,
    since: str | None,
    until: str | None,
    client: str | None,
    rule: str | None,
    outcome: Outcome | None,
    result: Result | None,
    limit: int,
) -> list[Found]:
    async with open_stores(settings) as stores:
        await stores.catch_up()
        digests: list[str] = []
        if address is not None:
            try:
                subject = subject_of(parse_contact(address))
            except InputError as error:
                raise InputError(f"--address {address}: {error}") from None
            digests = [str(digest) for digest in stores.ring.digests(subject)]
            act = Act(action=Action.SEARCH, actor=by, reason=reason, subject=digests[0])
            await record_act(stores.register, act)
        return await stores.archive.search(
            digests=digests,
            since=moment(since),
            until=moment(until),
            client=client,
            rule=rule,
            outcome=outcome,
            result=result,
            limit=limit,
        )


def _print(found: list[Found]) -> None:
    table = Table()
    for heading in ("record", "decided", "client", "kind", "decision", "rule", "result"):
        table.add_column(heading, no_wrap=heading == "record")
    for one in found:
        table.add_row(
            one.record_id,
            told(one.decided),
            one.client,
            one.kind,
            one.outcome if one.direction is Direction.OUT else "came in",
            one.rule,
            one.result or "…",
        )
    console().print(table)


@app.command()
def count(
    since: Annotated[str | None, typer.Option(help="From this time on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    client: Annotated[str | None, typer.Option(help="The sending tool.")] = None,
    campaign: Annotated[
        str | None, typer.Option(help="As the tool names it (campaign_header).")
    ] = None,
    topic: Annotated[str | None, typer.Option(help="What it was about.")] = None,
    channel: Annotated[Channel | None, typer.Option(help="Mail or text messages.")] = None,
    language: Annotated[Language, typer.Option(help="Of the reasons.")] = Language.EN,
    json: Json = False,
    config: Config = None,
) -> None:
    """Say how many went, how many did not, and why; exit status 1 when there were none.

    A message that the tool sent again after a 4xx counts each time.
    """
    settings = settings_of(config)
    wanted = Wanted(moment(since), moment(until), client, campaign, topic, channel)
    sums = run(_count(settings, wanted))
    if json:
        sys.stdout.buffer.write(orjson.dumps(asdict(sums)) + b"\n")
    elif sums.recipients:
        _print_sums(sums, language)
    else:
        typer.echo("no such messages")
    if not sums.recipients:
        raise typer.Exit(1)


async def _count(settings: Settings, wanted: Wanted) -> Sums:
    async with open_stores(settings) as stores:
        await stores.catch_up()
        return await stores.archive.count(wanted)


def _print_sums(sums: Sums, language: Language) -> None:
    table = Table()
    table.add_column("recipients", justify="right", no_wrap=True)
    for heading in ("decision", "result", "rule", "because"):
        table.add_column(heading, no_wrap=heading != "because")
    for share in sums.shares:
        because = getattr(share.text, language) if share.text else ""
        table.add_row(
            str(share.recipients), share.outcome, share.result or "…", share.rule, because
        )
    console().print(table)
    typer.echo(f"{sums.recipients} recipients of {sums.messages} messages")


@app.command()
def show(
    record_id: Annotated[str, typer.Argument(help="As the SMTP reply or search names it.")],
    content: Annotated[
        bool, typer.Option("--content", help="Write the message's content to standard output.")
    ] = False,
    by: Reader = "",
    reason: ReadReason = "",
    json: Json = False,
    config: Config = None,
) -> None:
    """Show everything of one record: decision, facts, reasons, what came of it.

    That somebody looked is recorded first.
    """
    settings = settings_of(config)
    if content:
        run(_content(settings, record_id, by, reason))
        return
    shown = run(_show(settings, record_id, by, reason))
    row = _row(shown)
    if json:
        sys.stdout.buffer.write(orjson.dumps(row) + b"\n")
        return
    table = Table(title=f"record {record_id}", title_justify="left", show_header=False)
    for name, value in row.items():
        if isinstance(value, dict):
            table.add_row(name, "\n".join(f"{k}: {v}" for k, v in value.items()))
        elif isinstance(value, list):
            table.add_row(name, "\n".join(", ".join(map(str, v.values())) for v in value))
        elif value not in (None, ""):
            table.add_row(name, str(value))
    console().print(table)


async def _show(settings: Settings, record_id: str, by: str, reason: str) -> Shown:
    async with open_stores(settings) as stores:
        await stores.catch_up()
        shown = await stores.archive.show(record_id)
        await record_act(stores.register, _read(shown, by, reason, "record"))
        return shown


def _read(shown: Shown, by: str, reason: str, what: str) -> Act:
    return Act(
        action=Action.READ,
        actor=by,
        reason=reason,
        subject=shown.recipient.digest,
        detail={"what": what, "record": shown.recipient.id},
    )


async def _content(settings: Settings, record_id: str, by: str, reason: str) -> None:
    async with open_stores(settings) as stores:
        await stores.catch_up()
        shown = await stores.archive.show(record_id)
        if shown.message.content is None:
            raise InputError(
                f"{record_id}: no content is kept of it "
                f"({shown.message.kind}; see records.content_of)"
            )
        await record_act(stores.register, _read(shown, by, reason, "content"))
        async for piece in stores.contents.open(shown.message.content):
            sys.stdout.buffer.write(piece)


@app.command()
def acts(
    subject: Annotated[
        str | None, typer.Option(help="About whom: an address, a number, a digest or an id.")
    ] = None,
    by: Annotated[str | None, typer.Option("--by", help="Who did it.")] = None,
    action: Annotated[Action | None, typer.Option(help="What was done.")] = None,
    since: Annotated[str | None, typer.Option(help="From this time on (ISO 8601).")] = None,
    until: Annotated[str | None, typer.Option(help="Before this time.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000)] = 50,
    json: Json = False,
    config: Config = None,
) -> None:
    """List what people did with personal data, the newest first; exit status 1 if nothing."""
    settings = settings_of(config)
    found = run(_acts(settings, subject, by, action, since, until, limit))
    if json:
        for act in found:
            sys.stdout.buffer.write(orjson.dumps(asdict(act)) + b"\n")
    elif found:
        table = Table()
        for heading in ("when", "action", "by", "about", "reason", "detail"):
            table.add_column(heading)
        for act in found:
            detail = ", ".join(f"{name} {value}" for name, value in act.detail.items())
            table.add_row(told(act.at), act.action, act.actor, act.subject, act.reason, detail)
        console().print(table)
    else:
        typer.echo("no such acts")
    if not found:
        raise typer.Exit(1)


async def _acts(
    settings: Settings,
    subject: str | None,
    by: str | None,
    action: Action | None,
    since: str | None,
    until: str | None,
    limit: int,
) -> list[Act]:
    async with open_stores(settings) as stores:
        await stores.catch_up()
        subjects: list[str] = []
        if subject is not None:
            subjects = [subject]
            if "@" in subject or subject.startswith("+"):
                named = subject_of(read_contact(subject))
                subjects = [str(digest) for digest in stores.ring.digests(named)]
        return await stores.archive.acts(
            subjects=subjects,
            actor=by,
            action=action,
            since=moment(since),
            until=moment(until),
            limit=limit,
        )


def _row(shown: Shown) -> dict[str, object]:
    message, recipient, rule = shown.message, shown.recipient, shown.rule
    headers = shown.headers.decode("utf-8", "replace") if shown.headers else ""
    return {
        "record": recipient.id,
        "message": message.id,
        "recipient": shown.address,
        "recipient_digest": recipient.digest,
        "envelope_sender": shown.sender,
        "decision": recipient.outcome.value if message.direction is Direction.OUT else "",
        "rule": recipient.rule,
        "reasons": {"fi": rule.fi, "sv": rule.sv, "en": rule.en} if rule else {},
        "legal_source": rule.source if rule else "",
        "legal_basis": rule.basis if rule else "",
        "rule_set": f"{message.rule_set} {message.rule_set_version}",
        "rule_set_hash": message.rule_set_hash,
        "facts": dict(recipient.facts),
        "matched_by": recipient.tier,
        "address_class": recipient.address_class,
        "register": message.register,
        "register_position": recipient.register_position,
        "controller": message.controller,
        "client": message.client,
        "campaign": message.campaign,
        "direction": message.direction.value,
        "channel": message.channel.value,
        "kind": message.kind.value,
        "kind_declared": message.kind_declared,
        "topic": message.topic,
        "product_group": message.product_group,
        "sender_shown": message.sender,
        "opt_out_means": message.opt_out,
        "size": message.size,
        "body_sha256": message.body_hash,
        "content_kept": message.content is not None,
        "received": _time(message.received),
        "decided": _time(message.decided),
        "retain_until": _time(recipient.retain_until),
        "outcomes": [
            {
                "at": _time(one.at),
                "result": one.result.value,
                "upstream": one.upstream,
                "reply": f"{one.reply_code or ''} {one.reply_text}".strip(),
                "person": one.person,
                "reason": one.reason,
            }
            for one in shown.outcomes
        ],
        "headers": headers,
    }


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")


app.command()(chain.verify)
app.command()(chain.checkpoint)
