"""People and their rights by the API, on a running gateway."""

import asyncio
import csv
import io

from gateway.api.account import Role
from tests.peers.house import MAILING

OLD, NEW = "maija.virtanen@example.com", "maija.korhonen@example.com"


async def person(officer, *contacts: str) -> str:
    status, made = await officer.post(
        "/v1/subjects",
        {"name": "Maija Virtanen", "contacts": list(contacts), "source": "order 17"},
    )
    assert status == 200, made
    return str(made["id"])


async def test_a_ban_of_a_person_holds_for_every_contact_and_comes_along(house):
    officer, tool = await house.caller(Role.OFFICER), await house.caller(Role.TOOL)
    await house.gateway.allow(OLD, NEW)
    subject = await person(officer, OLD)
    words = "En halua enää mainoksia"
    status, said = await officer.post(f"/v1/subjects/{subject}/object", {"words": words})
    assert status == 200, said
    status, said = await officer.post(
        f"/v1/subjects/{subject}/contacts", {"contact": NEW, "source": "call of today"}
    )
    assert status == 200, said
    _, said = await tool.post("/v1/decisions", {"contacts": [OLD, NEW]})
    assert [one["rule"] for one in said["decisions"]] == ["R11", "R11"]
    _, found = await officer.post("/v1/subjects/find", {"contact": NEW})
    assert [one["id"] for one in found["subjects"]] == [subject]
    assert (await tool.post("/v1/subjects/find", {"contact": NEW}))[0] == 403


async def test_what_is_known_of_a_person_is_given_as_a_file(house):
    officer = await house.caller(Role.OFFICER)
    subject = await person(officer, OLD)
    path = f"/v1/subjects/{subject}"
    status, report, headers = await officer.ask("POST", f"{path}/access", {})
    assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
    assert OLD in str(report)
    asked = {"format": "html", "language": "sv"}
    status, html, headers = await officer.ask("POST", f"{path}/access", asked)
    assert headers["Content-Type"].startswith("text/html")
    assert 'lang="sv"' in html
    assert OLD in html
    status, text, _ = await officer.ask("POST", f"{path}/portability", {"format": "csv"})
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {"contact", "name"} <= {row["what"] for row in rows}
    assert (await officer.get("/v1/subjects/01NOBODY"))[0] == 404


async def test_an_erased_person_is_gone_and_stays_suppressed(house):
    admin, officer = await house.caller(Role.ADMIN), await house.caller(Role.OFFICER)
    await house.gateway.allow(OLD)
    assert (await house.gateway.send(OLD, message=MAILING)).startswith("250")
    (record,) = await house.gateway.found(OLD, count=1)
    subject = await person(officer, OLD)
    _, asked = await officer.post("/v1/requests", {"kind": "erasure", "contact": OLD})
    assert (asked["subject"], asked["state"]) == (subject, "received")
    erase = f"/v1/subjects/{subject}/erase"
    assert (await officer.post(erase, {"reason": "asked"}))[0] == 403
    assert (await admin.post(erase, {}))[0] == 422
    status, plan = await admin.post(erase, {"check": True})
    assert (status, plan["contacts"], plan["ended"]) == (200, 1, False)
    status, done = await admin.post(erase, {"reason": "GDPR 17", "request": asked["id"]})
    assert (status, done["ended"]) == (200, True), done
    _, shown = await officer.get(f"/v1/records/{record.record_id}")
    assert shown["address"] is None
    _, said = await officer.post("/v1/decisions", {"contacts": [OLD]})
    assert said["decisions"][0]["rule"] == "R11"
    _, request = await officer.get(f"/v1/requests/{asked['id']}")
    assert request["state"] == "answered"


async def test_a_request_has_its_month_and_every_step_is_kept(house):
    officer, viewer = await house.caller(Role.OFFICER), await house.caller(Role.VIEWER)
    asked = {
        "kind": "access",
        "contact": OLD,
        "words": "Mitä tietoja teillä on minusta?",
        "received": "2026-01-31T12:00:00+02:00",
    }
    status, request = await officer.post("/v1/requests", asked)
    assert status == 200, request
    assert request["due"].startswith("2026-02-28T21:59:59")
    assert request["late"] is True
    _, said = await viewer.get("/v1/requests")
    assert [one["id"] for one in said["requests"]] == [request["id"]]
    path = f"/v1/requests/{request['id']}"
    assert (await officer.post(f"{path}/identify", {"how": " "}))[0] == 422
    assert (await officer.post(f"{path}/identify", {"how": "bank login"}))[0] == 200
    assert (await officer.post(f"{path}/extend", {"reason": "many records"}))[0] == 422
    status, ended = await officer.post(f"{path}/answer", {"reason": "sent by letter"})
    assert (status, ended["state"]) == (200, "answered")
    assert [step["state"] for step in ended["steps"]] == ["received", "identified", "answered"]
    assert (await viewer.get("/v1/requests"))[1] == {"requests": []}
    assert (await viewer.get(path))[0] == 403


async def test_a_restricted_person_hears_nothing(house):
    officer = await house.caller(Role.OFFICER)
    await house.gateway.allow(OLD)
    subject = await person(officer, OLD)
    status, _ = await officer.post(
        f"/v1/subjects/{subject}/restrict", {"reason": "accuracy contested"}
    )
    assert status == 200
    _, said = await officer.post("/v1/decisions", {"contacts": [OLD]})
    assert said["decisions"][0]["rule"] == "R15"
    status, _ = await officer.post(f"/v1/subjects/{subject}/unrestrict", {"reason": "settled"})
    assert status == 200
    await asyncio.sleep(0)
    _, said = await officer.post("/v1/decisions", {"contacts": [OLD]})
    assert said["decisions"][0]["rule"] == "R40"
