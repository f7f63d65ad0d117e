"""``/v1/imports``: lists that are taken in, one after the other, behind the answer."""

from __future__ import annotations

from http import HTTPStatus

from gateway.api import changeform, form
from gateway.api.account import Permission
from gateway.api.desk import Call
from gateway.api.problem import BadMember, bad_request, not_found
from gateway.api.route import Route
from gateway.records.act import Action
from gateway.records.intake import ImportJob, JobMissing, Options
from gateway.register.rows import COLUMNS


async def begin(call: Call) -> changeform.Import:
    """Keep a list, sealed, for its turn."""
    asked: changeform.ImportQuery | changeform.ImportForm = call.form
    if isinstance(asked, changeform.ImportForm):
        octets, columns = asked.rows.encode(), dict(asked.columns)
    else:
        octets, columns = call.octets, _pairs(asked.columns)
    for name in columns:
        if name not in COLUMNS:
            raise bad_request(
                "the mapping names an unknown column",
                BadMember("/columns", f"ours are {', '.join(COLUMNS)}"),
            )
    if not octets.strip():
        raise bad_request("the list is empty", BadMember("/rows", "send a header and rows"))
    options = Options(
        source=asked.source, columns=columns, region=asked.region, skip_bad=asked.skip_bad
    )
    await call.record(Action.IMPORT, what="list", octets=len(octets), source=asked.source)
    return _import(await call.desk.imports.begin(call.account.name, octets, options))


def _pairs(text: str) -> dict[str, str]:
    columns = {}
    for pair in filter(None, map(str.strip, text.split(";"))):
        ours, equals, theirs = pair.partition("=")
        if not equals or not theirs.strip():
            raise bad_request(
                "the mapping is wrong", BadMember("/columns", "write OURS=THEIRS, several with ;")
            )
        columns[ours.strip()] = theirs.strip()
    return columns


async def index(call: Call) -> changeform.Imports:
    """The newest lists."""
    found = await call.desk.imports.index(call.form.limit)
    return changeform.Imports(imports=[_import(one) for one in found])


async def show(call: Call) -> changeform.Import:
    """How far one is, or what came of it."""
    try:
        return _import(await call.desk.imports.get(call.path["job"]))
    except JobMissing as error:
        raise not_found(str(error)) from None


async def cancel(call: Call) -> changeform.Import:
    """End one that waits or runs; what is applied stays."""
    try:
        return _import(await call.desk.imports.cancel(call.path["job"]))
    except JobMissing as error:
        raise not_found(str(error)) from None


def _import(job: ImportJob) -> changeform.Import:
    report = job.report
    return changeform.Import(
        id=job.id,
        state=job.state.value,
        account=job.account,
        created=form.time(job.created),
        ended=form.moment(job.ended),
        source=job.options.source,
        rows=report.rows,
        done=report.done,
        contacts=report.contacts,
        changed=report.changed,
        unchanged=report.unchanged,
        bad=report.bad,
        bad_rows=[
            changeform.BadRow(line=line, column=column, cause=cause)
            for line, column, cause in report.bad_rows
        ],
        warnings=list(report.warnings),
        cause=report.cause,
        begun=job.begun,
    )


ROUTES = (
    Route(
        method="POST",
        path="/v1/imports",
        summary="Take in a list of contacts, bans and consents; it never lifts a ban.",
        permission=Permission.IMPORT,
        handler=begin,
        body=changeform.ImportForm,
        query=changeform.ImportQuery,
        takes=("text/csv", "application/x-ndjson"),
        large=True,
        answer=changeform.Import,
        status=HTTPStatus.ACCEPTED,
        tag="imports",
    ),
    Route(
        method="GET",
        path="/v1/imports",
        summary="The lists that were taken in, the newest first.",
        permission=Permission.IMPORT,
        handler=index,
        query=changeform.ImportsQuery,
        answer=changeform.Imports,
        tag="imports",
    ),
    Route(
        method="GET",
        path="/v1/imports/{job}",
        summary="How far a list is, or what came of it.",
        permission=Permission.IMPORT,
        handler=show,
        answer=changeform.Import,
        tag="imports",
        may_miss=True,
    ),
    Route(
        method="POST",
        path="/v1/imports/{job}/cancel",
        summary="End an import that waits or runs; what is applied stays.",
        permission=Permission.IMPORT,
        handler=cancel,
        answer=changeform.Import,
        tag="imports",
        may_miss=True,
    ),
)
