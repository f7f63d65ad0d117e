"""``register …``: bans, consents and relationships."""

from __future__ import annotations

import typer

from gateway.cli import (
    attribute,
    change,
    delivery,
    export,
    hashed,
    history,
    status,
    transfer,
    view,
)

app = typer.Typer(no_args_is_help=True, help="Bans, consents and relationships.")
app.command()(change.ban)
app.command()(change.unban)
app.command()(change.consent)
app.command()(change.withdraw)
app.command()(change.relationship)
app.command()(delivery.undeliverable)
app.command()(delivery.deliverable)
app.command()(attribute.classify)
app.command()(attribute.restrict)
app.command()(attribute.unrestrict)
app.command()(attribute.describe)
app.command()(view.show)
app.command()(view.history)
app.command("at")(history.at)
app.command()(history.rebuild)
app.command("import")(transfer.import_command)
app.command("import-hashed")(hashed.import_hashed_command)
app.command("export")(export.export_command)
app.command()(status.status)
