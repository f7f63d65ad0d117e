"""The API as its callers see it, on a running gateway."""

import asyncio
import contextlib
import io
import json
import os
import signal
import ssl

import aiohttp
import pytest

from gateway.api.account import Role
from gateway.entry.entry import DeliveryReason
from tests.peers.certificates import self_signed
from tests.peers.house import INVOICE, MAILING

YES, NO = "yes.person@example.com", "no.person@example.com"


async def test_a_tool_asks_before_it_sends_and_tells_an_objection(house):
    await house.gateway.allow(YES)
    tool = await house.caller(Role.TOOL)
    status, said = await tool.post("/v1/decisions", {"contacts": [YES, NO, "+358401234567"]})
    assert status == 200, said
    assert [one["outcome"] for one in said["decisions"]] == ["forward", "suppress", "suppress"]
    assert said["decisions"][0]["rule"] == "R40"
    assert said["decisions"][1]["rule"] == "R49"
    assert said["decisions"][1]["reason"]["sv"].startswith("Mottagaren finns inte")
    assert said["rule_set"] == "finland"

    status, done = await tool.post("/v1/bans", {"contact": YES, "evidence": "STOP in the app"})
    assert (status, done["in_force"]) == (200, True)
    # In force when it is answered: for the next question, and for the next message.
    _, said = await tool.post("/v1/decisions", {"contacts": [YES]})
    assert said["decisions"][0]["rule"] == "R11"
    assert (await house.gateway.send(YES, message=MAILING)).startswith("250")
    (record,) = await house.gateway.found(YES, count=1)
    assert (record.rule, record.result) == ("R11", "suppressed")


async def test_a_tools_consent_lifts_nothing_and_an_officers_with_proof_does(house):
    tool, officer = await house.caller(Role.TOOL), await house.caller(Role.OFFICER)
    assert (await officer.post("/v1/bans", {"contact": NO}))[0] == 200
    consent = {"contact": NO, "wording": "Kyllä, haluan uutisia (v3)", "evidence": "form 17"}
    assert (await tool.post("/v1/consents", consent))[0] == 200
    _, said = await tool.post("/v1/decisions", {"contacts": [NO]})
    assert said["decisions"][0]["rule"] == "R11"
    assert (await officer.post("/v1/consents", consent))[0] == 200
    _, said = await tool.post("/v1/decisions", {"contacts": [NO]})
    assert said["decisions"][0]["rule"] == "R40"
    assert (await tool.post("/v1/consents/withdraw", {"contact": NO}))[0] == 200
    _, said = await tool.post("/v1/decisions", {"contacts": [NO]})
    assert said["decisions"][0]["outcome"] == "suppress"

    status, shown = await officer.post("/v1/contacts/show", {"contact": NO})
    assert status == 200
    assert [consent["status"] for consent in shown["consents"]] == ["withdrawn"]
    status, history = await officer.post("/v1/contacts/history", {"contact": NO})
    assert status == 200
    kinds = [(one["kind"], one["actor"]) for one in history["events"]]
    assert kinds == [
        ("ban", "officer-1"),
        ("consent", "tool-1"),
        ("consent", "officer-1"),
        ("withdraw", "tool-1"),
    ]
    assert history["events"][1]["imported"] is True


async def test_an_organisation_and_a_ban_that_is_lifted(house):
    officer = await house.caller(Role.OFFICER)
    ban = {"contact": "@example.com", "evidence": "letter of the board"}
    assert (await officer.post("/v1/bans", ban))[0] == 200
    _, said = await officer.post("/v1/decisions", {"contacts": ["a@sub.example.com"]})
    assert said["decisions"][0]["rule"] == "R14"
    _, shown = await officer.post("/v1/contacts/show", {"contact": "a@sub.example.com"})
    assert shown["banned_by_organisation"] == ["example.com"]
    status, wrong = await officer.post("/v1/bans", {**ban, "scope": "sms"})
    assert (status, wrong["errors"][0]["pointer"]) == (422, "/scope")
    lift = {"contact": "@example.com", "scope": "all", "evidence": "taken back, letter 2"}
    assert (await officer.post("/v1/bans/lift", lift))[0] == 200
    _, said = await officer.post("/v1/decisions", {"contacts": ["a@sub.example.com"]})
    assert said["decisions"][0]["rule"] != "R14"


async def test_a_bounce_is_no_ban_and_is_lifted_by_itself(house):
    plain, tagged = "heli@example.com", "heli+shop@example.com"
    await house.gateway.allow(plain)
    async with house.gateway.register() as register:
        await register.undeliverable(DeliveryReason.HARD_BOUNCE, plain)
        await register.undeliverable(DeliveryReason.COMPLAINT, tagged)
    tool, officer = await house.caller(Role.TOOL), await house.caller(Role.OFFICER)
    _, said = await tool.post("/v1/decisions", {"contacts": [plain]})
    (decision,) = said["decisions"]
    assert (decision["outcome"], decision["rule"]) == ("suppress", "R15d")
    assert "roskapostiksi" in decision["reason"]["fi"]
    _, shown = await officer.post("/v1/contacts/show", {"contact": plain})
    assert shown["bans"] == []
    told = [(one["reason"], one["through_another_spelling"]) for one in shown["delivery"]]
    assert told == [("complaint", False), ("hard_bounce", False)]
    _, shown = await officer.post("/v1/contacts/show", {"contact": "heli+news@example.com"})
    told = [(one["reason"], one["through_another_spelling"]) for one in shown["delivery"]]
    assert told == [("complaint", True)]

    lift = {"contact": plain, "scope": "all", "evidence": "a call"}
    assert (await officer.post("/v1/bans/lift", lift))[0] == 200
    _, said = await tool.post("/v1/decisions", {"contacts": [plain]})
    assert said["decisions"][0]["rule"] == "R15d"
    again = {"contact": plain, "evidence": "the mailbox is back"}
    assert (await tool.post("/v1/deliverable", again))[0] == 403
    assert (await officer.post("/v1/deliverable", {"contact": plain, "evidence": " "}))[0] == 422
    one = {**again, "reason": "rejected"}
    assert (await officer.post("/v1/deliverable", one))[0] == 404
    assert (await officer.post("/v1/deliverable", again))[0] == 200
    _, said = await tool.post("/v1/decisions", {"contacts": [plain]})
    assert said["decisions"][0]["rule"] == "R40"
    _, history = await officer.post("/v1/contacts/history", {"contact": plain})
    assert [one["delivery"] for one in history["events"] if "deliverable" in one["kind"]] == [
        "hard_bounce",
        "complaint",
        None,
    ]


async def test_who_reads_is_recorded_before_he_reads(house):
    officer, admin = await house.caller(Role.OFFICER), await house.caller(Role.ADMIN)
    why = {"Gateway-Reason": "access request 2026-17"}
    await officer.post("/v1/contacts/show", {"contact": NO}, headers=why)
    for _ in range(600):
        _, said = await admin.get("/v1/acts?actor=officer-1")
        if said["acts"]:
            break
        await asyncio.sleep(0.1)
    (act,) = said["acts"]
    assert (act["action"], act["reason"]) == ("read", "access request 2026-17")
    assert NO not in json.dumps(said)
    # What cannot be recorded is not shown.
    register = house.gateway.register_pid
    os.kill(register, signal.SIGSTOP)
    try:
        status, problem = await officer.post("/v1/contacts/show", {"contact": NO})
        assert (status, problem["title"]) == (503, "Service Unavailable")
    finally:
        os.kill(register, signal.SIGCONT)


@pytest.mark.parametrize(
    ("role", "allowed"),
    [
        (
            Role.TOOL,
            {"/v1/decisions", "/v1/bans", "/v1/consents", "/v1/consents/withdraw", "/v1/events"},
        ),
        (
            Role.VIEWER,
            {
                "/v1/decisions",
                "/v1/records/search",
                "/v1/records/count",
                "/v1/held",
                "/v1/events",
            },
        ),
    ],
)
async def test_a_role_may_what_it_is_for_and_no_more(house, role, allowed):
    caller = await house.caller(role)
    asked = {
        ("POST", "/v1/decisions"): {"contacts": [NO]},
        ("POST", "/v1/bans"): {"contact": NO},
        ("POST", "/v1/bans/lift"): {"contact": NO, "scope": "all", "evidence": "x"},
        ("POST", "/v1/deliverable"): {"contact": NO, "evidence": "x"},
        ("POST", "/v1/consents"): {"contact": NO},
        ("POST", "/v1/consents/withdraw"): {"contact": NO},
        ("POST", "/v1/contacts/show"): {"contact": NO},
        ("POST", "/v1/contacts/history"): {"contact": NO},
        ("POST", "/v1/records/search"): {},
        ("POST", "/v1/records/count"): {"since": "2026-11-01T00:00:00Z"},
        ("GET", "/v1/records/01ABC"): None,
        ("GET", "/v1/acts"): None,
        ("GET", "/v1/events"): None,
        ("GET", "/v1/lists/hashed?scheme=md5:uid2"): None,
        ("POST", "/v1/imports"): {"rows": "email\n"},
        ("GET", "/v1/imports"): None,
        ("GET", "/v1/imports/01ABC"): None,
        ("POST", "/v1/imports/01ABC/cancel"): None,
        ("GET", "/v1/held"): None,
        ("GET", "/v1/held/01ABC"): None,
        ("POST", "/v1/held/01ABC/release"): {"reason": "x"},
        ("POST", "/v1/held/01ABC/discard"): {"reason": "x"},
    }
    for (method, path), body in asked.items():
        status, said, _ = await caller.ask(method, path, body)
        assert status == (200 if path in allowed else 403), (path, said)
    if role is Role.VIEWER:
        status, _ = await caller.post("/v1/records/search", {"contact": NO})
        assert status == 403


async def test_a_caller_that_is_not_known_learns_nothing(house):
    known, unknown = {"contacts": [NO]}, {"nonsense": 1}
    answers = set()
    for path, body in (
        ("/v1/decisions", known),
        ("/v1/decisions", unknown),
        ("/v1/no/such/path", known),
        ("/v1/openapi.json", known),
    ):
        for token in (None, "sgt_wrong", "x" * 5000):
            how = {} if token is None else {"headers": {"Authorization": f"Bearer {token}"}}
            status, said = await house.nobody.post(path, body, **how)
            answers.add((status, json.dumps(said)))
    assert len(answers) == 1
    assert next(iter(answers))[0] == 401
    # Whoever tries tokens is stopped, and those with a right one on another address not.
    for number in range(30):
        await house.nobody.get("/v1/me", headers={"Authorization": f"Bearer sgt_{number}"})
    status, _ = await house.nobody.get("/v1/me", headers={"Authorization": "Bearer sgt_x"})
    assert status == 429
    assert (await (await house.caller(Role.VIEWER)).get("/v1/me"))[0] == 200


@pytest.mark.slow
async def test_an_account_that_is_disabled_or_renewed_ends_at_once(house):
    added = house.gateway.command("accounts", "add", "anna", "--role", "viewer", "--by", "root")
    caller = house.nobody
    caller.token = added.out.strip()
    status, said = await caller.get("/v1/me")
    assert (status, said["name"], said["role"]) == (200, "anna", "viewer")
    renewed = house.gateway.command("accounts", "renew", "anna", "--by", "root")
    assert (await caller.get("/v1/me"))[0] == 401
    caller.token = renewed.out.strip()
    assert (await caller.get("/v1/me"))[0] == 200
    assert house.gateway.command("accounts", "disable", "anna", "--by", "root").status == 0
    assert (await caller.get("/v1/me"))[0] == 401
    again = house.gateway.command("accounts", "add", "anna", "--role", "admin", "--by", "root")
    assert (again.status, "take another" in again.err) == (2, True)
    (row,) = house.gateway.command("accounts", "list", "--json").rows
    assert row["account"] == "anna"
    assert row["disabled"] is not None
    assert caller.token.encode() not in (house.gateway.folder / "data/archive.sqlite").read_bytes()


async def test_held_messages_are_listed_released_and_discarded(house):
    officer = await house.caller(Role.OFFICER)
    # A service message to somebody unknown waits for a person (R07).
    house.gateway.configure(
        clients=[
            {
                "name": "service",
                "networks": ["127.0.0.0/8"],
                "kind": "service",
                "upstream": "main",
            }
        ]
    )
    house.gateway.signal(signal.SIGHUP)
    await house.gateway.line("reloaded")
    for to in ("a@example.com", "b@example.com"):
        assert (await house.gateway.send(to, message=INVOICE)).startswith("250")
    status, said = await officer.get("/v1/held")
    assert status == 200
    assert [one["recipients"][0]["rule"] for one in said["held"]] == ["R07", "R07"]
    assert "@" not in json.dumps(said)
    newer, older = said["held"]
    status, shown = await officer.get(f"/v1/held/{older['held']}")
    assert shown["recipients"][0]["address"] == "a@example.com"
    path = f"/v1/held/{older['held']}"
    assert (await officer.post(f"{path}/release", {"reason": " "}))[0] == 422
    status, done = await officer.post(f"{path}/release", {"reason": "the customer asked"})
    assert (status, done["recipients"][0]["sent"]) == (200, True)
    status, problem = await officer.post(f"{path}/release", {"reason": "twice"})
    assert status == 422, problem
    status, _ = await officer.post(f"/v1/held/{newer['held']}/discard", {"reason": "an error"})
    assert status == 200
    record, _ = await house.gateway.found("a@example.com", count=2)
    assert record.result == "released"
    status, whole = await officer.get(f"/v1/records/{record.record_id}")
    assert whole["address"] == "a@example.com"
    assert whole["results"][-1]["person"] == "officer-1"
    assert (await officer.get("/v1/held"))[1] == {"held": []}
    admin = await house.caller(Role.ADMIN)
    for _ in range(600):
        _, said = await admin.get("/v1/acts?actor=officer-1")
        done = [(one["action"], one["reason"]) for one in said["acts"]]
        if {("discard", "an error"), ("release", "the customer asked")} <= set(done):
            break
        await asyncio.sleep(0.1)
    else:
        raise AssertionError(done)
    assert (await officer.get("/v1/held/01NOTHING"))[0] == 404


async def test_bad_requests_name_the_member(house):
    officer = await house.caller(Role.OFFICER)
    cases = [
        ({"contacts": [NO, "nobody"]}, "/contacts/1"),
        ({"contacts": []}, "/contacts"),
        ({"contacts": [NO], "kind": "spam"}, "/kind"),
        ({"contacts": [NO], "kin": "marketing"}, "/kin"),
        ({"contacts": ["a" * 600]}, "/contacts/0"),
        ({"contacts": [NO] * 1001}, "/contacts"),
        ({"contacts": [NO], "topic": "a\0b"}, "/topic"),
        ([], ""),
    ]
    for body, pointer in cases:
        status, said = await officer.post("/v1/decisions", body)
        assert status == 422, (body, said)
        assert said["errors"][0]["pointer"] == pointer, said
        assert "nobody" not in json.dumps(said)
    how = {"data": b"{", "headers": {"Content-Type": "application/json"}}
    assert (await officer.ask("POST", "/v1/decisions", **how))[0] == 400
    assert (await officer.ask("POST", "/v1/decisions", data=b"a=b"))[0] == 415
    how = {"data": io.BytesIO(b" " * 1_100_000), "headers": {"Content-Type": "application/json"}}
    assert (await officer.ask("POST", "/v1/decisions", **how))[0] == 413
    status, _, headers = await officer.ask("GET", "/v1/decisions")
    assert (status, headers["Allow"]) == (405, "POST")
    assert (await officer.get("/v1/elsewhere"))[0] == 404
    future = {"contact": NO, "at": "2999-01-01T00:00:00Z"}
    assert (await officer.post("/v1/bans", future))[0] == 422


async def test_with_a_certificate_it_speaks_tls_alone(tmp_path, house):
    certificate = self_signed(tmp_path, "localhost")
    house.gateway.configure(
        api={
            "listen": ["127.0.0.1:0"],
            "tls": {"certificate": certificate.certificate.name, "key": certificate.key.name},
        }
    )
    await house.gateway.stop()
    await house.gateway.start()
    viewer = await house.caller(Role.VIEWER)
    trusted = ssl.create_default_context(cafile=str(certificate.certificate))
    viewer.base = f"https://localhost:{house.gateway.api}"
    assert (await viewer.get("/v1/me", ssl=trusted))[0] == 200
    viewer.base = f"http://127.0.0.1:{house.gateway.api}"
    with pytest.raises(aiohttp.ClientError):
        await viewer.get("/v1/me")


@pytest.mark.slow
async def test_whoever_says_nothing_or_reads_nothing_is_let_go(house):
    house.gateway.configure(
        api={
            "listen": ["127.0.0.1:0"],
            "timeout": 2,
            "max_connections": 5,
            "requests_per_minute": 1_000_000,
        }
    )
    await house.gateway.stop()
    await house.gateway.start()
    house.base = f"http://127.0.0.1:{house.gateway.api}"
    viewer = await house.caller(Role.VIEWER)
    slow = [await asyncio.open_connection("127.0.0.1", house.gateway.api) for _ in range(5)]
    for _, writer in slow:
        writer.write(b"GET /v1/me HTTP/1.1\r\nAuthorization: Bear")
    reader, writer = await asyncio.open_connection("127.0.0.1", house.gateway.api)
    assert await asyncio.wait_for(reader.read(), 1) == b""
    writer.close()
    for reader, writer in slow:
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
    asked = (
        f"GET /v1/openapi.json HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {viewer.token}\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", house.gateway.api, limit=1024)
    writer.write(asked.encode() * 600)
    await asyncio.sleep(3.5)
    got = 0
    with contextlib.suppress(ConnectionError):  # cut: what was under way is all that comes
        while piece := await asyncio.wait_for(reader.read(1 << 20), 1):
            got += len(piece)
    _, _, headers = await viewer.ask("GET", "/v1/openapi.json")
    assert got < 600 * int(headers["Content-Length"])
    writer.close()


async def test_what_strangers_say_wrongly_is_not_logged(house):
    for wrong in (
        b"maija.virtanen@example.com +358401234567\r\n\r\n",
        b"GET /v1/me HTTP/1.1\r\nAuthorization: Bearer sgt_maija.virtanen\x00\r\n\r\n",
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", house.gateway.api)
        writer.write(wrong)
        assert b" 400 " in await reader.readline()
        writer.close()
    assert "maija.virtanen" not in house.gateway.log.read_text()


@pytest.mark.slow
async def test_it_ends_at_once_though_callers_keep_their_connections(house):
    viewer = await house.caller(Role.VIEWER)
    assert (await viewer.get("/v1/me"))[0] == 200  # kept alive
    _, writer = await asyncio.open_connection("127.0.0.1", house.gateway.api)
    writer.write(b"POST /v1/decisions HTTP/1.1\r\n")
    began = asyncio.get_running_loop().time()
    await house.gateway.stop()
    assert asyncio.get_running_loop().time() - began < 20
    writer.close()
