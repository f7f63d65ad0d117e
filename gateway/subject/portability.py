"""What a person provided, for another controller to read (GDPR 20): JSON and CSV.

Names, contacts, consents with their wording, and objections in the person's own words;
nothing that the controller found out or decided.
"""

from __future__ import annotations

import csv
import io
from typing import Any, Final

import orjson

from gateway.subject.access import Report

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS: Final = (
    "what",
    "value",
    "channel",
    "topic",
    "scope",
    "state",
    "since",
    "until",
    "wording",
    "how",
)


def provided(report: Report) -> dict[str, Any]:
    """What the person provided, out of everything that is known."""
    return {
        "format": "suppression-gateway person 1",
        "made": report.made,
        "controller": {name: report.controller[name] for name in ("name", "business_id", "email")},
        "language": report.person["language"],
        "names": report.person["names"],
        "contacts": [
            {name: row[name] for name in ("contact", "since", "until")} for row in report.contacts
        ],
        "consents": [
            {name: value for name, value in row.items() if name != "source"}
            for row in report.consents
        ],
        "objections": [
            {name: value for name, value in row.items() if name != "by"}
            for row in report.objections
        ],
    }


def to_json(report: Report) -> bytes:
    """As one JSON object."""
    return orjson.dumps(provided(report), option=orjson.OPT_INDENT_2) + b"\n"


def to_csv(report: Report) -> bytes:
    """As one table in UTF-8, a row for each name, contact, consent and objection.

    A text that a spreadsheet would run as a formula has an apostrophe before it; a
    telephone number keeps its plus.
    """
    data = provided(report)
    rows: list[dict[str, Any]] = [{"what": "language", "value": data["language"]}]
    rows += [{"what": "name", "value": row["name"], **_span(row)} for row in data["names"]]
    rows += [{"what": "contact", "value": row["contact"], **_span(row)} for row in data["contacts"]]
    rows += [
        {
            "what": "consent",
            "value": row["contact"],
            "channel": row["channel"],
            "topic": row["topic"],
            "state": row["state"],
            "since": row["since"],
            "until": row["expires"],
            "wording": row["wording"],
        }
        for row in data["consents"]
    ]
    rows += [
        {
            "what": "objection",
            "value": row["words"],
            "channel": row["channel"],
            "topic": row["topic"],
            "scope": row["scope"],
            "since": row["received"],
            "how": row["how"],
        }
        for row in data["objections"]
    ]
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, _COLUMNS, restval="")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: _safe(value) for name, value in row.items()})
    return out.getvalue().encode()


def _span(row: dict[str, Any]) -> dict[str, Any]:
    return {"since": row["since"], "until": row["until"]}


def _safe(value: object) -> str:
    text = "" if value is None else str(value)
    if text.startswith(_FORMULA) and not (text[0] == "+" and text[1:].isdigit()):
        return "'" + text
    return text
